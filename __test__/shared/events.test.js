'use strict';

// on('change'), once() and off() of a shared store: all listeners share one watch, and behave as those of an
// EventEmitter.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const events = require('node:events');
const { after, test } = require('node:test');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no shared stores';
const cluster = isBuiltin ? undefined : require(OURS);

// Listeners do not keep the process alive.
const alive = setInterval(() => {}, 2 ** 30);
after(() => clearInterval(alive));

let count = 0;
const open = (options) => cluster.shared(`events ${(count += 1)}`, options);

/**
 * Runs a separate program.
 * @param {string} body in which `store` is a shared store
 */
function run(body) {
  const code = `const store = require(${JSON.stringify(OURS)}).shared('program');\n${body}`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', code], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

test('a listener gets every kind of later change', { skip }, async () => {
  const store = open();
  await store.set('before', 1);
  const seen = [];
  const told = (type, key) =>
    new Promise((resolve) => {
      const listener = (event) => {
        if (event.type !== type || event.key !== key) return;
        store.off('change', listener);
        resolve();
      };
      store.on('change', listener);
    });
  store.on('change', (event) => seen.push(event));
  const [expired, ended] = [told('expire', 'short'), told('set', 'end')];
  const { revision } = await store.set('key', { a: 1 });
  await store.delete('before');
  await store.set('short', 1, { ttl: 1 });
  await expired;
  await store.set('other', 1);
  await store.clear({ prefix: 'o' });
  await store.set('end', true);
  await ended;
  assert.deepStrictEqual(seen[0], { type: 'set', key: 'key', value: { a: 1 }, revision });
  assert.deepStrictEqual(seen[1], { type: 'delete', key: 'before', revision: revision + 1 });
  const types = new Set(seen.map(({ type }) => type));
  for (const type of ['set', 'delete', 'expire', 'clear']) assert(types.has(type), type);
  assert(!types.has('synced'), 'what there was before is not told');
  assert(seen.every((event, index) => index === 0 || event.revision >= seen[index - 1].revision));
});

test('once() is called once, and a removed listener is not called', { skip }, async () => {
  const store = open();
  const [once, removed, both] = [[], [], []];
  const listener = () => removed.push(1);
  assert.strictEqual(
    store.once('change', ({ key }) => once.push(key)),
    store,
  );
  store.on('change', listener);
  const last = new Promise((resolve) => {
    store.addListener('change', ({ key }) => {
      both.push(key);
      if (key === 'c') resolve();
    });
  });
  assert.strictEqual(store.listenerCount('change'), 3);
  assert.strictEqual(store.off('change', listener), store);
  for (const key of ['a', 'b', 'c']) await store.set(key, 1, {});
  await last;
  assert.deepStrictEqual([once, removed, both.at(-1)], [['a'], [], 'c']);
  assert.strictEqual(store.listenerCount('change'), 1);
  const [event] = await Promise.all([events.once(store, 'change'), store.set('d', 1)]);
  assert.strictEqual(event[0].key, 'd');
});

test('after the last listener was removed, a new one gets only later changes', { skip }, async () => {
  const store = open();
  const never = () => assert.fail('it has been removed');
  store.on('change', never).off('change', never);
  await store.set('between', 1);
  const [[event]] = await Promise.all([events.once(store, 'change'), store.set('then', 1)]);
  assert.strictEqual(event.key, 'then');
});

test('invalid events and listeners are refused', { skip }, () => {
  const store = open();
  assert.throws(() => store.on('changed', () => {}), { code: 'ERR_INVALID_ARG_VALUE' });
  assert.throws(() => store.on('change', undefined), { code: 'ERR_INVALID_ARG_TYPE' });
  assert.strictEqual(store.listenerCount('change'), 0);
});

test('Node warns of more than ten listeners, unless the limit is raised', { skip }, () => {
  const many = `for (let i = 0; i < 11; i++) store.on('change', () => {});`;
  const warned = run(many);
  assert.match(warned.stderr, /MaxListenersExceededWarning: .*11 change listeners/);
  assert.deepStrictEqual(run(`store.setMaxListeners(11); ${many}`), { status: 0, stdout: '', stderr: '' });
});

test('listeners do not keep the process alive', { skip }, () => {
  const { status, stderr } = run(`store.on('change', () => {}); void store.set('key', 1);`);
  assert.deepStrictEqual([status, stderr], [0, '']);
});

test(
  'an error thrown by a listener is an uncaught exception, and the next change is still reported',
  { skip },
  () => {
    const body = `
    const seen = [];
    process.on('uncaughtException', ({ message }) => seen.push(message));
    store.on('change', ({ key }) => {
      if (key === 'end') console.log(JSON.stringify(seen));
      throw new Error(key);
    });
    void (async () => {
      await store.set('first', 1);
      await store.set('second', 1);
      await store.set('end', 1);
    })();`;
    const { stdout, stderr } = run(body);
    assert.deepStrictEqual([JSON.parse(stdout), stderr], [['first', 'second'], '']);
    const uncaught = run(`store.on('change', () => { throw new Error('mine'); }); void store.set('key', 1);`);
    assert.strictEqual(uncaught.status, 1);
    assert.match(uncaught.stderr, /Error: mine/);
  },
);
