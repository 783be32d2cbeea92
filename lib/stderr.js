'use strict';

const { WeakMap, process, setImmediate } = require('./globals');

/**
 * How many lines of ours are on their way to a stream, which is `process.stderr` unless the app has put another one there.
 * @type {WeakMap<NodeJS.WritableStream, number>}
 */
const pending = new WeakMap();

function ignore() {}

/**
 * Writes a line to stderr. If nobody reads it any more (EPIPE), or it cannot be written for another reason, the line is lost
 * and nothing else happens: a failed write is an 'error' event of `process.stderr`, which without a listener ends the process.
 * An app that writes there itself has its own error.
 *
 * @param {string} line
 */
function writeLine(line) {
  const { stderr } = process;
  const count = pending.get(stderr) ?? 0;
  pending.set(stderr, count + 1);
  if (count === 0) stderr.on('error', ignore);
  // The event follows the callback, before the next turn of the event loop.
  const done = () => setImmediate(onWritten, stderr);
  try {
    stderr.write(`${line}\n`, done);
  } catch {
    // The app has put a function in the place of write() that throws.
    done();
  }
}

/** @param {NodeJS.WritableStream} stderr */
function onWritten(stderr) {
  const count = (pending.get(stderr) ?? 1) - 1;
  pending.set(stderr, count);
  if (count === 0) stderr.removeListener('error', ignore);
}

module.exports = { writeLine };
