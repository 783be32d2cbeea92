'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { Fixture, explain, withFixture: withAnyFixture } = require('../../testing/fixture.js');
const { readTrace } = require('./trace.js');

/** @typedef {import('../../testing/fixture.js').FixtureOptions} FixtureOptions */

const FIXTURES = path.join(__dirname, '..', 'fixtures');

/**
 * The same as in testing/fixture.js.
 * @template T
 * @param {string} file relative to `__test__/fixtures`, or absolute
 * @param {FixtureOptions} options
 * @param {(fixture: Fixture) => Promise<T>} body
 * @returns {Promise<T>}
 */
function withFixture(file, options, body) {
  return withAnyFixture(path.resolve(FIXTURES, file), options, body);
}

/**
 * Runs a fixture to its own end.
 * @param {string} file
 * @param {FixtureOptions} options
 * @returns {Promise<{ trace: Record<string, string[]>, stderr: string, output: string, skipped: string | null }>}
 */
async function runToEnd(file, options) {
  const fixture = new Fixture(file, options, { ipc: false });
  try {
    const { code, signal } = await fixture.exited;
    await fixture.gone();
    if (code !== 0) throw new Error(`the primary ended with code ${code}, signal ${signal}`);
    const skipFile = path.join(fixture.directory, 'skip');
    const skipped = fs.existsSync(skipFile) ? fs.readFileSync(skipFile, 'utf8') : null;
    const trace = skipped === null ? readTrace(path.join(fixture.directory, 'trace')) : {};
    return { trace, stderr: fixture.stderr, output: fixture.output, skipped };
  } catch (error) {
    throw await explain(error, fixture);
  } finally {
    await fixture.dispose();
  }
}

module.exports = { Fixture, withFixture, runToEnd };
