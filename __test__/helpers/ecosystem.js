'use strict';

const path = require('node:path');
const { withFixture } = require('./run-fixture.js');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const ECOSYSTEM = path.join(__dirname, '..', 'ecosystem');
const REGISTER = path.join(OURS, 'register.js');

/** Turns the `cluster` of an app without this package into the module under test. */
const preload = isBuiltin ? [] : ['-r', REGISTER];

/**
 * Runs an app of `ecosystem/apps` whose libraries load `cluster` themselves.
 * @template T
 * @param {string} name
 * @param {(fixture: InstanceType<typeof import('../../testing/fixture.js').Fixture>) => Promise<T>} body
 * @param {import('../../testing/fixture.js').FixtureOptions} [options]
 */
function withPreloaded(name, body, options = {}) {
  const file = path.join(ECOSYSTEM, 'apps', name);
  return withFixture(file, { ...options, execArgv: [...preload, ...(options.execArgv ?? [])] }, body);
}

module.exports = { withPreloaded, preload, ECOSYSTEM, REGISTER };
