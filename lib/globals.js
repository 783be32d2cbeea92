'use strict';

// The functions of the runtime that an application or its tests may replace while it runs (fake timers, mocks). These are
// the ones that were there when this file was loaded: in a worker that is before any code of the application.

const timers = require('node:timers');

module.exports = {
  setTimeout: timers.setTimeout,
  clearTimeout: timers.clearTimeout,
  setInterval: timers.setInterval,
  clearInterval: timers.clearInterval,
  setImmediate: timers.setImmediate,
  nextTick: process.nextTick.bind(process),
  /** Milliseconds of the monotonic clock. */
  monotonic: performance.now.bind(performance),
  /** Milliseconds since 1970. */
  wallClock: Date.now,
  random: Math.random,
  toJson: JSON.stringify,
};
