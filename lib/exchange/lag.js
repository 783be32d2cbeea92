'use strict';

const { process } = require('../globals');

/**
 * Warns that messages were dropped, if the app does not listen for that.
 * @param {string} what
 * @param {number} count 0 if the number is unknown
 */
function warnOfLag(what, count) {
  const message =
    count === 0
      ? `Messages for ${what} may be lost, as the server that all machines have in common was away`
      : `${count} messages for ${what} were dropped, as they were not read or published in time`;
  process.emitWarning(message, { code: 'RCLUSTER_LAG' });
}

module.exports = { warnOfLag };
