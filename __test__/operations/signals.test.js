'use strict';

// The signals with which operators steer `rcluster start`.

const assert = require('node:assert');
const { once } = require('node:events');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { until } = require('../../testing/processes.js');
const { withCommand } = require('../helpers/command-line.js');

const skip = isBuiltin && 'the built-in has no command';

/**
 * @param {(cluster: {
 *   child: import('node:child_process').ChildProcess,
 *   status(): any,
 *   run(...args: string[]): { status: number | null, stdout: string, stderr: string },
 * }) => Promise<void>} body
 * @param {Record<string, string>} [env]
 */
function withWorkers(body, env) {
  return withCommand(async ({ start, run, control }) => {
    const child = start(['-w', '2', '--control', control, 'app.js'], env);
    await until('it is ready', () => /are ready/.test(child.text ?? ''));
    const on = (/** @type {string[]} */ ...args) => run(...args, '--control', control);
    await body({ child, status: () => JSON.parse(on('status', '--json').stdout), run: on });
  });
}

/** @param {{ slots: { pid: number }[] }} status */
function pidsOf({ slots }) {
  return slots.map(({ pid }) => pid);
}

for (const signal of /** @type {const} */ (['SIGTERM', 'SIGINT', 'SIGQUIT'])) {
  test(`${signal} drains the workers and ends the primary`, { skip }, () =>
    withWorkers(async ({ child }) => {
      const exit = once(child, 'exit');
      child.kill(signal);
      assert.deepStrictEqual(await exit, [0, null]);
      assert.match(child.text ?? '', /^rcluster: stopping; the workers have 8 s to drain/m);
    }),
  );
}

for (const signal of /** @type {const} */ (['SIGHUP', 'SIGUSR2'])) {
  test(`${signal} replaces all workers`, { skip }, () =>
    withWorkers(async ({ child, status, run }) => {
      const before = pidsOf(status());
      child.kill(signal);
      await until('they are replaced', () => {
        const now = status();
        return now.ready === 2 && pidsOf(now).every((pid) => pid !== null && !before.includes(pid));
      });
      assert.strictEqual(run('stop').status, 0);
    }),
  );
}

test('SIGTTIN and SIGTTOU change the number of workers by one, but leave one', { skip }, () =>
  withWorkers(async ({ child, status, run }) => {
    for (const [signal, count] of /** @type {const} */ ([
      ['SIGTTIN', 3],
      ['SIGTTOU', 2],
      ['SIGTTOU', 1],
    ])) {
      child.kill(signal);
      await until(`${signal} has an effect`, () => status().workers === count && status().ready === count);
      const line = new RegExp(`^rcluster: scales to ${count} because of ${signal}$`, 'm');
      await until('it is logged', () => line.test(child.text ?? ''));
    }
    child.kill('SIGTTOU');
    await until('it is refused', () => /^rcluster: cannot scale to 0: /m.test(child.text ?? ''));
    assert.strictEqual(status().workers, 1);
    assert.strictEqual(run('stop').status, 0);
  }),
);

test('SIGUSR2 is left to Node if that is to write a report', { skip }, () =>
  withWorkers(
    async ({ child, status, run }) => {
      const before = pidsOf(status());
      child.kill('SIGUSR2');
      await until('there is a report', () => /Node\.js report completed/.test(child.text ?? ''));
      assert.deepStrictEqual(pidsOf(status()), before);
      assert.strictEqual(run('stop').status, 0);
    },
    { NODE_OPTIONS: '--report-on-signal' },
  ),
);
