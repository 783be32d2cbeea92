'use strict';

// An app in TypeScript: with tsx on all versions of Node, and without it where Node strips the types itself.

const assert = require('node:assert');
const { pathToFileURL } = require('node:url');
const { test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { withPreloaded, ECOSYSTEM, REGISTER } = require('../helpers/ecosystem.js');
const { askAll } = require('../helpers/programs.js');
const { withFixture } = require('../helpers/run-fixture.js');
const { isBuiltin } = require('../../testing/subject.js');

async function tryApp(fixture) {
  const { isOurs } = await fixture.marker('subject');
  assert.strictEqual(isOurs, !isBuiltin);
  const workers = [await fixture.marker('listening'), await fixture.marker('listening')];
  const target = { port: workers[0].port, host: '127.0.0.1' };
  await askAll(
    workers.map(({ pid }) => pid),
    async () => Number((await get(target)).body),
  );
  fixture.tell('disconnect');
  for (let count = 0; count < workers.length; count++) {
    assert.deepStrictEqual(await fixture.marker('exit'), { code: 0, signal: null });
  }
}

const tsx = require.resolve('tsx', { paths: [ECOSYSTEM] });

test('with --import tsx', () =>
  withPreloaded('typescript.ts', tryApp, { execArgv: ['--import', pathToFileURL(tsx).href] }));

test('with --import tsx and --import rcluster/register', { skip: isBuiltin }, () =>
  withFixture(
    `${ECOSYSTEM}/apps/typescript.ts`,
    {
      execArgv: ['--import', pathToFileURL(tsx).href, '--import', pathToFileURL(REGISTER).href],
    },
    tryApp,
  ),
);

test(
  'with the types stripped by Node',
  { skip: process.features.typescript ? false : 'this Node does not' },
  () => withPreloaded('typescript.ts', tryApp, { execArgv: ['--no-warnings'] }),
);
