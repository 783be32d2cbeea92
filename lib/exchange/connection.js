'use strict';

// The link of this process to the exchange. It is opened at the first use.

const builtin = require('../builtin');
const { Object, setImmediate } = require('../globals');
const { failure, sharedError } = require('../shared/errors');
const { checkMembership, onLeave, openerOf } = require('../shared/opener');
const { warnOfLoss } = require('../shared/lost');

/** The kinds of frames. The native side has the same numbers. */
const KIND = {
  NOTHING: -1,
  END: 0,
  MESSAGE: 1,
  REQUEST: 2,
  NOTICE: 3,
  CANCELLED: 4,
  OUTCOME: 5,
  CHANNEL_LAG: 6,
  HANDLER_LAG: 7,
};

/**
 * A frame from the native side.
 * @typedef {object} Frame
 * @property {number} kind
 * @property {number} flag of a message or call: 1 if this process has posted it, plus 2 if its channel spans machines or it comes
 * from another machine; of an outcome: how the call ended
 * @property {number} worker the sender, or the worker that the frame is about; 0 is the primary
 * @property {number} rest the number of outcomes of the same request that follow, as far as it is known
 * @property {number} number the origin of a message, the number of a call or request, or the number of dropped messages, 0 if that
 * is unknown
 * @property {string} name of the channel or handler; of an outcome: the id of the machine, if it is another one
 * @property {string | Buffer | undefined} value text is JSON, bytes are a structured clone
 */
/** @typedef {import('../../binding').ExchangeLink} NativeLink */
/** @typedef {NativeLink & ReturnType<NativeLink['calls']>} Link */

/** What the native side tells of a frame: all but its name and its value. */
const told = new Float64Array(6);

/** @type {Link | undefined} */
let native;
/** Why the exchange has ended. @type {Error | undefined} */
let ended;
/** The number of requests and channels that keep the process alive. */
let holds = 0;

/** The function for each kind of frame. @type {Record<number, (frame: Frame) => void>} */
const takers = {};

/** Called when the link ends. @type {((error: Error) => void)[]} */
const onEnds = [];

/**
 * The link, opened if necessary.
 * @returns {Link}
 * @throws {Error} ERR_RCLUSTER_GONE when it has ended
 */
function link() {
  if (ended !== undefined) throw ended;
  if (native !== undefined) return native;
  const refusal = 'Messages are exchanged by the main thread of a process';
  const open = openerOf('openExchange', 'rcluster.exchange', refusal);
  checkMembership();
  try {
    const opened = open(onNews);
    native = Object.assign(opened, opened.calls(told));
  } catch (error) {
    throw sharedError(/** @type {Error} */ (error));
  }
  native.hold(holds > 0);
  onLeave(() => {
    native?.stop();
    end(failure('ERR_RCLUSTER_GONE', 'This worker has left its cluster, and exchanges no messages any more'));
  });
  return native;
}

function onNews() {
  let drained = false;
  try {
    let more = true;
    while (more) more = native !== undefined && ended === undefined && take(native);
    drained = true;
  } finally {
    // A listener has thrown. The rest of the same packet is not announced again, so it is read later.
    if (!drained) setImmediate(onNews);
  }
}

/**
 * Takes the next frame. Returns false if there is none.
 * @param {Link} link
 */
function take(link) {
  const value = link.take();
  const kind = told[0];
  if (kind === KIND.NOTHING) return false;
  if (kind === KIND.END) onEnd();
  else {
    // Not destructured, because the iterator of an array of numbers is slow.
    const name = told[5] > 0 ? link.name() : '';
    takers[kind]?.({ kind, flag: told[1], worker: told[2], rest: told[3], number: told[4], name, value });
  }
  return true;
}

/** The primary is gone, or has cut off this process. */
function onEnd() {
  native?.stop();
  end(
    failure('ERR_RCLUSTER_GONE', 'The primary of this process is gone, and with it the exchange of messages'),
  );
  if (!builtin.isWorker) {
    throw failure('ERR_RCLUSTER_FAILED', 'The native part has failed: no messages are exchanged any more');
  }
  warnOfLoss('This worker exchanges no messages any more');
}

/** @param {Error} error */
function end(error) {
  if (ended !== undefined) return;
  ended = error;
  native?.hold(false);
  for (const onEnded of onEnds) onEnded(error);
}

/** @param {number} change of the number of holders that keep the process alive */
function hold(change) {
  const before = holds > 0;
  holds += change;
  if (before !== holds > 0 && ended === undefined) native?.hold(holds > 0);
}

/** The link if it is open, for ending what was begun on it. */
function current() {
  return ended === undefined ? native : undefined;
}

module.exports = { KIND, current, hold, link, onEnds, takers };
