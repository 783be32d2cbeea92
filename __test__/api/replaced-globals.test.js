'use strict';

// Applications and their tests replace timers, clocks and more. rcluster keeps using those of Node.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withLifecycle, clientOf } = require('../helpers/lifecycle.js');

const LIB = path.join(__dirname, '..', '..', 'lib');
const GLOBALS = (
  'setTimeout setInterval setImmediate clearTimeout clearInterval clearImmediate queueMicrotask structuredClone ' +
  'Array Boolean Buffer Error JSON Map Math Number Object Promise RangeError Reflect Set String Symbol TypeError ' +
  'WeakMap WeakSet Date Proxy console decodeURIComponent globalThis performance process'
).split(' ');
const METHODS = /\b(?:performance\.now|Date\.now|Math\.random|console\.\w+)\(|\.(?:call|apply|bind)\(/;

/** @param {string} text of a file */
function withoutComments(text) {
  return text.replace(/\/\*\*[^]*?\*\//g, '').replace(/^\s*\/\/.*|\s\/\/ .*/gm, '');
}

test('lib/ loads replaceable globals from lib/globals.js only', () => {
  const files = fs
    .readdirSync(LIB, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.js') && file !== 'globals.js');
  assert.ok(files.length > 20);
  for (const file of files) {
    const code = withoutComments(fs.readFileSync(path.join(LIB, file), 'utf8'));
    assert.doesNotMatch(code.replaceAll('Reflect.apply(', '').replaceAll('handle.bind(', ''), METHODS, file);
    const taken = /const \{([^}]*)\} = require\('[./]+\/globals'\)/.exec(code)?.[1] ?? '';
    for (const name of GLOBALS) {
      const used = new RegExp(
        `(?<![.\\w'])(?:${name}[.(]|(?:new|instanceof|extends) ${name}\\b|[(,] ?${name}[,)])`,
      );
      if (!used.test(code.replace(taken, ''))) continue;
      assert.match(taken, new RegExp(`\\b${name}\\b`), `${file} uses the global ${name}`);
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
