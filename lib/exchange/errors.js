'use strict';

// Errors of requests: the reasons for a missing answer, and errors thrown by a handler in another process.

const { Error, JSON, Object, Reflect, String } = require('../globals');
const { isNativeError } = require('node:util').types;
const { failure } = require('../shared/errors');
const { describeTarget } = require('./target');
const { decode, encode } = require('./values');

/** The outcomes of a request. The native side has the same numbers. */
const STATUS = {
  VALUE: 0,
  ERROR: 1,
  NO_HANDLER: 2,
  GONE: 3,
  BUSY: 4,
  NO_LEADER: 5,
  LIMIT: 6,
  LOST: 7,
  CANCELLED: 8,
  NOBODY: 9,
  DISCONNECTED: 10,
  MISSING: 11,
  LATE: 12,
  UNSENT: 13,
};

/** The largest message, in bytes. */
const MAX_BYTES = 4 * 2 ** 20;

/** @param {string} what */
function tooLarge(what) {
  return failure('ERR_RCLUSTER_MESSAGE_TOO_LARGE', `${what} has more than ${MAX_BYTES} bytes`);
}

/** @param {string} what */
function tooBusy(what) {
  return failure('ERR_RCLUSTER_BUSY', `${what}: too many messages of this process are queued`);
}

/** @param {number} count of machines */
function otherMachines(count) {
  return count === 1 ? 'another machine' : `${count} other machines`;
}

/**
 * @param {{ flag: number, worker: number, name: string, value?: unknown }} outcome of a worker, with the id of its machine in `name`
 * if that is another one; or of other machines, with their number in `worker`, and in `value` why they cannot be reached
 * @param {{ name: string, to: import('./target').Target, timeout: number | undefined }} request
 */
function noAnswer({ flag, worker, name: machine, value }, request) {
  const { timeout } = request;
  const name = JSON.stringify(request.name);
  const described = describeTarget(request.to);
  const its = worker === 0 ? 'the primary' : `worker ${worker}`;
  const own = worker === 0 ? described : its;
  const to = machine === '' ? own : `${its} of the machine ${machine}`;
  const why = typeof value === 'string' ? `: ${value}` : '';
  switch (flag) {
    case STATUS.DISCONNECTED:
      return failure(
        'ERR_RCLUSTER_DISCONNECTED',
        `The request ${name} is not answered by other machines: there is no connection with the server${why}`,
      );
    case STATUS.MISSING:
      return failure('ERR_RCLUSTER_GONE', `The request ${name} was not answered by ${otherMachines(worker)}`);
    case STATUS.UNSENT:
      return failure(
        'ERR_RCLUSTER_BUSY',
        `The request ${name} was not sent to other machines: too many messages are queued for them`,
      );
    case STATUS.LATE: {
      const by = worker === 0 ? 'other machines, if there are any' : otherMachines(worker);
      return failure(
        'ERR_RCLUSTER_TIMEOUT',
        `The request ${name} was not answered within ${timeout} ms by ${by}`,
      );
    }
    case STATUS.NO_HANDLER:
      return failure(
        'ERR_RCLUSTER_NO_HANDLER',
        `There is no handler for ${name} in ${to}, or it is about to leave`,
      );
    case STATUS.GONE:
      return failure('ERR_RCLUSTER_GONE', `The target of the request ${name} is gone: ${to}`);
    case STATUS.BUSY:
      return failure(
        'ERR_RCLUSTER_BUSY',
        `Too many messages are queued for the target of the request ${name}: ${to}`,
      );
    case STATUS.NO_LEADER:
      return failure('ERR_RCLUSTER_NO_LEADER', `The request ${name} has no target: there is no ${described}`);
    case STATUS.LIMIT:
      return failure('ERR_RCLUSTER_REQUEST_LIMIT', 'This process has too many requests under way');
    case STATUS.CANCELLED:
      return failure(
        'ERR_RCLUSTER_TIMEOUT',
        `The request ${name} was not answered within ${timeout} ms: ${to}`,
      );
    default:
      return failure('ERR_RCLUSTER_BUSY', `There was no room for the answer to the request ${name} of ${to}`);
  }
}

/**
 * Encodes what a handler has thrown.
 * @param {unknown} thrown
 * @returns {string | Buffer}
 */
function encodeThrown(thrown) {
  if (!isError(thrown)) {
    try {
      return encode({ thrown });
    } catch {
      return encode({
        name: 'Error',
        message: `A handler has thrown what cannot be cloned: ${typeof thrown}`,
      });
    }
  }
  /** @type {Record<string, unknown>} */
  const error = { name: text(thrown, 'name'), message: text(thrown, 'message') };
  const code = read(thrown, 'code');
  if (typeof code === 'string' || typeof code === 'number') error.code = code;
  return encode(error);
}

/** @param {unknown} value */
function isError(value) {
  return isNativeError(value) || value instanceof Error || value instanceof DOMException;
}

/**
 * @param {any} error
 * @param {string} key
 */
function read(error, key) {
  try {
    return Reflect.get(error, key);
  } catch {
    // A getter that throws counts as no value.
    return undefined;
  }
}

/**
 * @param {any} error
 * @param {string} key
 */
function text(error, key) {
  const value = read(error, key);
  return typeof value === 'string' ? value.slice(0, 64 * 1024) : '';
}

/**
 * Decodes what a handler in another process has thrown.
 * @param {string | Buffer | null | undefined} raw
 */
function decodeThrown(raw) {
  const sent = decode(raw);
  if ('thrown' in sent) return sent.thrown;
  const error = new Error(String(sent.message));
  const name = String(sent.name);
  if (name !== 'Error') {
    Object.defineProperty(error, 'name', { value: name, writable: true, configurable: true });
  }
  return sent.code === undefined ? error : Object.assign(error, { code: sent.code });
}

/**
 * Whether an outcome is about other machines as a whole.
 * @param {number} flag
 */
function isOfMachines(flag) {
  return (
    flag === STATUS.MISSING || flag === STATUS.LATE || flag === STATUS.UNSENT || flag === STATUS.DISCONNECTED
  );
}

module.exports = { STATUS, decodeThrown, encodeThrown, isOfMachines, noAnswer, tooBusy, tooLarge };
