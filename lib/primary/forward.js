'use strict';

const { Array, Error, Number, Object } = require('../globals');
const net = require('node:net');
const path = require('node:path');
const { getSystemErrorMap, inspect } = require('node:util');

const { invalidValue } = require('../errors');
const { keepListening } = require('../keep-listening');
const { isOptions, refuseUnknownKeys } = require('../option-keys');

/**
 * @typedef {import('../../index').ForwardOptions} ForwardOptions
 * @typedef {import('../../binding').ForwardSpec} ForwardSpec
 * @typedef {InstanceType<typeof import('./native').NativePrimary>} NativePrimary
 */

const BACKLOG = 511;
const CONNECT_TIMEOUT = 10_000;
const HALF_OPEN_TIMEOUT = 120_000;
const MAX_PORT = 65_535;

/** The policies that need only what the forwarder knows about its workers, which may be any programs. */
const POLICIES = ['round-robin', 'least-connections', 'sticky'];
const MAX_NUMBER = 2 ** 31 - 1;

const KEYS = [
  'port',
  'host',
  'path',
  'backlog',
  'to',
  'env',
  'policy',
  'proxyProtocol',
  'connectTimeout',
  'idleTimeout',
  'halfOpenTimeout',
  'maxConnections',
];

/**
 * @param {string} name
 * @param {unknown} value
 * @param {string} expected
 */
function invalid(name, value, expected) {
  return invalidValue(`The setting "forward.${name}" must be ${expected}. Received ${inspect(value)}`);
}

/**
 * @param {any} options
 * @param {string} name
 * @param {number} standard
 * @param {number} [max]
 * @param {number} [min]
 */
function number(options, name, standard, max = MAX_NUMBER, min = 0) {
  const value = options[name] ?? standard;
  if (!Number.isInteger(value) || value < min || value > max) {
    throw invalid(name, value, `a whole number from ${min} to ${max}`);
  }
  return value;
}

/**
 * @param {ForwardOptions} options
 * @returns {ForwardSpec}
 */
function toSpec(options) {
  if (!isOptions(options)) {
    throw invalidValue(
      `The setting "forward" must be an object or an array of objects. Received ${inspect(options)}`,
    );
  }
  refuseUnknownKeys(options, KEYS, (key) => `The setting "forward.${key}"`);
  const { host, path: place, to, env = 'PORT', proxyProtocol = false } = options;
  const { policy = 'round-robin' } = options;
  if (place === undefined && options.port === undefined) throw invalid('port', undefined, 'given, or "path"');
  if (place !== undefined && (typeof place !== 'string' || place === '')) {
    throw invalid('path', place, 'the path of a socket');
  }
  if (host !== undefined && net.isIP(host) === 0) throw invalid('host', host, 'an IP address');
  if (to !== undefined && to !== 'port' && to !== 'path') throw invalid('to', to, "'port' or 'path'");
  if (typeof env !== 'string' || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(env)) {
    throw invalid('env', env, 'the name of an environment variable');
  }
  if (!POLICIES.includes(policy)) throw invalid('policy', policy, `one of ${POLICIES.join(', ')}`);
  if (proxyProtocol !== false && proxyProtocol !== 1 && proxyProtocol !== 2) {
    throw invalid('proxyProtocol', proxyProtocol, 'false, 1 or 2');
  }
  return {
    host,
    port: number(options, 'port', 0, MAX_PORT),
    path: place === undefined ? undefined : path.resolve(place),
    backlog: number(options, 'backlog', BACKLOG),
    to,
    env,
    policy,
    proxyProtocol: proxyProtocol || 0,
    // Not 0, which is "forever" elsewhere: a client always gets an end.
    connectTimeout: number(options, 'connectTimeout', CONNECT_TIMEOUT, MAX_NUMBER, 1),
    idleTimeout: number(options, 'idleTimeout', 0),
    halfOpenTimeout: number(options, 'halfOpenTimeout', HALF_OPEN_TIMEOUT),
    maxConnections: number(options, 'maxConnections', 0),
  };
}

/**
 * Starts forwarding.
 * @param {NativePrimary} native
 * @param {ForwardOptions | readonly ForwardOptions[]} forward
 * @throws {TypeError} ERR_INVALID_ARG_VALUE
 * @throws {Error} The system's error for an address, in the form of `server.listen()`; ERR_RCLUSTER_FORWARDING
 * if something is forwarded already.
 */
function startForwarding(native, forward) {
  const specs = toSpecs(forward);
  if (native.forwarding().length > 0) {
    const error = new Error('What is forwarded is set once: setupPrimary({ forward }) was called before');
    throw Object.assign(error, { code: 'ERR_RCLUSTER_FORWARDING' });
  }

  const { errno, index } = native.forward(specs);
  if (errno !== 0) throw index < specs.length ? listenError(errno, specs[index]) : startError(errno);
  // Done here, because the native part may get no chance to do it.
  keepListening('exit', () => native.removeSockets());
}

/**
 * @param {ForwardOptions | readonly ForwardOptions[]} forward
 * @throws {TypeError} ERR_INVALID_ARG_VALUE
 */
function toSpecs(forward) {
  if (!Array.isArray(forward)) return [toSpec(/** @type {ForwardOptions} */ (forward))];
  if (forward.length === 0) {
    throw invalidValue('The setting "forward" must have at least one address. Received []');
  }
  // Array.from() also visits the holes of a sparse array.
  const specs = Array.from(forward, toSpec);
  const names = specs.map(({ env }) => env);
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined) throw invalid('env', twice, 'another one for each address');
  return specs;
}

/** @param {number} errno */
function startError(errno) {
  const [code, reason] = getSystemErrorMap().get(errno) ?? ['UNKNOWN', 'unknown error'];
  const error = new Error(
    `Forwarding cannot start: ${code}: ${reason}. Unless all workers are reached by ports (to: 'port'), it needs a ` +
      'directory for temporary files whose path is short enough for a unix socket',
  );
  return Object.assign(error, { code, errno });
}

/**
 * @param {number} errno
 * @param {ForwardSpec | undefined} spec
 */
function listenError(errno, spec) {
  const [code, reason] = getSystemErrorMap().get(errno) ?? ['UNKNOWN', 'unknown error'];
  const address = spec?.path ?? spec?.host ?? '::';
  const port = spec?.path === undefined ? spec?.port : undefined;
  const place = port === undefined ? address : `${address}:${port}`;
  const error = new Error(`listen ${code}: ${reason} ${place}`);
  return Object.assign(error, { code, errno, syscall: 'listen', address, port });
}

/**
 * @param {NativePrimary} native
 * @returns {import('../../index').Forwarding[]}
 */
function forwarding(native) {
  return native.forwarding().map(({ address, port, ...rest }) => ({
    address: port === undefined || port === null ? { path: address } : { address, port },
    ...rest,
  }));
}

module.exports = { forwarding, startForwarding };
