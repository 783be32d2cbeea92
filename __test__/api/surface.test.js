'use strict';

// Each process has what the types say, with and without the native part.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withFixture } = require('../helpers/run-fixture.js');

const skip = isBuiltin && 'the built-in has no such functions';
const TYPES = path.join(__dirname, '..', '..', 'types');
const DECLARATIONS = fs.readdirSync(TYPES).map((name) => fs.readFileSync(path.join(TYPES, name), 'utf8'));

/** What only workers have, by its comment. */
const OF_WORKERS = /Only in workers/;

/** The members of the cluster object that workers do not have: see the comment of its type. */
const OF_PRIMARIES =
  /^(fork|setupPrimary|setupMaster|disconnect|workers|settings|schedulingPolicy|SCHED_\w+|forwarding|schedulingStats)$/;

/** What stores have for other parts of rcluster. */
const INTERNAL = ['attach', 'keptBy', 'release'];

/**
 * The members of an interface, with their comments.
 * @param {string} name
 * @returns {Map<string, string>}
 */
function membersOf(name) {
  const [, body] = new RegExp(`interface ${name}\\b[^]*?\\{\\n([^]*?)\\n\\}`).exec(DECLARATIONS.join('\n'));
  const members = /^ {2}(?:\/\*\*([^]*?)\*\/\n {2})?(?:readonly )?\[?([\w.]+)\]?\??\s*[(:<]/gm;
  /** @type {Map<string, string>} */
  const found = new Map();
  for (const [, comment = '', member] of body.matchAll(members)) {
    found.set(member, `${found.get(member) ?? ''}${comment}`);
  }
  assert.ok(found.size > 0);
  return found;
}

/** The events of emitters are inherited, and so are names that begin with an underscore or are symbols internal. */
const isPublic = (/** @type {string} */ name) => !/^_|^Symbol\(/.test(name);

for (const native of [true, false]) {
  const how = native ? 'with' : 'without';
  const env = native ? {} : { RCLUSTER_FALLBACK: '1' };
  test(`the cluster object and its workers, ${how} the native part`, { skip }, () =>
    withFixture('api/surface.js', { env }, async (fixture) => {
      const primary = await fixture.marker('primary');
      const worker = await fixture.marker('worker');
      const all = [...membersOf('Cluster')];
      const ofPrimary = all.filter(([, comment]) => !OF_WORKERS.test(comment)).map(([name]) => name);
      const ofWorker = all.map(([name]) => name).filter((name) => !OF_PRIMARIES.test(name));
      assert.deepStrictEqual(primary.cluster.filter(isPublic).sort(), ofPrimary.sort());
      assert.deepStrictEqual(worker.cluster.filter(isPublic).sort(), ofWorker.sort());
      assert.deepStrictEqual(worker.codes, ['ERR_RCLUSTER_NOT_PRIMARY', 'ERR_RCLUSTER_NOT_PRIMARY']);
      const ofBoth = [...membersOf('WorkerMembers').keys()];
      // These may be undefined.
      const known = ofBoth.filter((name) => !['exitedAfterDisconnect', 'slot'].includes(name));
      for (const name of known) assert.ok(worker.worker.includes(name), name);
      for (const name of [...worker.worker, ...primary.worker].filter(isPublic)) {
        // The built-in has the state, which its types do not mention.
        assert.ok(ofBoth.includes(name) || name === 'state', name);
      }
    }),
  );
}

test('stores, and the registration of a handler', { skip }, () =>
  withFixture('api/surface.js', {}, async (fixture) => {
    const { shared, polled, refused, events, registration, dispose } = await fixture.marker('stores');
    const members = [...membersOf('SharedStore').keys()];
    assert.deepStrictEqual(
      shared
        .filter(isPublic)
        .filter((name) => !INTERNAL.includes(name))
        .sort(),
      members.sort(),
    );
    const [, picked] = /interface PolledStore[^]*?Pick<([^]*?)\n> \{/.exec(DECLARATIONS.join('\n'));
    const ofPolled = [...picked.matchAll(/'(\w+)'/g)].map(([, name]) => name).concat('stats');
    assert.deepStrictEqual(
      members.filter((name) => !polled.includes(name)),
      [],
    );
    for (const name of members.filter((one) => !ofPolled.includes(one))) {
      assert.deepStrictEqual([name, refused[name]], [name, 'ERR_RCLUSTER_POLLED']);
    }
    const no = 'ERR_RCLUSTER_SHARED';
    assert.deepStrictEqual(events, [
      ['change', 'none', 'none'],
      ['load', no, 'none'],
      ['loadError', no, 'none'],
      ['connect', no, no],
      ['disconnect', no, no],
      ['resync', no, no],
    ]);
    // The symbol has another name in some versions of Node.
    assert.deepStrictEqual(registration.slice(0, -1).concat('Symbol.dispose'), [
      ...membersOf('HandlerRegistration').keys(),
    ]);
    assert.ok(dispose);
  }),
);
