'use strict';

// The built-in cluster object. (Older type declarations of Node describe what `import` gives, not what require() does.)

/** @typedef {import('node:cluster').Cluster} Cluster */

module.exports = /** @type {Cluster} */ (/** @type {unknown} */ (require('node:cluster')));
