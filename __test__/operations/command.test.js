'use strict';

// The command `rcluster`: an unchanged app runs supervised, and is controlled from another terminal.

const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { until, isAlive } = require('../../testing/processes.js');
const { COMMAND, withCommand } = require('../helpers/command-line.js');

const skip = isBuiltin && 'the built-in has no command';

/** @param {number} port @param {string} [url] @returns {Promise<any>} */
async function ask(port, url = '/') {
  const [response] = await once(http.get({ host: '127.0.0.1', port, path: url, agent: false }), 'response');
  let text = '';
  for await (const piece of response.setEncoding('utf8')) text += piece;
  return JSON.parse(text);
}

for (const by of /** @type {const} */ (['start', 'startByNode'])) {
  test(`${by} runs an unchanged app until it is stopped, and the other commands control it`, { skip }, () =>
    withCommand(async ({ [by]: start, run, control, directory }) => {
      fs.writeFileSync(path.join(directory, 'variables'), 'VARIABLE=from the file\n');
      const args = ['-w', '2', '--control', control, '--unresponsive-after', '30s', '--max-memory', '1G'];
      const cluster = start([...args, '--env-file', 'variables', 'app.js', '--', '-w', 'x y']);
      const exit = once(cluster, 'exit');
      await until('the socket is there', () => fs.existsSync(control));
      const target = ['--control', control];
      assert.strictEqual(run('status', '--wait', 'ready', ...target).status, 0);

      const status = JSON.parse(run('status', '--json', ...target).stdout);
      assert.strictEqual(status.primary.pid, cluster.pid, 'the primary is the process that was started');
      const port = Number(status.dispatcher.listeners[0].name);
      const answer = await ask(port);
      assert.deepStrictEqual([answer.args, answer.variable], [['-w', 'x y'], 'from the file']);

      const table = run('ps', ...target).stdout;
      assert.match(table, /^SLOT +PID +STATE/m);
      for (const { pid } of status.slots) assert.match(table, new RegExp(`^\\d +${pid} +serving`, 'm'));

      const scaled = run('scale', '+1', ...target);
      assert.strictEqual(scaled.status, 0);
      assert.match(scaled.stderr, /^rcluster: ready .*slot=2/m, 'it tells how it goes');
      assert.strictEqual(run('scale', '2', ...target).status, 0);

      fs.writeFileSync(path.join(directory, 'variables'), 'VARIABLE=new\n');
      assert.strictEqual(run('reload', '--concurrency', '2', ...target).status, 0);
      assert.strictEqual((await ask(port)).variable, 'new');
      assert.strictEqual(run('restart', '0', ...target).status, 0);
      assert.strictEqual(run('drain', '1', ...target).status, 0);
      const refused = run('drain', '0', ...target);
      assert.deepStrictEqual([refused.status, /ERR_RCLUSTER_LAST_SLOT/.test(refused.stderr)], [1, true]);

      const hung = ask(port, '/hang').catch(() => {});
      const stack = () => run('stack', '0', ...target).stdout;
      await until('its stack is seen', () => /app\.js/.test(stack()));
      assert.doesNotMatch(stack(), /lib\/worker/, 'it is about the app');
      assert.strictEqual(run('stop', '--drain-timeout', '0', ...target).status, 0);
      assert.deepStrictEqual(await exit, [0, null]);
      await hung;
      assert.strictEqual(run('status', ...target).status, 3);
    }),
  );
}

// \x9b is a control character that JSON leaves as it is, and that begins a sequence like `ESC [`.
const HOSTILE = `
const EVIL = 'a\\x1b]0;title\\x07\\x1b[2J\\x9b2J\\rb';
require('node:http').createServer().listen(\`\${process.env.DIRECTORY}/\${EVIL}\`);
require('node:inspector').url = () => { throw new Error(EVIL); };
const block = { [EVIL]() { for (const end = Date.now() + 100; Date.now() < end;); } };
setInterval(() => block[EVIL](), 101);
`;

test('the output of a worker cannot control the terminal', { skip }, () =>
  withCommand(async ({ start, run, control, directory }) => {
    fs.writeFileSync(path.join(directory, 'hostile.js'), HOSTILE);
    const cluster = start(['-w', '1', '--control', control, 'hostile.js'], { DIRECTORY: directory });
    const exit = once(cluster, 'exit');
    const target = ['--control', control];
    assert.strictEqual(run('status', '--wait', 'ready', '--timeout', '60s', ...target).status, 0);
    const isTold = (/** @type {string[]} */ ...args) => {
      const { stdout, stderr } = run(...args, ...target);
      // eslint-disable-next-line no-control-regex
      assert.doesNotMatch(`${stdout}${stderr}`, /[^\P{Cc}\t\n]/u, args.join(' '));
      return /title/.test(`${stdout}${stderr}`);
    };
    assert.ok(isTold('status') && isTold('status', '--json') && isTold('inspect', '0'));
    await until('its stack is seen', () => isTold('stack', '0'));
    cluster.kill();
    await exit;
  }),
);

test('status waits for a cluster that is being started', { skip }, () =>
  withCommand(async ({ start, control, directory }) => {
    const args = ['status', '--wait', 'ready', '--timeout', '60s', '--control', control];
    // It looks for the cluster long before the cluster listens.
    const waits = spawn(process.execPath, [COMMAND, ...args], { cwd: directory, stdio: 'ignore' });
    const exit = once(waits, 'exit');
    const cluster = start(['-w', '1', '--control', control, 'app.js']);
    assert.deepStrictEqual(await exit, [0, null]);
    cluster.kill();
    await once(cluster, 'exit');
  }),
);

test('a signal to the started process ends the cluster', { skip }, () =>
  withCommand(async ({ start, run, control }) => {
    const cluster = start(['-w', '1', '--control', control, 'app']);
    const exit = once(cluster, 'exit');
    await until('it is ready', () => /1 worker of app is ready/.test(cluster.text ?? ''));
    const [{ pid }] = JSON.parse(run('status', '--json', '--control', control).stdout).slots;
    cluster.kill('SIGTERM');
    assert.deepStrictEqual(await exit, [0, null]);
    assert.strictEqual(isAlive(pid), false);
  }),
);

test('a single cluster is found automatically, and with several one must be named', { skip }, () =>
  withCommand(async ({ start, run, control }) => {
    const others = JSON.stringify(run('status', '--json'));
    const first = start(['-w', '1', 'app.js']);
    await until('it is ready', () => / (is|are) ready/.test(first.text ?? ''));
    const own = run('status', '--json', '--pid', `${first.pid}`);
    assert.strictEqual(JSON.parse(own.stdout).primary.pid, first.pid, others);
    const second = start(['-w', '1', '--control', `@rcluster/${process.getuid()}/1${first.pid}`, 'app.js']);
    await until('it is ready', () => / (is|are) ready/.test(second.text ?? ''));
    const unclear = run('status');
    assert.strictEqual(unclear.status, 2);
    for (const { pid } of [first, second]) {
      assert.match(unclear.stderr, new RegExp(`--pid ${pid} .* start .*app\\.js$`, 'm'));
    }
    assert.strictEqual(run('stop', '--pid', `${second.pid}`).status, 0);
    assert.strictEqual(run('stop', '--pid', `${first.pid}`).status, 0);
    assert.strictEqual(run('status', '--pid', `${first.pid}`).status, 3);
    assert.strictEqual(fs.existsSync(control), false);
  }),
);

test('exit codes show what failed', { skip }, () =>
  withCommand(async ({ start, run, control, directory }) => {
    for (const args of [
      [],
      ['explode'],
      ['start'],
      ['start', 'missing.js'],
      ['restart', 'x'],
      ['scale'],
      ['scale', '0'],
      ['start', '--max-memory', '5T', 'app.js'],
      ['start', '--config', 'missing.json', 'app.js'],
    ]) {
      const { status, stderr } = run(...args);
      assert.strictEqual(status, 2, `${args.join(' ')}: ${stderr}`);
    }
    for (const args of [['--help'], ['--version'], ['start', '--help'], ['status', '--help']]) {
      const { status, stdout } = run(...args);
      assert.deepStrictEqual([status, stdout.length > 0], [0, true], args.join(' '));
    }
    fs.writeFileSync(path.join(directory, 'wrong.json'), '{ "worker": 1 }');
    const wrong = run('start', '--config', 'wrong.json', 'app.js');
    assert.deepStrictEqual([wrong.status, /did you mean/i.test(wrong.stderr)], [2, true], wrong.stderr);

    fs.writeFileSync(path.join(directory, 'never.js'), 'setInterval(() => {}, 1000);');
    fs.writeFileSync(path.join(directory, 'config.mjs'), 'export default { log: false };');
    const cluster = start(['-w', '1', '--config', 'config.mjs', '--control', control, 'never.js']);
    await until('the socket is there', () => fs.existsSync(control));
    const late = run('status', '--wait', 'ready', '--timeout', '300ms', '--control', control);
    assert.strictEqual(late.status, 4, late.stderr);
    cluster.kill('SIGKILL');
    await once(cluster, 'exit');
    assert.strictEqual(run('status', '--control', control).status, 3);
  }),
);

test('the report of a worker is printed, or becomes a file when it is complete', { skip }, () =>
  withCommand(async ({ start, run, control, directory }) => {
    const cluster = start(['-w', '1', '--control', control, 'app.js'], { SECRET_VALUE: 'hidden' });
    await until('it is ready', () => / (is|are) ready/.test(cluster.text ?? ''));
    const target = ['--control', control];
    const files = () => fs.readdirSync(directory).filter((name) => /profile|snapshot|part/.test(name));

    const profile = run('profile', '0', '20ms', '-o', 'a.cpuprofile', ...target);
    assert.deepStrictEqual([profile.status, profile.stdout], [0, 'a.cpuprofile\n'], profile.stderr);
    assert.ok(JSON.parse(fs.readFileSync(path.join(directory, 'a.cpuprofile'), 'utf8')).nodes.length > 0);
    const heap = run('heap', 'primary', ...target);
    assert.match(heap.stdout, /^primary-\d+\.heapsnapshot$/m, heap.stderr);
    const file = path.join(directory, heap.stdout.trim());
    assert.strictEqual(fs.statSync(file).mode & 0o777, 0o600);
    assert.ok(JSON.parse(fs.readFileSync(file, 'utf8')).snapshot.node_count > 0);
    assert.ok(JSON.parse(run('profile', '0', '1ms', '-o', '-', ...target).stdout).nodes.length > 0);
    assert.strictEqual(files().length, 2, `${files()}`);

    const opened = run('inspect', '0', ...target);
    assert.match(opened.stdout, /^ws:\/\/127\.0\.0\.1:\d+\/\S+\n$/);
    assert.match(opened.stderr, /rcluster inspect 0 --off/);
    const closed = run('inspect', '0', '--off', ...target);
    assert.deepStrictEqual([closed.status, closed.stdout], [0, '']);
    const env = run('env', '0', ...target);
    assert.match(env.stdout, /^SECRET_VALUE$/m);
    assert.doesNotMatch(env.stdout, /hidden|=/);

    for (const args of [
      ['profile', '7', '1ms'],
      ['profile', '7', '5s'],
      ['heap', '7'],
      ['inspect', '7'],
      ['env', '7'],
      ['stack', '7'],
      ['restart', '7'],
      ['drain', '7'],
      ['scale', '-1'],
    ]) {
      const { status, stderr } = run(...args, ...target);
      assert.deepStrictEqual([status, /ERR_\w+/.test(stderr)], [1, true], `${args.join(' ')}: ${stderr}`);
      assert.strictEqual(stderr.trim().split('\n').length, 1, `nothing seemed to begin: ${stderr}`);
    }
    assert.strictEqual(files().length, 2, 'what has failed leaves nothing behind');
    assert.strictEqual(run('heap', '0', '-o', 'no/such/folder', ...target).status, 1);
    assert.strictEqual(run('stop', ...target).status, 0);
    for (const args of [
      ['status'],
      ['events'],
      ['reload'],
      ['scale', '2'],
      ['restart', '0'],
      ['drain', '0'],
      ['stack', '0'],
      ['profile', '0'],
      ['heap', '0'],
      ['inspect', '0'],
      ['env', '0'],
      ['stop'],
    ]) {
      assert.strictEqual(run(...args, ...target).status, 3, args.join(' '));
    }
  }),
);

test('doctor reports the result of each check, and what to do if it failed', { skip }, () =>
  withCommand(async ({ run }) => {
    const { status, stdout } = run('doctor', '--json');
    const checks = JSON.parse(stdout);
    const node = checks.find(({ name }) => name === 'node');
    assert.deepStrictEqual([node.state, node.found.startsWith(process.versions.node)], ['ok', true]);
    assert.ok(checks.length > 8);
    for (const { state, advice } of checks) assert.strictEqual(state === 'ok', advice === null);
    assert.strictEqual(status, checks.some(({ state }) => state === 'fail') ? 1 : 0);
    const lines = run('doctor').stdout.split('\n');
    for (const { name, state } of checks) {
      assert.ok(
        lines.some((line) => line.startsWith(`${state.padEnd(5)} ${name}`)),
        name,
      );
    }
  }),
);

test('doctor reads the limits of control groups, and says that the fallback is forced', { skip }, () =>
  withCommand(async ({ directory }) => {
    const groups = fs.readFileSync('/proc/self/cgroup', 'utf8');
    // The available versions depend on the machine.
    const versions = [
      [/^0::/m, { 'memory.max': 64 << 20, 'cpu.max': '100000 100000', 'pids.max': 20, 'pids.current': 9 }],
      [
        /:([\w,]+,)?memory[,:]/m,
        {
          'memory/memory.limit_in_bytes': 64 << 20,
          'cpu/cpu.cfs_quota_us': 100_000,
          'cpu/cpu.cfs_period_us': 100_000,
          'pids/pids.max': 20,
          'pids/pids.current': 9,
        },
      ],
    ].filter(([line]) => line.test(groups));
    assert.notStrictEqual(versions.length, 0);
    for (const [place, [, files]] of versions.entries()) {
      const root = path.join(directory, `cgroup ${place}`);
      for (const [name, value] of Object.entries(files)) {
        fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
        fs.writeFileSync(path.join(root, name), `${value}\n`);
      }
      const env = { ...process.env, RCLUSTER_CGROUP_ROOT: root, RCLUSTER_FALLBACK: '1' };
      const args = [COMMAND, 'doctor', '--json'];
      const checks = JSON.parse(spawnSync(process.execPath, args, { env, encoding: 'utf8' }).stdout);
      const found = (name) => checks.find((check) => check.name === name);
      assert.strictEqual(found('limits').found, '1 CPU to use, 64.0M of memory: 32.0M for each worker');
      assert.match(found('processes').found, /^9 of 20 /);
      assert.strictEqual(found('node').state, 'warn');
      assert.match(found('node').found, /RCLUSTER_FALLBACK=1/);
    }
  }),
);

test('shells can parse the completion scripts', { skip }, () =>
  withCommand(async ({ run, directory }) => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { status, stdout } = run('completions', shell);
      assert.deepStrictEqual([status, /heap/.test(stdout)], [0, true], shell);
    }
    fs.writeFileSync(path.join(directory, 'script'), run('completions', 'bash').stdout);
    const code = `
      source ./script
      COMP_WORDS=(rcluster rel) COMP_CWORD=1
      _rcluster rcluster rel rcluster
      echo "\${COMPREPLY[@]}"
    `;
    const { stdout, stderr } = spawnSync('bash', ['-c', code], { cwd: directory, encoding: 'utf8' });
    assert.strictEqual(stdout, 'reload\n', stderr);
    assert.strictEqual(run('completions', 'csh').status, 2);
  }),
);

test('the command line overrides a file with options', { skip }, () =>
  withCommand(async ({ start, run, control, directory }) => {
    // With a byte order mark, as some editors write it.
    const text = JSON.stringify({ workers: 2, control, log: false });
    fs.writeFileSync(path.join(directory, 'c.json'), `\uFEFF${text}`);
    const workersOf = async (/** @type {string[]} */ ...args) => {
      const cluster = start([...args, '--config', 'c.json', 'app.js']);
      await until('it is ready', () => / (is|are) ready/.test(cluster.text ?? ''));
      const { workers } = JSON.parse(run('status', '--json', '--control', control).stdout);
      assert.strictEqual(run('stop', '--control', control).status, 0);
      return workers;
    };
    assert.strictEqual(await workersOf(), 2);
    assert.strictEqual(await workersOf('-w', '1'), 1);
  }),
);

test('events are printed until their reader has ended', { skip }, () =>
  withCommand(async ({ start, run, control, directory, children }) => {
    const cluster = start(['-w', '1', '--control', control, 'app.js']);
    await until('it is ready', () => / (is|are) ready/.test(cluster.text ?? ''));
    const events = spawn(process.execPath, [COMMAND, 'events', '-f', '--json', '--control', control], {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(events);
    let text = '';
    events.stdout.setEncoding('utf8').on('data', (piece) => {
      text += piece;
    });
    // It watches once the first event of one of these has arrived.
    await until(
      'it has told',
      () => run('restart', '0', '--control', control).status === 0 && text.includes('\n'),
    );
    const [line] = text.split('\n');
    assert.strictEqual(typeof JSON.parse(line).event, 'string');
    const exit = once(events, 'exit');
    events.kill('SIGINT');
    assert.deepStrictEqual(await exit, [null, 'SIGINT']);
    assert.strictEqual(run('stop', '--control', control).status, 0);
  }),
);

for (const [how, code, text] of /** @type {const} */ ([
  ['stop', 0, 'the cluster has ended'],
  ['SIGKILL', 3, 'the primary has ended without shutting the cluster down'],
])) {
  test(`events and logs -f end with ${code} when the cluster is ended by ${how}`, { skip }, () =>
    withCommand(async ({ start, run, control, directory, children }) => {
      const cluster = start(['-w', '1', '--control', control, 'app.js']);
      await until('it is ready', () => / (is|are) ready/.test(cluster.text ?? ''));
      const followers = [['events'], ['logs', '-f']].map((args) => {
        const child = spawn(COMMAND, [...args, '--control', control], { cwd: directory });
        children.push(child);
        const read = (/** @type {string} */ piece) => (child.text = `${child.text ?? ''}${piece}`);
        for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', read);
        return child;
      });
      await until(
        'they follow',
        () =>
          run('restart', '0', '--control', control).status === 0 &&
          followers.every((follower) => follower.text !== undefined),
      );
      const ends = followers.map((follower) => once(follower, 'close'));
      if (how === 'stop') assert.strictEqual(run('stop', '--control', control).status, 0);
      else cluster.kill(how);
      for (const end of ends) assert.deepStrictEqual(await end, [code, null]);
      for (const follower of followers) {
        assert.ok(follower.text?.endsWith(`rcluster: ${text}\n`), follower.text);
      }
    }),
  );
}

test('stop names a primary that cannot exit, and ends', { skip }, () =>
  withCommand(async ({ start, run, control, directory }) => {
    const config = path.join(directory, 'config.js');
    fs.writeFileSync(config, "process.on('SIGWINCH', () => { for (;;); }); module.exports = {};");
    const cluster = start(['-w', '1', '--control', control, '--config', config, 'app.js']);
    await until('it is ready', () => /is ready/.test(cluster.text ?? ''));
    cluster.kill('SIGWINCH');
    const blocked = () => JSON.parse(run('status', '--json', '--control', control).stdout).primary.blockedMs;
    await until('it is blocked', () => blocked() > 1000);
    const { status, stderr } = run('stop', '--timeout', '3s', '--control', control);
    const { pid } = cluster;
    assert.strictEqual(status, 4);
    assert.match(
      stderr,
      new RegExp(
        `all workers have ended, but the primary \\(pid ${pid}\\) cannot exit: its JavaScript has been`,
      ),
    );
    assert.match(run('stack', 'primary', '--control', control).stdout, /config\.js:1/);
    const exit = once(cluster, 'exit');
    cluster.kill('SIGKILL');
    await exit;
  }),
);
