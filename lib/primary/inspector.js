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
 * Whether an option starts the inspectors of workers.
 * @param {ClusterSettings} settings
 */
function isInspected({ execArgv = [] }) {
  return [...execArgv, process.env.NODE_OPTIONS ?? ''].some((arg) => INSPECTOR_OPTION.test(arg));
}

/**
 * The option that gives each inspected worker a port of its own, so that it does not use the primary's.
 * @param {ClusterSettings} settings
 * @param {() => number} nextInspector The distance of the next worker's port from the primary's: one count for all workers.
 * @returns {string[]} Empty if the inspector is off.
 * @throws {RangeError} ERR_SOCKET_BAD_PORT
 */
function inspectorArgs(settings, nextInspector) {
  const { inspectPort } = settings;
  // null is refused even if the inspector is off.
  if (inspectPort === null) throw badPort(null);
  if (!isInspected(settings)) return [];
  const port = inspectPort === undefined ? nextPort(nextInspector()) : choosePort(inspectPort);
  return [inspectorArg(port)];
}

/** @param {unknown} port */
function inspectorArg(port) {
  return `--inspect-port=${port}`;
}

/** @param {number | (() => number)} option */
function choosePort(option) {
  const port = typeof option === 'function' ? option() : option;
  if (!isPort(port)) throw badPort(port);
  return port;
}

/** @param {number} distance */
function nextPort(distance) {
  const port = process.debugPort + distance;
  return port > MAX_PORT ? port - MAX_PORT + MIN_PORT - 1 : port;
}

/**
 * The inspector ports of supervised workers, which the native part starts by itself. A function is
 * called in advance, once for each worker that is about to be started.
 * @param {ClusterSettings} settings
 * @param {number} count
 * @returns {{ debugPort?: number, ports?: string[] } | undefined} Undefined if all workers have the same arguments.
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
 * As elsewhere in Node, a number may be given as a string.
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
 * Describes an invalid value in the words of Node's own errors.
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
