'use strict';

const { WeakMap, process, setImmediate } = require('./globals');

/**
 * The number of our unfinished writes to each stream. The stream is `process.stderr` unless the app has
 * replaced that.
 * @type {WeakMap<NodeJS.WritableStream, number>}
 */
const pending = new WeakMap();

function ignore() {}

/**
 * Writes a line to stderr. If it has no reader any more (EPIPE), or the write fails for another reason, the
 * line is lost without further effect: a failed write emits 'error' on `process.stderr`, which would end the
 * process if there were no listener. If the app writes there itself, it gets its own error.
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
    // The app has replaced write() with a function that throws.
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
