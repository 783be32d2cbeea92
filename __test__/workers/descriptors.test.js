'use strict';

// Descriptors are neither leaked nor inherited.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');
const { withFixture } = require('../helpers/run-fixture.js');
const { descriptorsOf, until } = require('../../testing/processes.js');

const CLIENTS = 3000;

/** Several clients at a time, each of which must be answered. */
async function serve(app, count) {
  let left = count;
  await Promise.all(
    Array.from({ length: 30 }, async () => {
      while (left-- > 0) assert.strictEqual((await app.ask()).outcome, 'answered');
    }),
  );
}

test('connections leak no descriptors', () =>
  withApp({}, async (app) => {
    const pids = [app.pid, ...app.workers.map(({ pid }) => pid)];
    // Some descriptors are opened on first use.
    await serve(app, 100);
    const before = pids.map((pid) => descriptorsOf(pid).size);
    await serve(app, CLIENTS);
    for (const [index, pid] of pids.entries()) {
      await until(
        `process ${pid} has closed what it had opened`,
        () => descriptorsOf(pid).size <= before[index],
      );
    }
  }));

test('workers that start and end leak no descriptors', () =>
  withFixture('workers/generations.js', {}, async (fixture) => {
    fixture.tell('generations', 5);
    await fixture.marker('over');
    const before = descriptorsOf(fixture.pid).size;
    fixture.tell('generations', 50);
    await fixture.marker('over');
    await until('the primary has closed what it had opened', () => descriptorsOf(fixture.pid).size <= before);
  }));

test('a worker has its own descriptors, and none of the primary or of its siblings', () =>
  withApp(
    {
      env: { WORKERS: '3' },
    },
    async (app) => {
      const isSocket = (target) => target.startsWith('socket:');
      const ownOf = ({ pid }) => [...descriptorsOf(pid)].filter(([fd]) => fd > 2).map(([, target]) => target);
      const [primary, ...workers] = [app, ...app.workers].map(ownOf);
      const inodes = workers.map((targets) => [...new Set(targets.filter(isSocket))]);
      for (const [index, own] of inodes.entries()) {
        // Node's channel, and at most one for control and one for connections.
        assert.ok(own.length >= 1 && own.length <= 4, `worker ${index + 1} has ${own.join(', ')}`);
        for (const other of inodes.slice(index + 1)) {
          assert.deepStrictEqual(
            own.filter((inode) => other.includes(inode)),
            [],
          );
        }
      }
      // Only the primary has the listening socket, the socket to the test and its ends of the channels.
      assert.ok(primary.filter(isSocket).length > 0);
      for (const targets of workers) {
        for (const target of targets) {
          assert.match(target, /^(socket|pipe|anon_inode):|^\/memfd:|^\/dev\/null|^\/proc\//);
        }
      }
    },
  ));

test('a child of a worker has its standard streams and nothing else', () =>
  withFixture('workers/generations.js', {}, async (fixture) => {
    fixture.tell('children');
    const { descriptors, own } = await fixture.marker('children');
    assert.deepStrictEqual(descriptors.slice(0, 3), ['0', '1', '2']);
    // Descriptors that the parent of the tests has left open are inherited by all; a child of the primary has them, too.
    assert.deepStrictEqual(
      descriptors.filter((descriptor) => !own.includes(descriptor)),
      [],
    );
  }));
