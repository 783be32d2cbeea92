'use strict';

const { isOptions, refuseUnknownKeys } = require('../option-keys');
const { invalidType } = require('./errors');

/**
 * The members of an options argument. An unknown key is an error that names it.
 * @param {unknown} options
 * @param {string[]} names
 * @param {string} [argument] the name of the argument
 * @returns {Record<string, any>}
 */
function members(options, names, argument = 'options') {
  if (options === undefined) return {};
  if (!isOptions(options)) throw invalidType(argument, 'object', options);
  refuseUnknownKeys(options, names, (name) => `The argument '${argument}.${name}'`);
  return /** @type {Record<string, any>} */ (options);
}

module.exports = { members };
