'use strict';

// Large numbers of workers that start and end leave nothing in the primary: no zombie, no descriptor, and nothing on its event
// loop.

const assert = require('node:assert');
const { test } = require('node:test');
const { DEADLINE, allProcesses, descriptorsOf, statusOf, until } = require('../../testing/processes.js');
const { withFixture } = require('../helpers/run-fixture.js');

const FORKS = 200;

/** The children of a process, dead or alive. */
const childrenOf = (parent) => allProcesses().filter((pid) => statusOf(pid)?.parent === parent);

test('hundreds of forks and exits leave nothing behind', () =>
  withFixture('workers/forks.js', { deadline: 4 * DEADLINE }, async (fixture) => {
    fixture.tell('forks', 12);
    const first = await fixture.marker('over');
    const before = descriptorsOf(fixture.pid).size;

    fixture.tell('forks', FORKS);
    const last = await fixture.marker('over');

    assert.deepStrictEqual(childrenOf(fixture.pid), []);
    // Servers are closed a turn after their callback.
    await until('the primary has closed what it had opened', () => descriptorsOf(fixture.pid).size <= before);
    assert.deepStrictEqual(last, first);
    assert.strictEqual(last.handles.process, 0);
    assert.strictEqual(last.tcp, 3);
    assert.deepStrictEqual(last.listed, []);
  }));
