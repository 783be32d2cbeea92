'use strict';

// The option backend: what is refused, and that no error shows a password.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin, load } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no shared stores';

/** @type {any} */
const cluster = load();

const PASSWORD = 'geheim';

for (const [what, options] of /** @type {[string, any][]} */ ([
  ['another scheme', { backend: `http://:${PASSWORD}@localhost` }],
  ['no URL', { backend: `redis//:${PASSWORD}@localhost` }],
  ['a database that is no number', { backend: `redis://:${PASSWORD}@localhost/one` }],
  ['a parameter that there is not', { backend: `redis://:${PASSWORD}@localhost?pool=3` }],
  ['neither a URL nor nodes', { backend: { password: PASSWORD } }],
  ['both a URL and nodes', { backend: { url: 'redis://localhost', nodes: ['a:1'], password: PASSWORD } }],
  ['sentinels without a name', { backend: { sentinels: ['a:1'], password: PASSWORD } }],
  ['a node that is none', { backend: { nodes: ['http://a'], password: PASSWORD } }],
  ['a port that there is not', { backend: { nodes: ['a:70000'], password: PASSWORD } }],
  ['a member that there is not', { backend: { url: 'redis://localhost', pasword: PASSWORD } }],
  ['a certificate without its key', { backend: { url: 'rediss://localhost', tls: { cert: PASSWORD } } }],
  [
    'a key for a certificate',
    { backend: { url: 'rediss://a', tls: { ca: `-----BEGIN PRIVATE KEY-----${PASSWORD}` } } },
  ],
  ['a certificate that is a path', { backend: { url: 'rediss://a', tls: { ca: `/etc/${PASSWORD}.pem` } } }],
  ['eviction', { backend: `redis://:${PASSWORD}@localhost`, eviction: 'lru' }],
  ['a file', { backend: `redis://:${PASSWORD}@localhost`, persist: '/tmp/x' }],
  ['offline without a backend', { offline: { wait: 5 } }],
])) {
  test(`${what} is refused`, { skip }, () => {
    assert.throws(
      () => cluster.shared('refused', options),
      (/** @type {any} */ error) =>
        error.code === 'ERR_INVALID_ARG_VALUE' && !error.message.includes(PASSWORD),
    );
  });
}

test('what a backend may be is named', { skip }, () => {
  for (const [backend, expected] of /** @type {[any, object][]} */ ([
    [5, { code: 'ERR_INVALID_ARG_TYPE', message: /must be of type string or object\. Received 5/ }],
    ['localhost:6379', { message: /begins with redis:.* and not with localhost:$/ }],
    ['redis+cluster://', { message: /like 'redis\+sentinel:.* or 'redis\+cluster:/ }],
  ])) {
    assert.throws(() => cluster.shared('refused', { backend }), expected);
  }
});

test('a wait has a type and a range', { skip }, () => {
  const open = (/** @type {any} */ wait) => () =>
    cluster.shared('w', { backend: 'redis://a', offline: { wait } });
  assert.throws(open('1'), { code: 'ERR_INVALID_ARG_TYPE' });
  assert.throws(open(-1), { code: 'ERR_OUT_OF_RANGE' });
  assert.throws(open(Infinity), { code: 'ERR_OUT_OF_RANGE' });
});

test('server events require a store with a server', { skip }, () => {
  const store = cluster.shared('embedded');
  assert.strictEqual(store.stats().backend, undefined);
  assert.throws(() => store.on('disconnect', () => {}), { code: 'ERR_RCLUSTER_SHARED' });
});

test('read() of a store without a server is get() after all earlier writes', { skip }, async () => {
  const store = cluster.shared('embedded');
  void store.set('key', 1);
  assert.strictEqual(await store.read('key'), 1);
});
