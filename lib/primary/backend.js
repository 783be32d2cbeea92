'use strict';

// The setting `backend`: the server that several machines share, for locks and leaders with
// `{ scope: 'all' }`.

const { Error, JSON, Object } = require('../globals');
const { loadBinding } = require('../load-binding');

/** The current setting in the native form. A process has one native part. @type {string | undefined} */
let current;

/**
 * @param {unknown} backend
 * @throws {TypeError} ERR_INVALID_ARG_TYPE or ERR_INVALID_ARG_VALUE
 * @throws {Error} ERR_RCLUSTER_TOO_LATE if another one was set before
 */
function applyBackend(backend) {
  const { checkBackend } = require('../shared/backend');
  const json = JSON.stringify(checkBackend(backend, undefined));
  if (json === current) return;
  if (current !== undefined) {
    const error = new Error("The setting 'backend' cannot change once it has been set");
    throw Object.assign(error, { code: 'ERR_RCLUSTER_TOO_LATE' });
  }
  loadBinding().setBackend(json);
  current = json;
}

module.exports = { applyBackend };
