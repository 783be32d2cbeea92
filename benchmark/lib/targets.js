'use strict';

const { print } = require('./report');

/**
 * Something the project aims at. `value` is what was measured; undefined where a contestant needed for it did
 * not run.
 * @typedef {{ name: string, value: number | undefined, atMost?: number, atLeast?: number }} Target
 */

/**
 * Prints how the figures compare. It judges nothing: a noisy machine may miss what a quiet one meets.
 * @param {readonly Target[]} targets
 */
function printTargets(targets) {
  print('\nTargets');
  for (const { name, value, atMost, atLeast } of targets) {
    const bound = `${atMost === undefined ? '≥' : '≤'} ${Number((atMost ?? atLeast ?? NaN).toPrecision(3))}`;
    if (value === undefined || Number.isNaN(value)) {
      print(`  n/a   ${name} ${bound}`);
      continue;
    }
    const met = atMost === undefined ? value >= (atLeast ?? -Infinity) : value <= atMost;
    print(`  ${met ? 'PASS' : 'MISS'}  ${name} ${bound}: ${Number(value.toPrecision(4))}`);
  }
}

module.exports = { printTargets };
