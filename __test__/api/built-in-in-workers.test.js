'use strict';

// In a worker, the built-in cluster object has the functions of rcluster, whether or not the app loads rcluster there:
// with the preload, the app knows only the built-in.

const assert = require('node:assert');
const path = require('node:path');
const { describe, test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { isBuiltin, OURS } = require('../../testing/subject.js');

const skip = isBuiltin && 'it is about what the built-in lacks';

const KINDS = {
  availableParallelism: 'function',
  BroadcastChannel: 'function',
  handle: 'function',
  lead: 'function',
  locks: 'object',
  notify: 'function',
  request: 'function',
  schedule: 'function',
  shared: 'function',
  stickyId: 'function',
  supervise: 'function',
};

const WAYS = {
  '-r rcluster/register': { execArgv: ['-r', 'rcluster/register'] },
  '--import rcluster/register': { execArgv: ['--import', 'rcluster/register'] },
  "require('rcluster/register') in the primary": { env: { LOAD: 'rcluster/register' } },
  "require('rcluster') in the primary": { env: { LOAD: 'rcluster' } },
};

describe('the built-in in a worker has the functions of rcluster', { skip }, () => {
  for (const [label, options] of Object.entries(WAYS)) {
    test(`with ${label}`, () =>
      withFixture('api/built-in-in-workers.js', { ...options, cwd: OURS }, async (fixture) => {
        const { unused = [], ...seen } = await fixture.marker('worker');
        assert.deepStrictEqual(seen, {
          kinds: KINDS,
          // Listing, copying or comparing the object shows only what the built-in has.
          enumerable: [],
          supervise: 'ERR_RCLUSTER_NOT_PRIMARY',
          schedule: 'ERR_RCLUSTER_NOT_PRIMARY',
          count: 1,
          sticky: true,
          answer: 'handled',
          received: 'posted',
          held: 'held',
          led: true,
          isSame: true,
        });
        // They cost nothing before they are used.
        const heavy = unused.filter((file) =>
          ['exchange', 'locks', 'shared'].includes(file.split(path.sep)[0]),
        );
        assert.deepStrictEqual(heavy, []);
      }));
  }

  test('with rcluster/register, where there is no native part', () =>
    withFixture(
      'api/built-in-in-workers.js',
      { execArgv: ['-r', 'rcluster/register'], env: { RCLUSTER_FALLBACK: '1' }, cwd: OURS },
      async (fixture) => assert.deepStrictEqual((await fixture.marker('worker')).kinds, KINDS),
    ));
});
