'use strict';

const { Object, Symbol, process } = require('../globals');
const builtin = require('../builtin');
const { packageFiles } = require('../load-binding');

/** The symbol under which the built-in cluster object has the folder of the copy of this package that was loaded first. */
const COPY = Symbol.for('rcluster.copy');

/** Two copies in one process are two clusters that do not know each other's workers and stores. */
function warnOfCopies() {
  const { root } = packageFiles();
  const holder = /** @type {any} */ (builtin);
  const first = holder[COPY];
  if (first === undefined) {
    Object.defineProperty(holder, COPY, { value: root });
  } else if (first !== root) {
    process.emitWarning(
      `rcluster is loaded twice, from ${first} and from ${root}. Each is a cluster of its own, with its own workers and ` +
        'shared stores. Have the package manager install one version for all',
      { code: 'RCLUSTER_COPIES' },
    );
  }
}

module.exports = { warnOfCopies };
