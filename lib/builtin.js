'use strict';

// The built-in cluster object. (Older type declarations of Node describe the namespace of `import`, not the
// result of require().)

/** @typedef {import('node:cluster').Cluster} Cluster */

module.exports = /** @type {Cluster} */ (/** @type {unknown} */ (require('node:cluster')));
