'use strict';

// Each fixture is played twice by the same Node: once on the built-in, once on the module under test. Both must have
// observed the same.

const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { describe, test } = require('node:test');
const { BUILTIN } = require('../../testing/subject.js');
const { runToEnd } = require('../helpers/run-fixture.js');

const FIXTURES = path.join(__dirname, 'fixtures');
/**
 * In these, the sources of connections do not depend on the policy; the rest is about one policy or about
 * none.
 */
const BOTH_POLICIES = ['listen', 'servers'];

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
              assert.deepStrictEqual(ours.trace, theirs.trace);
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
