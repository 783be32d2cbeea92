'use strict';

// An app that removes listeners of `process` removes none of those that rcluster relies on: neither all of one event, right
// before it exits, nor those of all events.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');

const PROGRAM = path.join(__dirname, '..', 'fixtures', 'workers', 'process-listeners.js');
const skip = isBuiltin && 'the built-in has none of this';

/**
 * @typedef {object} Case
 * @property {string} name
 * @property {string} event
 * @property {(result: { lines: string[], file: string }) => void} check
 */

/** @type {Case[]} */
const CASES = [
  {
    name: 'persist',
    event: 'exit',
    check: ({ file }) => assert.ok(fs.existsSync(file), 'the store is saved'),
  },
  {
    name: 'forward',
    event: 'exit',
    check: ({ lines, file }) => {
      assert.deepStrictEqual(lines, ['true']);
      assert.ok(!fs.existsSync(fs.readFileSync(file, 'utf8')), "the worker's socket is removed");
    },
  },
  {
    name: 'lock',
    event: 'disconnect',
    check: ({ lines }) => assert.deepStrictEqual(lines.sort(), ['ERR_RCLUSTER_GONE', 'granted']),
  },
  { name: 'messages', event: 'exit', check: ({ lines }) => assert.deepStrictEqual(lines, ['30']) },
];

for (const { name, event, check } of CASES) {
  for (const removed of [event, '']) {
    test(`${name}, without listeners of ${removed || 'any event'}`, { skip }, () => {
      const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-listeners-'));
      const file = path.join(directory, 'file');
      try {
        const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM], {
          encoding: 'utf8',
          env: { ...process.env, CASE: name, EVENT: removed, FILE: file },
          timeout: 20_000,
          killSignal: 'SIGKILL',
        });
        assert.deepStrictEqual({ status, stderr }, { status: 0, stderr: '' });
        check({ lines: stdout.split('\n').slice(0, -1), file });
      } finally {
        fs.rmSync(directory, { recursive: true });
      }
    });
  }
}
