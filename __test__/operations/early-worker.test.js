'use strict';

// `rcluster start` by the shell script: Node of the first worker is started together with that of the primary, and nobody
// can tell it from other workers.

const assert = require('node:assert');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { allProcesses, commandOf, isAlive, statusOf, until } = require('../../testing/processes.js');
const { withCommand } = require('../helpers/command-line.js');

const skip = isBuiltin && 'the built-in has no command';

const APP = `
const cluster = require('node:cluster');
const fs = require('node:fs');
const links = () => Object.fromEntries(fs.readdirSync('/proc/self/fd').flatMap((fd) => {
  try {
    return [[fd, fs.readlinkSync('/proc/self/fd/' + fd).replace(/\\d+/g, 'N')]];
  } catch {
    return [];
  }
}));
const atStart = links();
require('node:http').createServer((request, response) => {
  const { pid, argv, execArgv, argv0, env } = process;
  const facts = { pid, argv, execArgv, argv0, env, atStart, cwd: process.cwd(), id: cluster.worker.id };
  response.end(JSON.stringify({ ...facts, slot: cluster.worker.slot }));
}).listen(Number(process.env.PORT), '127.0.0.1', () => console.log('out of', process.pid));
`;

/** @param {number} pid whether the process was started before its primary knew what for */
function isEarly(pid) {
  return fs.readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes('RCLUSTER_EARLY=4');
}

/** @param {any} status @returns {Promise<any[]>} what each worker says of itself, by slot */
async function askAll({ slots, dispatcher }) {
  const { name } = dispatcher.listeners[0];
  /** @type {any[]} */
  const answers = [];
  while (Object.keys(answers).length < slots.length) {
    const get = http.get({ host: '127.0.0.1', port: Number(name), agent: false });
    const [response] = await once(get, 'response');
    let text = '';
    for await (const piece of response.setEncoding('utf8')) text += piece;
    const answer = JSON.parse(text);
    answers[answer.slot] = answer;
  }
  return answers;
}

/**
 * Starts a cluster by the shell script, and calls `body` when it is ready.
 * @param {{ args?: string[], env?: Record<string, string>, before?: (directory: string) => void }} options
 * @param {(cluster: { status: any, child: any, run: any, target: string[] }) => Promise<void>} body
 */
function withCluster({ args = [], env, before = () => {} }, body) {
  return withCommand(async ({ start, run, control, directory }) => {
    fs.writeFileSync(path.join(directory, 'app.js'), APP);
    before(directory);
    const child = start(['--control', control, ...args, 'app.js', '--', 'x y', ''], env);
    const target = ['--control', control];
    await until('the socket is there', () => fs.existsSync(control));
    assert.strictEqual(run('status', '--wait', 'ready', ...target).status, 0, child.text);
    const status = JSON.parse(run('status', '--json', ...target).stdout);
    await body({ status, child, run, target });
    const exit = once(child, 'exit');
    assert.strictEqual(run('stop', ...target).status, 0);
    assert.deepStrictEqual(await exit, [0, null]);
  });
}

for (const [what, args] of /** @type {[string, string[]][]} */ ([
  ['without options', []],
  ['whose output goes through the primary', ['--logs', 'json']],
])) {
  test(`the first worker is the early one, and equal to the second, ${what}`, { skip }, () =>
    withCluster({ args: ['-w', '2', ...args], env: { VARIABLE: 'given' } }, async ({ status, child }) => {
      assert.strictEqual(status.primary.pid, child.pid, 'the primary is the process that was started');
      assert.deepStrictEqual(
        status.slots.map((/** @type {any} */ slot) => [isEarly(slot.pid), slot.restarts]),
        [
          [true, 0],
          [false, 0],
        ],
      );
      const [first, second] = await askAll(status);
      assert.deepStrictEqual([first.id, first.slot, first.env.VARIABLE], [1, 0, 'given']);
      assert.deepStrictEqual(first.argv.slice(2), ['x y', '']);
      for (const it of [first, second]) for (const name of ['pid', 'id', 'slot']) delete it[name];
      for (const it of [first, second]) delete it.env.NODE_APP_INSTANCE;
      // The environment is a set.
      assert.deepStrictEqual(first, second);
      assert.deepStrictEqual(
        Object.keys(first.env).filter((name) => /^(RCLUSTER_|NODE_(UNIQUE|CHANNEL))/.test(name)),
        [],
      );
    }),
  );
}

test('its output goes where that of all workers goes', { skip }, () =>
  withCluster({ args: ['-w', '2', '--logs', 'json'] }, async ({ run, target, status }) => {
    for (const { pid } of status.slots) {
      await until('it has written', () => new RegExp(`out of ${pid}`).test(run('logs', ...target).stdout));
    }
  }),
);

test('it reads the --env-file', { skip }, () =>
  withCluster(
    {
      args: ['-w', '1', '--env-file', 'variables'],
      before: (directory) => fs.writeFileSync(path.join(directory, 'variables'), 'VARIABLE=from the file\n'),
    },
    async ({ status }) => {
      assert.strictEqual(isEarly(status.slots[0].pid), true);
      const [answer] = await askAll(status);
      assert.strictEqual(answer.env.VARIABLE, 'from the file');
    },
  ),
);

test('a configuration decides as always', { skip }, () =>
  withCluster(
    {
      args: ['--config', 'config.mjs'],
      before: (directory) =>
        fs.writeFileSync(
          path.join(directory, 'config.mjs'),
          'await new Promise((resolve) => setTimeout(resolve, 50));\nexport default { workers: 2, instanceVar: "PLACE" };',
        ),
    },
    async ({ status }) => {
      assert.deepStrictEqual(
        status.slots.map((/** @type {any} */ slot) => isEarly(slot.pid)),
        [true, false],
      );
      const answers = await askAll(status);
      assert.deepStrictEqual(
        answers.map(({ env }) => env.PLACE),
        ['0', '1'],
      );
    },
  ),
);

test('variables whose names the shell cannot use arrive, and ours do not replace others', { skip }, () =>
  withCluster(
    { args: ['-w', '2'], env: { 'my.option': 'a\nb=c', 'a-b': '1', file: 'f', found: 'g' } },
    async ({ status }) => {
      assert.strictEqual(isEarly(status.slots[0].pid), true);
      for (const { env } of await askAll(status)) {
        assert.deepStrictEqual(
          [env['my.option'], env['a-b'], env.file, env.found],
          ['a\nb=c', '1', 'f', 'g'],
        );
        assert.deepStrictEqual(
          Object.keys(env).filter((name) => name.startsWith('RCLUSTER_')),
          [],
        );
      }
    },
  ),
);

for (const [what, env, config] of /** @type {[string, Record<string, string>, string?][]} */ ([
  ['Node has options', { NODE_OPTIONS: '--no-warnings' }],
  ['the configuration changes what children inherit', {}, 'process.umask(0o077); export default {};'],
  ['the configuration changes the environment', {}, 'process.env.VARIABLE = "changed"; export default {};'],
  [
    'the configuration changes the directory',
    {},
    'import { mkdirSync } from "node:fs"; mkdirSync("d"); process.chdir("d"); export default {};',
  ],
])) {
  test(`where ${what}, the first worker is started as all others`, { skip }, () =>
    withCluster(
      {
        env,
        args: ['-w', '1', ...(config === undefined ? [] : ['--config', 'config.mjs'])],
        before(directory) {
          if (config !== undefined) fs.writeFileSync(path.join(directory, 'config.mjs'), config);
        },
      },
      async ({ status, child }) => {
        assert.strictEqual(isEarly(status.slots[0].pid), false);
        const [answer] = await askAll(status);
        for (const [name, value] of Object.entries(env)) assert.strictEqual(answer.env[name], value);
        if (config?.includes('changed')) assert.strictEqual(answer.env.VARIABLE, 'changed');
        if (config?.includes('chdir')) assert.match(answer.cwd, /\/d$/);
        // The one that is not needed is gone, and reaped.
        await until('there is one child', () => childrenOf(child.pid).length === 1);
      },
    ),
  );
}

/** @param {number} pid */
function childrenOf(pid) {
  return allProcesses().filter((it) => statusOf(it)?.parent === pid);
}

/** @param {number} pid the early worker of a primary that is still busy with its configuration */
function earlyOf(pid) {
  return childrenOf(pid).find((it) => /preload\.js/.test(commandOf(it) ?? ''));
}

/** A configuration that waits for a file. */
const WAITS = `
import { existsSync } from 'node:fs';
while (!existsSync('go')) await new Promise((resolve) => setTimeout(resolve, 10));
export default {};
`;

test('it ends with a primary that does not get as far', { skip }, () =>
  withCommand(async ({ start, directory }) => {
    fs.writeFileSync(path.join(directory, 'config.mjs'), WAITS);
    for (const signal of /** @type {const} */ (['SIGKILL', 'SIGTERM'])) {
      const primary = start(['-w', '1', '--config', 'config.mjs', 'app.js']);
      const exit = once(primary, 'exit');
      const early = await until('there is an early worker', () => earlyOf(primary.pid));
      primary.kill(signal);
      await exit;
      await until('it is gone', () => !isAlive(early));
    }
    // The timer keeps the primary.
    const wrong = WAITS.replace('{}', '{ worker: 1 }').replace(
      'default',
      'default setTimeout(() => {}, 100) &&',
    );
    fs.writeFileSync(path.join(directory, 'wrong.mjs'), wrong);
    const primary = start(['--config', 'wrong.mjs', 'app.js']);
    const closed = once(primary, 'close');
    const early = await until('there is an early worker', () => earlyOf(primary.pid));
    fs.writeFileSync(path.join(directory, 'go'), '');
    const [code] = await closed;
    assert.deepStrictEqual([code, /did you mean/i.test(primary.text)], [2, true], primary.text);
    await until('it is gone', () => !isAlive(early));
  }),
);

test('if it has ended, the first worker is started as all others', { skip }, () =>
  withCommand(async ({ start, run, control, directory }) => {
    fs.writeFileSync(path.join(directory, 'config.mjs'), WAITS);
    const primary = start(['-w', '1', '--config', 'config.mjs', '--control', control, 'app.js']);
    const early = await until('there is an early worker', () => earlyOf(primary.pid));
    process.kill(early, 'SIGKILL');
    await until('it has ended', () => statusOf(early)?.state === 'Z');
    const target = ['--control', control];
    fs.writeFileSync(path.join(directory, 'go'), '');
    await until('it starts', () => fs.existsSync(control));
    assert.strictEqual(run('status', '--wait', 'ready', ...target).status, 0, primary.text);
    const { slots } = JSON.parse(run('status', '--json', ...target).stdout);
    assert.deepStrictEqual([slots[0].restarts, slots[0].pid === early], [0, false]);
    await until('the other one is reaped', () => statusOf(early) === null);
    primary.kill('SIGTERM');
    await once(primary, 'exit');
  }),
);
