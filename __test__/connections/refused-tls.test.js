'use strict';

// A server with TLS that may not listen, or cannot, emits 'error' as any other server does.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withFixture } = require('../helpers/run-fixture.js');

// The built-in of Node 20 and 22 truncates a path that is too long.
test('servers with TLS whose listen() is refused', { skip: isBuiltin && 'the built-in is different' }, () =>
  withFixture('connections/refused-tls.js', { descriptors: 64 }, async (fixture) => {
    const expected = ['https', 'http2', 'tls'].flatMap((kind) => [
      `${kind} on a long path: EINVAL`,
      `${kind} on a longer path: EINVAL`,
      `${kind} on a path that fits into no frame: EMSGSIZE`,
      `${kind} on an address of another machine: EADDRNOTAVAIL`,
      `${kind} on an address that can be used: listening`,
    ]);
    assert.deepStrictEqual(await fixture.marker('outcomes'), [...expected, 'finally: EMFILE']);
    assert.deepStrictEqual(await fixture.marker('exit'), { code: null, signal: 'SIGTERM' });
  }),
);
