'use strict';

// A worker attacks its link, its process and its clients. It may fail itself; the primary, the other workers and
// their clients are not affected. This is a short run of a few ways; `node __test__/sabotage/run.js` runs all of them.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { POLICIES, fits } = require('./scenario.js');
const { WAYS } = require('./ways');

/** Every way once, each with one of its policies, in turn. @type {Map<string, string[]>} */
const dealt = new Map(POLICIES.map((policy) => [policy, []]));
for (const name of Object.keys(WAYS).filter((name) => WAYS[name].brief)) {
  const [fewest] = POLICIES.filter((policy) => fits(policy, name)).sort(
    (one, other) => dealt.get(one).length - dealt.get(other).length,
  );
  dealt.get(fewest).push(name);
}

for (const [policy, names] of dealt) {
  test(
    `other workers serve their clients: ${policy}`,
    { skip: isBuiltin && 'the built-in has no such link' },
    async (t) => {
      const program = require.resolve('./run.js');
      const ways = names.flatMap((name) => ['--ways', name]);
      const args = ['--policies', policy, ...ways, '--seconds', '0.5', '--quiet', '0.2', '--untimed'];
      t.diagnostic(
        `node __test__/sabotage/run.js ${args.map((it) => (it.includes(' ') ? `"${it}"` : it)).join(' ')}`,
      );
      const run = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
      t.after(() => run.kill());
      let report = '';
      run.stdout.setEncoding('utf8').on('data', (text) => (report += text));
      const [code] = await once(run, 'close');
      assert.strictEqual(code, 0, report);
      assert.match(report, new RegExp(`^${names.length} tried, 0 not as they should be$`, 'm'));
    },
  );
}
