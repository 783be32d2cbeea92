'use strict';

const assert = require('node:assert');
const { EventEmitter, once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { inspect } = require('node:util');

/** Values that differ from run to run, and their names in the trace. */
const hidden = new Map();

/**
 * Replaces a port, a process id or a path by a name in everything that this process traces from now on.
 * @template {string | number} T
 * @param {T} value
 * @param {string} name
 * @returns {T} the value itself
 */
function hide(value, name) {
  hidden.set(String(value), `<${name}>`);
  return value;
}

if (process.env.RCLUSTER_TMP) hide(process.env.RCLUSTER_TMP, 'tmp');
hide(path.join(__dirname, '..', 'parity', 'fixtures'), 'fixtures');
hide(process.execPath, 'node');

const escape = (text) => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');

/**
 * @param {string} text
 */
function normalise(text) {
  for (const [value, name] of hidden) {
    text = text.replace(new RegExp(`(?<![\\w.])${escape(value)}(?!\\w)`, 'g'), name);
  }
  return text;
}

/** The parts of an error that applications inspect. */
const ERROR_PARTS = ['code', 'errno', 'syscall', 'address', 'port', 'path', 'spawnargs'];

/**
 * @param {any} value
 * @returns {string}
 */
function describe(value) {
  if (value instanceof Error) {
    const parts = ERROR_PARTS.filter((part) => part in value).map(
      (part) => `${part}=${inspect(value[part])}`,
    );
    return `${value.name}(${[inspect(value.message), ...parts].join(' ')})`;
  }
  if (value instanceof EventEmitter) {
    const id = value.constructor.name === 'Worker' ? ` ${/** @type {any} */ (value).id}` : '';
    return `<${value.constructor.name}${id}>`;
  }
  if (Array.isArray(value)) return `[${value.map(describe).join(', ')}]`;
  return inspect(value, { depth: 8, compact: true, breakLength: Infinity, maxArrayLength: null });
}

/**
 * Records an observation. Lanes are compared one by one: the order within a lane counts, the order
 * between lanes does not. What one worker does is a lane; so is what the primary sees of one worker.
 *
 * It goes to a file, since a worker's standard output is one of the things under test, and at once, since a process may
 * be killed at any moment; appending a line is atomic.
 * @param {string} lane
 * @param {string} event
 * @param {...unknown} details
 */
function trace(lane, event, ...details) {
  const line = [event, ...details.map(describe)].join(' ');
  fs.appendFileSync(
    path.join(process.env.RCLUSTER_TMP, 'trace'),
    `${JSON.stringify([lane, normalise(line)])}\n`,
  );
}

/**
 * Reports that this fixture cannot run here, and why.
 * @param {string} reason
 */
function skip(reason) {
  fs.writeFileSync(path.join(process.env.RCLUSTER_TMP, 'skip'), reason);
}

/**
 * Traces what a function throws or returns.
 * @param {string} lane
 * @param {string} what
 * @param {() => unknown} attempt
 */
function traceOutcome(lane, what, attempt) {
  let result;
  try {
    result = attempt();
  } catch (error) {
    trace(lane, `${what} throws`, error);
    return undefined;
  }
  trace(lane, `${what} returns`, result);
  return result;
}

const WORKER_EVENTS = ['online', 'listening', 'disconnect', 'exit', 'error', 'message'];

/**
 * Traces all events of a worker and of the cluster about it, with their state at each event.
 * @param {any} cluster
 * @param {any} worker
 * @param {string} [lane]
 */
function watch(cluster, worker, lane = `worker ${worker.id}`) {
  const state = () =>
    `[${[
      worker.state,
      `flag=${worker.exitedAfterDisconnect}`,
      `connected=${worker.isConnected()}`,
      `dead=${worker.isDead()}`,
      `listed=${worker.id in cluster.workers}`,
    ].join(' ')}]`;
  const hidePort = (event, args) => {
    // Both in 'listening' and in the messages of fixtures.
    const port = ['listening', 'message'].includes(event) && args[0]?.port;
    if (port > 0 && !hidden.has(String(port))) hide(port, 'port');
  };
  cluster.setMaxListeners(0);
  for (const event of WORKER_EVENTS) {
    worker.on(event, function (...args) {
      assert.strictEqual(this, worker);
      hidePort(event, args);
      trace(lane, `worker ${event} ${state()}`, ...args);
    });
    cluster.on(event, (first, ...args) => {
      if (first !== worker) return;
      hidePort(event, args);
      trace(lane, `cluster ${event} ${state()}`, ...args);
    });
  }
  cluster.on('fork', (first, ...args) => {
    if (first === worker) trace(lane, `cluster fork ${state()}`, ...args);
  });
  return worker;
}

/**
 * Until the end of a worker's process and that of its channel have been detected. With the built-in, either may come
 * first, and the state of the worker and of the cluster changes with both.
 * @param {any} worker
 * @returns {Promise<[number | null, string | null]>} the arguments of 'exit'
 */
async function ended(worker) {
  const [how] = await Promise.all([once(worker, 'exit'), once(worker, 'disconnect')]);
  return /** @type {any} */ (how);
}

/**
 * @param {string} file
 * @returns {Record<string, string[]>} what was traced, by lane
 */
function readTrace(file) {
  const lanes = {};
  if (!fs.existsSync(file)) return lanes;
  for (const line of fs.readFileSync(file, 'utf8').split('\n').filter(Boolean)) {
    const [lane, entry] = JSON.parse(line);
    (lanes[lane] ??= []).push(entry);
  }
  return lanes;
}

module.exports = { trace, traceOutcome, watch, ended, hide, skip, readTrace };
