'use strict';

const { invalidValue } = require('../errors');

/**
 * The program of workers if it is not Node. Without forwarding no client could reach it, and the built-in has
 * no such setting.
 * @param {import('../../index').ClusterSettings} settings
 * @throws {TypeError} ERR_INVALID_ARG_VALUE without forwarding
 */
function programOf({ execPath, forward }) {
  if (execPath !== undefined && forward === undefined) {
    throw invalidValue(
      'The setting "execPath" needs "forward", set before it or together with it: ' +
        'a program that is not Node can only be forwarded to. ' +
        'Workers in Node run the same Node as the primary',
    );
  }
  return execPath;
}

module.exports = { programOf };
