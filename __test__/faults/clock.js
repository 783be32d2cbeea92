'use strict';

/** @returns {number} ms by a clock that all processes of the machine have in common and nobody sets */
function now() {
  return Math.round(Number(process.hrtime.bigint() / 1000n)) / 1000;
}

module.exports = { now };
