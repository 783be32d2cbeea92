'use strict';

// Each fixture runs twice with the same Node: once on the built-in, once on the module under test. Both runs must make
// the same observations.

const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { describe, test } = require('node:test');
const { isDeepStrictEqual } = require('node:util');
const { BUILTIN } = require('../../testing/subject.js');
const { runToEnd } = require('../helpers/run-fixture.js');

const FIXTURES = path.join(__dirname, 'fixtures');
/**
 * In these, the sources of connections do not depend on the policy; the other fixtures are about one policy
 * or about none.
 */
const BOTH_POLICIES = ['listen', 'servers'];

const EXIT = ['worker exit', 'cluster exit'];
const DISCONNECT = ['worker disconnect', 'cluster disconnect'];

/**
 * The position at which these events follow each other.
 * @param {string[]} events
 * @param {string[]} names
 */
function placeOf(events, names) {
  return events.findIndex((_, from) =>
    names.every((name, index) => events[from + index]?.startsWith(`${name} [`)),
  );
}

/**
 * The end of a worker's channel and that of its process are two events, and a primary that had no CPU time
 * when they happened may detect the second one first, and end before it detects the other. If that is the
 * only difference, the built-in's trace is put in the usual order; ours must have it.
 * @param {Record<string, string[]>} theirs
 * @param {Record<string, string[]>} ours
 */
function inUsualOrder(theirs, ours) {
  const usual = Object.fromEntries(
    Object.entries(theirs).map(([lane, events]) => {
      const [exit, disconnect] = [placeOf(events, EXIT), placeOf(events, DISCONNECT)];
      if (exit === -1 || (disconnect !== -1 && disconnect < exit)) return [lane, events];
      const found = events.slice(exit, exit + 2);
      const exits = found.map((event) =>
        event.replace(/connected=\w+ dead=true listed=\w+/, 'connected=false dead=true listed=false'),
      );
      const disconnects = found.map((event) =>
        event
          .replace('exit [dead', 'disconnect [disconnected')
          .replace(/connected=\w+ dead=true/, 'connected=false dead=false')
          .replace(/\].*/, ']'),
      );
      if (disconnect === -1) return [lane, events.toSpliced(exit, 2, ...disconnects, ...exits)];
      return [lane, events.toSpliced(disconnect, 2, ...exits).toSpliced(exit, 2, ...disconnects)];
    }),
  );
  return isDeepStrictEqual(usual, ours) ? usual : theirs;
}

/** @type {{ policy: string | null, env: Record<string, string> }} */
const byDefault = { policy: null, env: {} };
const unshared = { policy: 'none', env: { NODE_CLUSTER_SCHED_POLICY: 'none' } };

for (const group of fs.readdirSync(FIXTURES)) {
  for (const { policy, env } of BOTH_POLICIES.includes(group) ? [byDefault, unshared] : [byDefault]) {
    describe(
      policy ? `${group}, policy ${policy}` : group,
      { concurrency: os.availableParallelism() },
      () => {
        for (const file of fs
          .readdirSync(path.join(FIXTURES, group))
          .filter((entry) => entry.endsWith('.js'))) {
          test(path.basename(file, '.js'), async (t) => {
            const fixture = path.join(FIXTURES, group, file);
            const theirs = await runToEnd(fixture, { subject: BUILTIN, env });
            if (theirs.skipped !== null) return t.skip(theirs.skipped);
            assert.notDeepStrictEqual(theirs.trace, {}, 'the fixture traced nothing');
            const ours = await runToEnd(fixture, { env });
            try {
              assert.deepStrictEqual(ours.trace, inUsualOrder(theirs.trace, ours.trace));
              if (theirs.stderr === '') {
                assert.strictEqual(ours.stderr, '', 'unlike the built-in it wrote to stderr');
              }
            } catch (error) {
              throw new Error(
                `${error.message}\n--- output here ---\n${ours.output}--- output of the built-in ---\n` +
                  `${theirs.output}--- end ---`,
                { cause: error },
              );
            }
          });
        }
      },
    );
  }
}
