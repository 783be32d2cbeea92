'use strict';

const { Array, Number, Object, RangeError, String, process } = require('../globals');
const { inspect } = require('node:util');

const INSPECTOR_OPTION = /--inspect(?:-brk|-port)?|--debug-port/;
const MIN_PORT = 1024;
const MAX_PORT = 65535;

/**
 * @typedef {import('../../index').ClusterSettings} ClusterSettings
 */

/**
 * Whether something turns the inspectors of workers on.
 * @param {ClusterSettings} settings
 */
function isInspected({ execArgv = [] }) {
  return [...execArgv, process.env.NODE_OPTIONS ?? ''].some((arg) => INSPECTOR_OPTION.test(arg));
}

/**
 * The option that keeps workers that are debugged from fighting over the primary's port.
 * @param {ClusterSettings} settings
 * @param {() => number} nextInspector How far the next worker's port is from the primary's: one count for all workers.
 * @returns {string[]} Empty if nothing turns the inspector on.
 * @throws {RangeError} ERR_SOCKET_BAD_PORT
 */
function inspectorArgs(settings, nextInspector) {
  const { inspectPort } = settings;
  // null is refused also where the inspector is off.
  if (inspectPort === null) throw badPort(null);
  if (!isInspected(settings)) return [];
  const port = inspectPort === undefined ? nextPort(nextInspector()) : choosePort(inspectPort);
  return [inspectorArg(port)];
}

/** @param {unknown} port */
function inspectorArg(port) {
  return `--inspect-port=${port}`;
}

/** @param {number | (() => number)} wish */
function choosePort(wish) {
  const port = typeof wish === 'function' ? wish() : wish;
  if (!isPort(port)) throw badPort(port);
  return port;
}

/** @param {number} distance */
function nextPort(distance) {
  const port = process.debugPort + distance;
  return port > MAX_PORT ? port - MAX_PORT + MIN_PORT - 1 : port;
}

/**
 * Where the ports of supervised workers come from, which the native supervisor starts by itself. A function is asked
 * ahead, once for each worker that is about to be started.
 * @param {ClusterSettings} settings
 * @param {number} count
 * @returns {{ debugPort?: number, ports?: string[] } | undefined} Nothing if all have the same arguments.
 * @throws {RangeError} ERR_SOCKET_BAD_PORT
 */
function inspectorPorts(settings, count) {
  const { inspectPort } = settings;
  if (!isInspected(settings)) return undefined;
  if (inspectPort === undefined) return { debugPort: process.debugPort };
  if (typeof inspectPort !== 'function') return undefined;
  return { ports: Array.from({ length: count }, () => String(choosePort(inspectPort))) };
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

module.exports = { inspectorArg, inspectorArgs, inspectorPorts };
