'use strict';

// ECMAScript modules: importing rcluster by its name, its named exports, and the built-in turned into it.

const assert = require('node:assert');
const { describe, test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { isBuiltin, OURS } = require('../../testing/subject.js');

const skip = isBuiltin && 'it is about the package';

/**
 * @param {object} seen what the primary must see
 * @param {import('../../testing/fixture.js').FixtureOptions} options
 */
function play(seen, options) {
  return withFixture('api/esm.mjs', options, async (fixture) => {
    const common = { differ: [], builtinDiffers: [], parallelism: 'function' };
    assert.deepStrictEqual(await fixture.marker('primary'), {
      ...common,
      isPrimary: true,
      isWorker: false,
      ...seen,
    });
    const worker = await fixture.marker('worker');
    // In a worker there is only one object.
    assert.deepStrictEqual(worker, {
      ...common,
      isPrimary: false,
      isWorker: true,
      isBuiltin: true,
      id: 1,
      same: true,
    });
    assert.strictEqual(await fixture.marker('exit'), 0);
  });
}

describe('an ECMAScript module', { skip }, () => {
  test("imports from 'rcluster'", () => play({ isBuiltin: false }, { env: { IMPORT: 'rcluster' } }));

  // By its name, as in an app that has it installed: the package resolves itself from its own folder.
  for (const option of ['-r', '--import']) {
    for (const IMPORT of ['node:cluster', 'cluster', 'rcluster']) {
      test(`imports from '${IMPORT}' with ${option} rcluster/register`, () =>
        play({ isBuiltin: true }, { env: { IMPORT }, execArgv: [option, 'rcluster/register'], cwd: OURS }));
    }
  }

  for (const [label, env] of [
    ['', {}],
    [' and there is no native part', { RCLUSTER_FALLBACK: '1' }],
  ]) {
    test(`imports the names of rcluster from 'node:cluster' if it imports rcluster/register${label}`, () =>
      withFixture('api/registered.mjs', { env }, async (fixture) =>
        assert.deepStrictEqual(await fixture.marker('differ'), []),
      ));
  }
});
