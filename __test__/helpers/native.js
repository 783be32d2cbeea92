'use strict';

const binding = require('../../binding.js');

/** @type {import('../../binding').Supervisor | undefined} */
let supervisor;

const { Supervisor } = binding;

/**
 * The native supervisor of this primary, for what no public function reaches. To be loaded before the first fork.
 * @returns {import('../../binding').Supervisor}
 */
function native() {
  if (supervisor === undefined) throw new Error('no worker has been forked yet');
  return supervisor;
}

binding.Supervisor = class extends Supervisor {
  constructor(...args) {
    // @ts-ignore What the package calls it with, whatever that is.
    super(...args);
    supervisor = this;
  }
};

module.exports = { native };
