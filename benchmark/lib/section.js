'use strict';

/** The results of a suite: printed here, and kept for the page about all suites. */

const { writeResults } = require('./report');
const { print, textTable } = require('../../testing/tables.js');
const { printTargets } = require('./targets');

/**
 * @typedef {{ title?: string, header: string[], rows: string[][] }} Table
 * @typedef {import('./chart').Chart} Chart
 * @typedef {import('./targets').Target} Target
 */

/**
 * The part of a suite in docs/benchmarks.md.
 * @typedef {object} Section
 * @property {string} title
 * @property {string} about what is measured and how, in Markdown
 * @property {Table[]} tables
 * @property {Target[]} targets
 * @property {string[]} [behind] where rcluster is not better, in sentences derived from the measurements
 * @property {string[]} [lacking] what was not measured, and why
 * @property {Chart[]} [charts]
 */

/**
 * Prints a section, writes it together with all figures, and reports the file to the driver, if there is one.
 * @param {string} name of the suite
 * @param {Section} section
 * @param {{ machine: ReturnType<typeof import('./report').circumstances>, options: { check?: boolean } } & Record<string, any>} data
 */
function publish(name, section, data) {
  for (const { title, header, rows } of section.tables) {
    print(`\n${title ?? section.title}\n${textTable(header, rows)}`);
  }
  for (const sentence of section.lacking ?? []) print(`\nnot measured: ${sentence}`);
  const file = writeResults(name, { ...data, section });
  print(`\neverything: ${file}`);
  if (data.options.check && section.targets.length > 0) printTargets(section.targets);
  process.send?.({ results: file });
}

/**
 * A sentence for every comparison in which the other contestant is better by more than the noise of a run.
 * @param {readonly { what: string, own: number, other: number, than: string, better: 'less' | 'more' }[]} comparisons
 * @returns {string[]}
 */
function behind(comparisons) {
  return comparisons.flatMap(({ what, own, other, than, better }) => {
    const ratio = own / other;
    const worse = better === 'more' ? ratio < 0.97 : ratio > 1.03;
    return worse ? [`${what}: ${ratio.toFixed(2)} × ${than}.`] : [];
  });
}

module.exports = { publish, behind };
