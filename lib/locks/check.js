'use strict';

const { Buffer } = require('../globals');
const { invalidType, invalidValue } = require('../shared/errors');

/** The longest name, in bytes. */
const MAX_NAME = 1024;

/**
 * @param {unknown} name
 * @returns {string}
 */
function checkName(name) {
  if (typeof name !== 'string') throw invalidType('name', 'string', name);
  if (!(/** @type {any} */ (name).isWellFormed())) {
    throw invalidValue('name', 'must be well-formed Unicode', name);
  }
  if (Buffer.byteLength(name) > MAX_NAME) {
    throw invalidValue('name', `has ${MAX_NAME} bytes of UTF-8 at the most`, name.slice(0, 50));
  }
  return name;
}

module.exports = { checkName };
