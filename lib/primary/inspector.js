'use strict';

const { inspect } = require('node:util');

const INSPECTOR_OPTION = /--inspect(?:-brk|-port)?|--debug-port/;
const MIN_PORT = 1024;
const MAX_PORT = 65535;

/** How far the next worker's port is from the primary's: one count for all forks of the process. */
let offset = 1;

/**
 * The option that keeps workers that are debugged from fighting over the primary's port.
 * @param {import('../../index').ClusterSettings} settings
 * @returns {string[]} Empty if nothing turns the inspector on.
 * @throws {RangeError} ERR_SOCKET_BAD_PORT
 */
function inspectorArgs({ execArgv = [], inspectPort }) {
  // null is refused also where the inspector is off.
  if (inspectPort === null) throw badPort(null);
  const on = [...execArgv, process.env.NODE_OPTIONS ?? ''].some((arg) => INSPECTOR_OPTION.test(arg));
  return on ? [`--inspect-port=${choosePort(inspectPort)}`] : [];
}

/** @param {number | (() => number) | undefined} wish */
function choosePort(wish) {
  const port = typeof wish === 'function' ? wish() : (wish ?? nextPort());
  if (!isPort(port)) throw badPort(port);
  return port;
}

function nextPort() {
  const port = process.debugPort + offset++;
  return port > MAX_PORT ? port - MAX_PORT + MIN_PORT - 1 : port;
}

/**
 * As elsewhere in Node, the text of a number will do.
 * @param {unknown} port
 */
function isPort(port) {
  if (typeof port === 'string' ? port.trim() === '' : typeof port !== 'number') return false;
  const number = Number(port);
  return Number.isInteger(number) && number >= 0 && number <= MAX_PORT;
}

/** @param {unknown} port */
function badPort(port) {
  const error = new RangeError(`Port should be >= 0 and < 65536. Received ${describe(port)}.`);
  return Object.assign(error, { code: 'ERR_SOCKET_BAD_PORT' });
}

/**
 * A wrong value in the words of Node's own errors.
 * @param {unknown} value
 */
function describe(value) {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return `function ${value.name}`;
  if (typeof value === 'object') {
    const { constructor } = value;
    return constructor?.name ? `an instance of ${constructor.name}` : inspect(value, { depth: -1 });
  }
  return `type ${typeof value} (${inspect(value)})`;
}

module.exports = { inspectorArgs };
