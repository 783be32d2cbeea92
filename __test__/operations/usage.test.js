'use strict';

// What the command prints if a request fails: what happened, why, and what to do, on one or two lines.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { statusOf, until } = require('../../testing/processes.js');
const { COMMAND, withCommand } = require('../helpers/command-line.js');

const skip = isBuiltin && 'the built-in has no command';

test('names of other tools lead to the right command', { skip }, () =>
  withCommand(async ({ start, run, control }) => {
    const cluster = start(['-i', '1', '--control', control, 'app.js']);
    await until('it is ready', () => /is ready/.test(cluster.text ?? ''));
    const target = ['--control', control];
    for (const name of ['ps', 'ls', 'list', 'stats']) {
      assert.match(run(name, ...target).stdout, /^SLOT/m, name);
    }
    assert.strictEqual(run('phased-restart', ...target).status, 0);
    for (const [words, hint] of /** @type {const} */ ([
      ['monit', /use rcluster top/],
      ['kill', /use rcluster stop/],
      ['delete app', /rcluster stop, or rcluster drain SLOT/],
      ['describe 0', /rcluster status --json/],
      ['save', /there is no daemon/],
      ['restart all', /rcluster reload/],
      ['restart app', /the number of a slot, which `rcluster status` shows/],
      ['logs app', /the number of a slot/],
      ['reload app', /`rcluster restart SLOT`/],
      ['stop 0', /`rcluster drain SLOT`/],
      ['scale app 4', /rcluster scale 4/],
      ['scale app', /\+1, -1 or auto/],
      ['scale 0', /`rcluster stop`/],
      ['scale 5000', /at most 1024/],
      ['init k8s --name my_app', /Kubernetes allows no underscores/],
      ['reaload', /did you mean reload\?/],
      ['app.js', /rcluster start app\.js/],
      ['start app.js --port 80', /PORT=3000/],
      ['start app.js 80', /rcluster start app\.js -- 80/],
      ['start app.js -i max --name x', /apps have no names here/],
      ['start --wokers 2 app.js', /did you mean --workers\?/],
      ['status --timeout 30', /write 30s or 30ms/],
      ['profile 0 1h', /from 1ms to 10m/],
      ['status --pid app', /expected a process id/],
    ])) {
      const { status, stdout, stderr } = run(...words.split(' '));
      assert.deepStrictEqual([status, stdout, hint.test(stderr)], [2, '', true], `${words}: ${stderr}`);
      assert.match(stderr, /^rcluster: .+\n$/, 'one line');
    }
    const missing = run('start');
    assert.deepStrictEqual(
      [missing.status, missing.stderr],
      [
        2,
        'rcluster: the following required arguments were not provided: <app.js>\n' +
          'Usage: rcluster start <app.js> [-- <ARGS>...]\n',
      ],
    );
    assert.match(run('start', '--help').stdout, /^Usage: rcluster start /m);
    assert.strictEqual(run('stop', ...target).status, 0);
  }),
);

test('the socket of a primary that was killed is removed by the next one', { skip }, () =>
  withCommand(async ({ start, run, directory }) => {
    const socketOf = (/** @type {{ pid?: number }} */ { pid }) =>
      path.join(directory, 'rcluster', `${pid}.sock`);
    const primaries = [];
    for (let count = 0; count < 3; count++) {
      const cluster = start(['-w', '1', 'app.js']);
      await until('it is ready', () => /is ready/.test(cluster.text ?? ''));
      primaries.push(cluster);
      if (count === 0) {
        const exit = once(cluster, 'exit');
        cluster.kill('SIGKILL');
        await exit;
        assert(fs.existsSync(socketOf(cluster)), 'it is left behind');
      }
    }
    assert.deepStrictEqual(
      primaries.map((cluster) => fs.existsSync(socketOf(cluster))),
      [false, true, true],
    );
    for (const { pid } of primaries.slice(1)) assert.strictEqual(run('stop', '--pid', `${pid}`).status, 0);
  }),
);

test('a stopped primary is named, and nothing is requested from it', { skip }, () =>
  withCommand(async ({ start, run, directory }) => {
    const cluster = start(['-w', '1', 'app.js']);
    await until('it is ready', () => /is ready/.test(cluster.text ?? ''));
    const control = path.join(directory, 'rcluster', `${cluster.pid}.sock`);
    assert(fs.existsSync(control));
    cluster.kill('SIGSTOP');
    await until('it is stopped', () => statusOf(cluster.pid)?.state === 'T');
    for (const target of [
      ['--control', control],
      ['--pid', `${cluster.pid}`],
    ]) {
      const { status, stdout, stderr } = run('stop', ...target);
      assert.deepStrictEqual([status, stdout], [1, '']);
      const expected = new RegExp(
        `process id ${cluster.pid} does not answer: it is stopped; \`kill -CONT ${cluster.pid}\``,
      );
      assert.match(stderr, expected);
    }
    cluster.kill('SIGCONT');
    assert.strictEqual(JSON.parse(run('status', '--json', '--control', control).stdout).shuttingDown, false);
  }),
);

test('a file that is missing or not a program is named before anything starts', { skip }, () =>
  withCommand(async ({ run, directory }) => {
    const write = (/** @type {string} */ name, /** @type {string} */ text) =>
      fs.writeFileSync(path.join(directory, name), text);
    write('package.json', '{}');
    write('ecosystem.config.js', 'module.exports = { apps: [] };');
    write('function.js', 'module.exports = () => ({ workers: 2 });');
    write('map.js', 'module.exports = new Map([["workers", 2]]);');
    write('number.json', '2');
    write('text.json', '{ workers: 2 }');
    write('type.json', '{ "unresponsiveAfter": "5s" }');
    for (const [name, value] of Object.entries({ number: '5', text: '"80%"', list: '[]', null: 'null' })) {
      write(`recycle-${name}.json`, `{ "recycle": ${value} }`);
    }
    write('unknown.mjs', 'export default { worker: 2 };');
    write('nothing.mjs', 'export const workers = 2;');
    write('never.mjs', 'await new Promise(() => {}); export default {};');
    write('never-settled.mjs', 'export default new Promise(() => {});');
    write('promise.mjs', 'export default Promise.resolve("text");');
    write('promise.js', 'module.exports = Promise.resolve(null);');
    write('array.json', '[]');
    for (const [args, text] of /** @type {const} */ ([
      [['missing.js'], `there is no program ${path.join(directory, 'missing.js')}`],
      [['package.json'], 'is no program: name the file that Node runs'],
      [['.'], `there is no program in ${directory}: it has no index.js, and no package.json with "main"`],
      [['ecosystem.config.js'], 'is a configuration: name the program'],
      [['--config', 'no.json', 'app.js'], `--config: there is no file ${path.join(directory, 'no.json')}`],
      [['--config', 'text.json', 'app.js'], 'cannot read text.json: SyntaxError'],
      [['--config', 'type.json', 'app.js'], 'type.json: The "options.unresponsiveAfter" option must be'],
      ...['number', 'text', 'list', 'null'].map(
        (name) =>
          /** @type {[string[], string]} */ ([
            ['--config', `recycle-${name}.json`, 'app.js'],
            `recycle-${name}.json: The "options.recycle" option must be`,
          ]),
      ),
      [
        ['--config', 'unknown.mjs', 'app.js'],
        'unknown.mjs: The "options.worker" option does not exist. Did you',
      ],
      [
        ['--config', 'nothing.mjs', 'app.js'],
        'nothing.mjs must export an object with options of supervise(): it has no default export',
      ],
      ...['never.mjs', 'never-settled.mjs'].map(
        (name) =>
          /** @type {[string[], string]} */ ([
            ['--config', name, 'app.js'],
            `${name} never exports its options: it awaits something that does not happen`,
          ]),
      ),
      [['--config', 'promise.mjs', 'app.js'], 'options of supervise(): it exports a string'],
      [['--config', 'promise.js', 'app.js'], 'options of supervise(): it exports null'],
      [['--config', 'array.json', 'app.js'], 'options of supervise(): it contains an array'],
      [['--config', 'function.js', 'app.js'], 'options of supervise(): it exports a function'],
      [['--config', 'map.js', 'app.js'], 'options of supervise(): it exports an instance of a class'],
      [['--config', 'number.json', 'app.js'], 'options of supervise(): it contains a number'],
      [['--config', 'ecosystem.config.js', 'app.js'], 'ecosystem.config.js is a configuration of pm2'],
      [['--max-memory', '500', 'app.js'], 'the unit is missing: write 500M'],
      [
        ['--config', 'type.json', '--unresponsive-after', '5ms', 'app.js'],
        'rcluster: The value of the "options.',
      ],
      [['--watch-path', 'no', 'app.js'], '--watch-path: there is nothing at no'],
    ])) {
      const { status, stderr } = run('start', ...args);
      assert.deepStrictEqual([status, stderr.includes(text)], [2, true], `${args.join(' ')}: ${stderr}`);
      assert.match(stderr, /^rcluster: .+\n$/, 'one line');
    }
  }),
);

test('where there is no cluster, it says how to start or to name one', { skip }, () =>
  withCommand(async ({ run, control }) => {
    const { status, stderr } = run('stop', '--control', control);
    assert.deepStrictEqual(
      [status, stderr],
      [
        3,
        `rcluster: no cluster has its control socket at ${control} (No such file or directory); ` +
          'without --control, it is found by itself\n',
      ],
    );
    const other = run('status', '--pid', `${process.pid}`);
    assert.deepStrictEqual([other.status, /is no primary/.test(other.stderr)], [3, true], other.stderr);
  }),
);

test('the stack of an idle worker is refused, also while its event loop is watched', { skip }, () =>
  withCommand(async ({ start, run, control }) => {
    const cluster = start(['-w', '1', '--unresponsive-after', '30s', '--control', control, 'app.js']);
    await until('it is ready', () => /is ready/.test(cluster.text ?? ''));
    // It may still be starting up when it has just become ready.
    await until('it is idle', () => /it is idle/.test(run('stack', '0', '--control', control).stderr));
    for (let i = 0; i < 5; i++) {
      const { status, stdout } = run('stack', '0', '--control', control);
      assert.deepStrictEqual([status, stdout], [1, '']);
    }
    assert.strictEqual(run('stop', '--control', control).status, 0);
  }),
);

test('a control socket of another cluster is a warning that names the consequences', { skip }, () =>
  withCommand(async ({ start, run, control }) => {
    const first = start(['-w', '1', '--control', control, 'app.js']);
    await until('it is ready', () => /is ready/.test(first.text ?? ''));
    const second = start(['-w', '1', '--control', control, 'app.js']);
    const exit = once(second, 'exit');
    await until('it is ready', () => /is ready/.test(second.text ?? ''));
    assert.match(
      `${second.text}`,
      /There is no control socket, so the command `rcluster` does not find this cluster/,
    );
    assert.strictEqual(
      JSON.parse(run('status', '--json', '--control', control).stdout).primary.pid,
      first.pid,
    );
    second.kill('SIGTERM');
    assert.deepStrictEqual(await exit, [0, null]);
    assert.match(
      `${second.text}`,
      /^rcluster: stopping; the workers have 8 s to drain, and a second signal kills them$/m,
    );
    assert.strictEqual(run('stop', '--control', control).status, 0);
  }),
);

test(
  'a worker that hangs is shown as blocked when clients connect, and its stack shows where',
  { skip },
  () =>
    withCommand(async ({ start, run, control }) => {
      const cluster = start(['-w', '2', '--control', control, 'app.js']);
      await until('they are ready', () => /are ready/.test(cluster.text ?? ''));
      const target = ['--control', control];
      const idle = run('stack', '0', ...target);
      assert.deepStrictEqual([idle.status, /it is idle/.test(idle.stderr)], [1, true], idle.stderr);
      const port = Number(JSON.parse(run('status', '--json', ...target).stdout).dispatcher.listeners[0].name);
      /** @type {net.Socket[]} */
      const clients = [];
      const connect = () => {
        const client = net.connect(port, '127.0.0.1').on('error', () => {});
        clients.push(client);
        return client;
      };
      try {
        connect().write('GET /hang HTTP/1.1\r\nHost: x\r\n\r\n');
        let hung = '';
        await until('it hangs', () => {
          hung = ['0', '1'].find((slot) => /app\.js:4/.test(run('stack', slot, ...target).stdout)) ?? '';
          return hung !== '';
        });
        await until('it is shown', () => {
          // The next worker in turn is the one that hangs, or the one after it.
          connect();
          return new RegExp(`^${hung} +\\d+ +blocked `, 'm').test(run('status', ...target).stdout);
        });
        const { status, stderr } = run('env', hung, ...target);
        assert.deepStrictEqual([status, /`rcluster stack` shows where/.test(stderr)], [1, true], stderr);
        assert.strictEqual(run('stop', '--drain-timeout', '0', ...target).status, 0);
      } finally {
        for (const client of clients) client.destroy();
      }
    }),
);

test('the command explains where output is that does not go through the primary', { skip }, () =>
  withCommand(async ({ start, run, control }) => {
    for (const [mode, text] of /** @type {const} */ ([
      ['auto', /^rcluster: the workers write stdout directly.*`start --logs prefix`/],
      [
        'inherit',
        /^rcluster: the workers write directly to the stdout and stderr of the primary.*--logs prefix/,
      ],
      ['raw', /^$/],
    ])) {
      const cluster = start(['-w', '1', '--logs', mode, '--control', control, 'app.js']);
      await until('it is ready', () => /is ready/.test(cluster.text ?? ''));
      const { status, stdout, stderr } = run('logs', '--tail', '5', '--control', control);
      assert.deepStrictEqual([status, stdout], [mode === 'inherit' ? 1 : 0, ''], stderr);
      assert.match(stderr, text);
      assert.strictEqual(run('stop', '--control', control).status, 0);
    }
  }),
);

test('output that cannot be written is an error in one line', { skip }, () => {
  const full = fs.openSync('/dev/full', 'w');
  try {
    for (const args of [['start', '--help'], ['doctor']]) {
      const { status, stderr } = spawnSync(process.execPath, [COMMAND, ...args], {
        stdio: ['ignore', full, 'pipe'],
        encoding: 'utf8',
      });
      assert.match(stderr, /^rcluster: cannot print: .*no space left on device.*\n$/i, args.join(' '));
      assert.strictEqual(status, 1, args.join(' '));
    }
  } finally {
    fs.closeSync(full);
  }
});
