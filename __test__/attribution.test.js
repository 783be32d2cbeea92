'use strict';

// Whose exception it was is known, wherever the code that serves a request runs: that request is answered with 500, and
// another one of the same worker is finished.

const assert = require('node:assert');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('./helpers/subject.js');
const { withSupervised } = require('./helpers/supervised.js');
const { PLACES } = require('./fixtures/attribution.js');

const SCRIPT = path.join(__dirname, 'fixtures', 'attribution.js');
const FORM = '--boundary\r\n\r\none\r\n--boundary\r\n\r\ntwo\r\n--boundary--';

/** What a framework does not catch itself. */
const LATER = ['a timer', 'a callback of fs', 'the end of the request', 'a pipeline', 'a part of a form'];

/**
 * @param {{ port: number, host: string }} target
 * @param {string} place
 * @returns {Promise<{ status: number, text: string }>}
 */
function ask(target, place) {
  return new Promise((resolve, reject) => {
    const options = {
      ...target,
      path: `/${encodeURIComponent(place)}`,
      method: 'POST',
      agent: false,
      headers: { 'content-type': 'multipart/form-data; boundary=boundary' },
    };
    const request = http.request(options, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => (text += part));
      response.on('end', () => resolve({ status: response.statusCode, text })).on('error', reject);
    });
    request.on('error', reject).end(FORM);
  });
}

/**
 * @param {string} framework
 * @param {string} place
 */
function finds(framework, place) {
  const options = { workers: 1, drainTimeout: 60_000 };
  return withSupervised(
    options,
    async (app) => {
      const held = ask(app.target, 'held');
      await app.marker('held');
      const guilty = await ask(app.target, place);
      assert.deepStrictEqual(guilty, { status: 500, text: '' });
      assert.deepStrictEqual(await held, { status: 200, text: 'held' });
      const { code, exitedAfterDisconnect } = await app.marker('exit');
      assert.deepStrictEqual({ code, exitedAfterDisconnect }, { code: 1, exitedAfterDisconnect: true });
      assert.match(app.stderr, /Error: thrown in /);
    },
    { env: { SCRIPT, FRAMEWORK: framework } },
  );
}

const skip = isBuiltin && 'the built-in dies of it';
// Before 24 Node has left the context of a microtask when it reports what that has thrown: then nobody is blamed.
const knowsMicrotasks = Number(process.versions.node.split('.')[0]) >= 24;
for (const place of PLACES) {
  const unknown = place === 'a microtask' && !knowsMicrotasks && 'this Node does not tell';
  test(`thrown in ${place}`, { skip: skip || unknown }, () => finds('http', place));
}

for (const framework of ['express', 'fastify']) {
  const installed = fs.existsSync(path.join(__dirname, 'ecosystem', 'node_modules', framework));
  for (const place of LATER) {
    test(
      `thrown in ${place}, with ${framework}`,
      { skip: skip || (!installed && 'it is not installed') },
      () => finds(framework, place),
    );
  }
}
