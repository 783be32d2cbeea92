'use strict';

/** @returns {number} ms of a clock that all processes of the machine share and that is never set */
function now() {
  return Math.round(Number(process.hrtime.bigint() / 1000n)) / 1000;
}

module.exports = { now };
