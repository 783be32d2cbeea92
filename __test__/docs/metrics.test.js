'use strict';

// docs/metrics.md lists every metric of the primary, and none that does not exist.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { OURS: ROOT } = require('../../testing/subject.js');

const read = (/** @type {string} */ file) => fs.readFileSync(path.join(ROOT, file), 'utf8');

/** In the text format, the name of a counter ends with `_total`, and that of an info metric with `_info`. */
const SUFFIX = /_(total|info)$/;

test('each metric is documented, and each documented metric exists', () => {
  const sources = ['families.rs', 'stores.rs']
    .map((name) => read(`crates/core/src/metrics/${name}`))
    .join('');
  const code = sources.match(/(?<=")rcluster(_[a-z]+)*(?=")/g) ?? [];
  const docs = read('docs/metrics.md').match(/(?<=^\|.*`)rcluster(_[a-z]+)+(?=`.*\|)/gm) ?? [];
  assert(code.length > 30, `${code.length} names were found`);
  const named = docs.map((name) => name.replace(SUFFIX, ''));
  assert.deepStrictEqual([...new Set(named)].sort(), [...new Set(code)].sort());
});
