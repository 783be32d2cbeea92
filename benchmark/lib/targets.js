'use strict';

const { print } = require('../../testing/tables.js');

/**
 * A target of the project. `value` is the measurement; undefined if a contestant needed for it did not run.
 * @typedef {{ name: string, value: number | null | undefined, atMost?: number, atLeast?: number }} Target
 */

/**
 * How a figure compares with its target. Nothing else is judged: a noisy machine may miss a target that a quiet one meets.
 * @param {Target} target
 * @returns {{ verdict: 'PASS' | 'MISS' | 'n/a', name: string, bound: string, value: string }}
 */
function judge({ name, value, atMost, atLeast }) {
  const bound = `${atMost === undefined ? '≥' : '≤'} ${Number((atMost ?? atLeast ?? NaN).toPrecision(3))}`;
  // NaN is written to the file as null.
  if (value == null || Number.isNaN(value)) return { verdict: 'n/a', name, bound, value: '–' };
  const met = atMost === undefined ? value >= (atLeast ?? -Infinity) : value <= atMost;
  return { verdict: met ? 'PASS' : 'MISS', name, bound, value: `${Number(value.toPrecision(4))}` };
}

/** @param {readonly Target[]} targets */
function printTargets(targets) {
  print('\nTargets');
  for (const target of targets) {
    const { verdict, name, bound, value } = judge(target);
    print(`  ${verdict.padEnd(4)}  ${name} ${bound}${verdict === 'n/a' ? '' : `: ${value}`}`);
  }
}

module.exports = { judge, printTargets };
