'use strict';

const os = require('node:os');
const { Map, Object } = require('./globals');

/**
 * The names of the signals by number; of two names for one number Node reports the first.
 * @type {Map<number, string>}
 */
const signalNames = new Map(
  Object.entries(os.constants.signals)
    .toReversed()
    .map(([name, number]) => [number, name]),
);

module.exports = { signalNames };
