'use strict';

const { Buffer } = require('../globals');
const { invalidValue } = require('../shared/errors');
const { checkKey } = require('../shared/options');

/** The longest name, in bytes. */
const MAX_NAME = 1024;

/**
 * @param {unknown} name
 * @returns {string}
 */
function checkName(name) {
  const text = checkKey(name, 'name');
  if (Buffer.byteLength(text) > MAX_NAME) {
    throw invalidValue('name', `has ${MAX_NAME} bytes of UTF-8 at the most`, text.slice(0, 50));
  }
  return text;
}

module.exports = { checkName };
