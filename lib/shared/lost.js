'use strict';

const { process, setTimeout } = require('../globals');

/** How long, in ms, a worker that has lost a connection waits to learn that its primary has ended. */
const NEWS = 1000;

/**
 * Warns that this worker has lost what its primary provided, unless the primary has ended. A worker notices
 * that end on several sockets, in any order, and then ends itself, so the warning is delayed.
 * @param {string} message
 */
function warnOfLoss(message) {
  const warn = () => {
    if (process.connected) process.emitWarning(message, { code: 'RCLUSTER_SHARED' });
  };
  setTimeout(warn, NEWS).unref();
}

module.exports = { warnOfLoss };
