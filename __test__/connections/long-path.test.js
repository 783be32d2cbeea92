'use strict';

// A path that is too long for a unix socket. The built-in of Node 20 and 22 truncates it and listens on another path.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withFixture } = require('../helpers/run-fixture.js');

test('a path that is too long is an error', { skip: isBuiltin && 'the built-in is different' }, () =>
  withFixture('connections/long-path.js', {}, async (fixture) => {
    const { path, error } = await fixture.marker('error');
    const { code, syscall, address } = error;
    assert.deepStrictEqual({ code, syscall, address }, { code: 'EINVAL', syscall: 'bind', address: path });
  }),
);
