'use strict';

const binding = require('../../binding.js');

/** @type {import('../../binding').Primary | undefined} */
let primary;

const { Primary } = binding;

/**
 * The native part of this primary, for functions that the public interface does not reach. Must be loaded
 * before the first fork.
 * @returns {import('../../binding').Primary}
 */
function native() {
  if (primary === undefined) throw new Error('no worker has been forked yet');
  return primary;
}

binding.Primary = class extends Primary {
  constructor(...args) {
    // @ts-ignore The package's own arguments, whatever they are.
    super(...args);
    primary = this;
  }
};

module.exports = { native };
