'use strict';

// shared() with persist: the content of a store is restored in the next primary, and a file that is damaged or in use is
// refused.

const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, test } = require('node:test');
const { runProgram } = require('../../testing/run-program.js');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no shared stores';

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-persist-'));
after(() => fs.rmSync(directory, { recursive: true }));

let count = 0;
const newFile = () => path.join(directory, `store ${(count += 1)}`);

/** @param {string} file @param {string} body of an async function that has `cluster` and `open()` */
function program(file, body) {
  return `const cluster = require(${JSON.stringify(OURS)});
    const open = (options) => cluster.shared('kept', { persist: ${JSON.stringify(file)}, ...options });
    const say = (data) => console.log(JSON.stringify(data));
    void (async () => { ${body} })();`;
}

/** Runs a primary to its end, and returns its output. */
function run(file, body) {
  const options = { encoding: 'utf8', timeout: 60_000 };
  const { stdout, stderr, status } = spawnSync(process.execPath, ['-e', program(file, body)], options);
  assert.deepStrictEqual([stderr, status], ['', 0]);
  return stdout === '' ? undefined : JSON.parse(stdout);
}

const codeOf = (options = '') => `try { open(${options}); say('opened'); } catch ({ code }) { say(code); }`;

test('everything is restored in the next primary, and only its owner can read the file', { skip }, () => {
  const file = newFile();
  const values = `{ number: 1.5, text: 'ü', plain: { a: [1] }, yes: true, no: null, bytes: Buffer.from('x'), map: new Map([[1, 2]]) }`;
  const revision = run(
    file,
    `const store = open();
    for (const [key, value] of Object.entries(${values})) await store.set(key, value);
    await store.set('gone', 1);
    await store.delete('gone');
    await store.set('short', 1, { ttl: 1 });
    await store.set('long', 1, { ttl: 3_600_000 });
    say(store.revision);`,
  );
  assert.strictEqual(fs.statSync(file).mode & 0o777, 0o600);
  assert.deepStrictEqual(fs.readdirSync(directory).sort(), [
    path.basename(file),
    `${path.basename(file)}.lock`,
  ]);
  const [same, keys, rest, next] = run(
    file,
    `const store = open();
    const { isDeepStrictEqual } = require('node:util');
    const same = Object.entries(${values}).every(([key, value]) => isDeepStrictEqual(store.get(key), value));
    const rest = store.entry('long').expiresAt - Date.now();
    const { revision } = await store.set('more', 1);
    say([same, store.keys().length, rest, revision]);`,
  );
  assert.deepStrictEqual([same, keys], [true, 9]);
  assert(rest > 0 && rest <= 3_600_000, `${rest}`);
  assert(next > revision, 'revisions go on');
  assert.strictEqual(run(file, `say(open().get('more'));`), 1);
});

test('where the path is a symbolic link, the file that it leads to is replaced', { skip }, () => {
  const [link, file] = [newFile(), newFile()];
  fs.symlinkSync(path.basename(file), link);
  run(link, `await open().set('key', 1);`);
  assert.strictEqual(
    run(link, `const store = open(); await store.set('key', store.get('key') + 1);`),
    undefined,
  );
  assert.ok(fs.lstatSync(link).isSymbolicLink() && fs.lstatSync(file).isFile());
  assert.strictEqual(run(file, `say(open().get('key'));`), 2);
  assert.ok(!fs.existsSync(`${link}.lock`), 'the lock is that of the file');
});

test('after a kill, the last save is restored, also for workers', { skip }, async () => {
  const file = newFile();
  const body = `
    const store = open();
    if (cluster.isPrimary) {
      await store.set('key', 'value');
      while (!(store.stats().saved?.revision >= 1)) await new Promise((resolve) => setTimeout(resolve, 5));
      say('saved');
      setInterval(() => {}, 1000);
    }`;
  const child = spawn(process.execPath, ['-e', program(file, body)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  assert.strictEqual(run(file, codeOf()), 'ERR_RCLUSTER_PERSIST_LOCKED');
  child.kill('SIGKILL');
  await once(child, 'exit');
  const inWorker = `
    if (cluster.isPrimary) {
      try { open(); } catch ({ message }) { say(message); }
      cluster.fork();
    } else {
      const code = (name, options) => {
        try { return cluster.shared(name, options).get('key'); } catch (error) { return error.code; }
      };
      const { persist } = { persist: ${JSON.stringify(file)} };
      say([code('kept', { persist }), code('kept', { persist: '/elsewhere' }), code('kept', { persist: false }),
        code('other', { persist: ${JSON.stringify(`${file} other`)} })]);
      process.disconnect();
    }`;
  const { stdout, stderr } = await runProgram(program(file, inWorker));
  assert.strictEqual(stderr, '');
  assert.deepStrictEqual(JSON.parse(stdout), [
    'value',
    'ERR_RCLUSTER_SHARED_OPTIONS',
    'ERR_RCLUSTER_SHARED_OPTIONS',
    'ERR_RCLUSTER_PERSIST',
  ]);
  assert(!fs.existsSync(`${file} other`), 'no file that a worker names');
});

test('a damaged file is refused as a whole, and left as it is', { skip }, () => {
  const file = newFile();
  run(file, `await open().set('key', 'x'.repeat(1000));`);
  const sound = fs.readFileSync(file);
  const damages = {
    empty: Buffer.alloc(0),
    cut: sound.subarray(0, sound.length - 1),
    longer: Buffer.concat([sound, Buffer.alloc(1)]),
    foreign: Buffer.from('{"key":"value"}'),
    changed: Buffer.from(sound.map((byte, index) => (index === sound.length >> 1 ? byte ^ 1 : byte))),
  };
  for (const [name, bytes] of Object.entries(damages)) {
    fs.writeFileSync(file, bytes);
    assert.strictEqual(run(file, codeOf()), 'ERR_RCLUSTER_PERSIST', name);
    assert.deepStrictEqual(fs.readFileSync(file), bytes, name);
  }
  fs.writeFileSync(file, sound);
  assert.strictEqual(run(file, codeOf()), 'opened');
});

test('content that does not fit, or cannot be written, is reported', { skip }, () => {
  const file = newFile();
  run(
    file,
    `const store = open(); for (let i = 0; i < 100; i++) await store.set('key ' + i, 'x'.repeat(20_000));`,
  );
  assert.strictEqual(run(file, codeOf(`{ size: '1MB' }`)), 'ERR_RCLUSTER_PERSIST');
  const nowhere = path.join(directory, 'nowhere', 'file');
  assert.strictEqual(run(nowhere, codeOf()), 'ERR_RCLUSTER_PERSIST');
  // No file can be created under the name of the temporary file.
  const blocked = newFile();
  fs.mkdirSync(`${blocked}.tmp`);
  const body = `
    process.on('warning', ({ code }) => { say([code, typeof store.stats().saved.error]); clearInterval(timer); });
    const timer = setInterval(() => {}, 1000);
    const store = open();
    await store.set('key', 1);`;
  const options = { encoding: 'utf8', timeout: 60_000 };
  const { stdout, stderr, status } = spawnSync(process.execPath, ['-e', program(blocked, body)], options);
  assert.deepStrictEqual([JSON.parse(stdout), status], [['RCLUSTER_SHARED_SAVE', 'string'], 0]);
  assert.match(stderr, /rcluster: a shared store was not saved: "kept": /);
  fs.rmdirSync(`${blocked}.tmp`);
});

test('invalid options are refused', { skip }, () => {
  const cluster = require(OURS);
  for (const persist of ['', true, 5, null]) {
    assert.throws(() => cluster.shared('wrong', { persist }), { code: 'ERR_INVALID_ARG_TYPE' }, `${persist}`);
  }
  assert.throws(() => cluster.shared('wrong', { persist: 'a\0b' }), { code: 'ERR_INVALID_ARG_VALUE' });
});
