'use strict';

// The async context from before the application's code ran: no AsyncLocalStorage has a value in it. What serves the whole
// process but is started by its first user, perhaps in the middle of a request, is started in this context; otherwise it would
// take that request's values to all others, and failures of others would be attributed to that request.

const { AsyncResource } = require('node:async_hooks');

// Made when this file is loaded, so it must be loaded at the start.
const root = new AsyncResource('RCLUSTER', { requireManualDestroy: true });

/**
 * Calls a function in the root context.
 *
 * @template {any[]} Args
 * @template Result
 * @param {(...args: Args) => Result} fn
 * @param {Args} args
 * @returns {Result}
 */
function inRootContext(fn, ...args) {
  return root.runInAsyncScope(fn, undefined, ...args);
}

module.exports = { inRootContext };
