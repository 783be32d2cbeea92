'use strict';

// Applications and their tests replace timers, clocks and more. rcluster goes on with those of Node.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('./helpers/subject.js');
const { withLifecycle, clientOf } = require('./helpers/lifecycle.js');

const LIB = path.join(__dirname, '..', 'lib');
const TIMERS =
  'setTimeout setInterval setImmediate clearTimeout clearInterval clearImmediate queueMicrotask'.split(' ');
const METHODS = /\b(?:process\.nextTick|performance\.now|Date\.now|Math\.random)\(/;

test('lib/ takes what tests replace from lib/globals.js only', () => {
  const files = fs
    .readdirSync(LIB, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.js') && file !== 'globals.js');
  assert.ok(files.length > 20);
  for (const file of files) {
    const text = fs.readFileSync(path.join(LIB, file), 'utf8');
    const code = text.replace(/\/\*\*[^]*?\*\//g, '').replace(/\/\/.*/g, '');
    assert.doesNotMatch(code, METHODS, file);
    const taken = /const \{([^}]*)\} = require\('[./]+\/globals'\)/.exec(code)?.[1] ?? '';
    for (const name of TIMERS) {
      if (!new RegExp(`(?<![.\\w])${name}\\(`).test(code)) continue;
      assert.match(taken, new RegExp(`\\b${name}\\b`), `${file} uses the global ${name}()`);
    }
  }
});

test(
  'a worker whose globals are replaced serves and retires',
  { skip: isBuiltin && 'it has no retire()' },
  () =>
    withLifecycle({ SUPERVISED: '1', REPLACE_GLOBALS: '1' }, async (app) => {
      const [{ id }] = app.workers;
      const client = await clientOf(app, id);
      app.tell('tell', { id, command: 'retire', reason: 'half of a pair: \ud83d' });
      assert.strictEqual((await app.marker('retiring')).reason, 'half of a pair: \ufffd');
      client.close();
      assert.deepStrictEqual(await app.marker('exit'), { id, code: 0, signal: null, agreed: true });
    }),
);
