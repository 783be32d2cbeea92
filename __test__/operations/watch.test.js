'use strict';

// `rcluster start --watch`: the code changes while clients are served.

const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { until } = require('../../testing/processes.js');

const skip = isBuiltin && 'the built-in has no command';
const COMMAND = path.join(__dirname, '..', '..', 'bin', 'rcluster.js');

/** @param {string} text its answer */
const app = (text) => `
const http = require('node:http');
http.createServer((request, response) => response.end(${JSON.stringify(text)} + ' ' + process.env.VARIABLE)).listen(0, '127.0.0.1');
`;

/** @param {number} port @returns {Promise<string>} */
async function ask(port) {
  const [response] = await once(http.get({ host: '127.0.0.1', port, agent: false }), 'response');
  let text = '';
  for await (const piece of response.setEncoding('utf8')) text += piece;
  return text;
}

/**
 * Runs an app in a folder of its own.
 * @param {string[]} args
 * @param {(run: { directory: string, write: (name: string, text: string) => void, ask: () => Promise<string>, count: (what: RegExp) => number }) => Promise<void>} body
 * @param {string} [broken] a program that does not start, instead of one that serves
 */
async function watching(args, body, broken) {
  const directory = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-watch-')));
  const write = (/** @type {string} */ name, /** @type {string} */ text) => {
    fs.mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
    fs.writeFileSync(path.join(directory, name), text);
  };
  write('app.js', broken ?? app('one'));
  write('variables', 'VARIABLE=a\n');
  for (const name of ['other', 'dist/server']) fs.mkdirSync(path.join(directory, name), { recursive: true });
  const control = path.join(directory, '.sock');
  const child = spawn(
    process.execPath,
    [COMMAND, 'start', '-w', '1', '--control', control, ...args, 'app.js'],
    {
      cwd: directory,
      stdio: ['ignore', 'inherit', 'pipe'],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    },
  );
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (piece) => {
    text += piece;
  });
  try {
    const count = (/** @type {RegExp} */ what) => [...text.matchAll(what)].length;
    if (broken !== undefined) return await body({ directory, write, ask: () => ask(0), count });
    await until('it is ready', () => /(is|are) ready/.test(text));
    const status = spawnSync(process.execPath, [COMMAND, 'status', '--json', '--control', control], {
      encoding: 'utf8',
    });
    const port = Number(JSON.parse(status.stdout).dispatcher.listeners[0].name);
    await body({ directory, write, ask: () => ask(port), count });
  } finally {
    const exit = child.exitCode === null && child.signalCode === null && once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
    fs.rmSync(directory, { recursive: true });
  }
}

test('new code and new variables are served, and code that does not start changes nothing', { skip }, () =>
  watching(['--watch', '--env-file', 'variables'], async ({ write, ask: answer, count }) => {
    assert.strictEqual(await answer(), 'one a');
    write('node_modules/module/index.js', 'changed');
    write('.git/index.js', 'changed');
    write('app.log', 'changed');
    write('app.js', app('two'));
    await until('the new code serves', async () => (await answer()) === 'two a');
    assert.strictEqual(count(/app\.js has changed/g), 1);
    await until('the reload is over', () => count(/reloaded/g) === 1);

    write('app.js', 'const const;');
    await until('it says so', () => count(/the workers keep running the old code/g) === 1);
    assert.strictEqual(await answer(), 'two a');
    write('lib/new.js', 'module.exports = 1;');
    await until('it tries again', () => count(/the workers keep running the old code/g) === 2);
    write('app.js', app('three'));
    await until('the new code serves', async () => (await answer()) === 'three a');
    await until('the reload is over', () => count(/reloaded/g) === 2);

    write('variables', 'VARIABLE=b\n');
    await until('the new variable is there', async () => (await answer()) === 'three b');
    assert.strictEqual(count(/(node_modules|\.git|app\.log).* has changed/g), 0);
  }),
);

test('named paths are watched, with all files in them, and nothing else', { skip }, () =>
  watching(['--watch-path', 'other'], async ({ write, ask: answer, count }) => {
    write('app.js', app('two'));
    write('other/page.html', 'changed');
    await until('the new code serves', async () => (await answer()) === 'two undefined');
    assert.deepStrictEqual([count(/page\.html has changed/g), count(/app\.js has changed/g)], [1, 0]);
  }),
);

test('a folder that has been replaced as a whole is watched again', { skip }, () =>
  watching(['--watch-path', 'dist/server'], async ({ directory, write, count }) => {
    const at = (/** @type {string} */ name) => path.join(directory, name);
    write('dist/server/a.js', 'one');
    await until('the change is noticed', () => count(/dist\/server\/a\.js has changed/g) === 1);
    // As a build does that begins with an empty folder.
    fs.rmSync(at('dist'), { recursive: true });
    write('dist/server/b.js', 'two');
    await until('the build is noticed', () => count(/dist\/server(\/b\.js)? has changed/g) > 0);
    write('dist/server/c.js', 'three');
    await until('a change in the new folder is noticed', () => count(/\/c\.js has changed/g) === 1);
    // As a deployment does that switches a link.
    const before = count(/server has changed/g);
    write('release/server/d.js', 'four');
    fs.renameSync(at('dist'), at('old'));
    fs.symlinkSync('release', at('dist'));
    await until('the new folder is noticed', () => count(/server has changed/g) > before);
    write('release/server/e.js', 'five');
    await until('a change behind the link is noticed', () => count(/\/e\.js has changed/g) === 1);
    write('old/server/f.js', 'not watched any more');
    write('release/server/g.js', 'watched');
    await until('the next change is noticed', () => count(/g\.js has changed/g) === 1);
    assert.strictEqual(count(/(f\.js has changed|no longer be watched)/g), 0);
  }),
);

test('a file that is written all the time does not postpone the reload for ever', { skip }, () =>
  watching(['--watch-path', 'other'], async ({ write, count }) => {
    const writer = setInterval(() => write('other/page.html', 'changed'), 20);
    try {
      await until('it reloads', () => count(/reloaded/g) > 0);
    } finally {
      clearInterval(writer);
    }
  }),
);

test('the update of a ConfigMap is noticed', { skip }, () =>
  watching(['--watch-path', 'other'], async ({ directory, write, count }) => {
    const at = (/** @type {string} */ name) => path.join(directory, 'other', name);
    fs.symlinkSync('..data/app.conf', at('app.conf'));
    await until('the link is noticed', () => count(/app\.conf has changed, reloading[^]*reloaded/g) === 1);
    write('other/..first/app.conf', 'one');
    fs.symlinkSync('..first', at('..data_tmp'));
    fs.renameSync(at('..data_tmp'), at('..data'));
    await until('the update is noticed', () => count(/\.\.data has changed/g) === 1);
    assert.strictEqual(count(/(first|_tmp)\S* has changed/g), 0);
  }),
);

test('a program that starts broken is started again when it changes', { skip }, () =>
  watching(
    ['--watch'],
    async ({ write, count }) => {
      await until('it has failed', () => count(/cannot start|SyntaxError/g) > 0);
      write('app.js', 'const const const;');
      await until('the new code fails', () => count(/does not start; no worker runs/g) === 1);
      write('app.js', app('mended'));
      await until('it starts', () => count(/1 worker of app\.js is ready/g) === 1);
    },
    'const const;',
  ),
);

/** Reads its answer, and then starts once a file has been removed. */
const READS_FIRST = `
const fs = require('node:fs');
const http = require('node:http');
const text = fs.readFileSync('other/text', 'utf8');
fs.writeFileSync('read', '');
const timer = setInterval(() => {
  if (fs.existsSync('wait')) return;
  clearInterval(timer);
  http.createServer((request, response) => response.end(text)).listen(0, '127.0.0.1');
}, 10);
`;

test('a change during the reload of an operator causes another one', { skip }, () =>
  watching(['--watch-path', 'other'], async ({ directory, write, ask: answer, count }) => {
    const at = (/** @type {string} */ name) => path.join(directory, name);
    write('other/text', 'old');
    await until('the file is noticed', () => count(/text has changed[^]*reloaded/g) === 1);
    write('app.js', READS_FIRST);
    write('wait', '');
    const operator = spawn(process.execPath, [COMMAND, 'reload', '--control', at('.sock')], {
      stdio: 'ignore',
    });
    await until('a worker has read the old text', () => fs.existsSync(at('read')));
    write('other/text', 'new');
    await until('the change is noticed', () => count(/text has changed/g) === 2);
    fs.rmSync(at('wait'));
    await until('it has reloaded', () => count(/reloaded/g) === 2);
    assert.strictEqual(await answer(), 'new');
    if (operator.exitCode === null) await once(operator, 'exit');
  }),
);
