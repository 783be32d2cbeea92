'use strict';

/** The figures in README.md, from the results of the suites. Pure functions of the results and the text. */

const { describe } = require('./report');
const { markdownTable } = require('../../testing/tables.js');

/** @typedef {import('./page').Suite} Suite */

/**
 * Replaces the two blocks of the README that have figures, and leaves every other byte unchanged. A block whose
 * suites have not been measured stays as it is.
 * @param {string} readme
 * @param {readonly Suite[]} suites
 * @returns {string}
 */
function withFigures(readme, suites) {
  const [run, mixed] = ['run', 'mixed'].map((name) => suites.find((suite) => suite.name === name)?.result);
  if (run === undefined) return readme;
  const withTables = replaced(readme, 'bench', tables(run));
  return mixed === undefined ? withTables : replaced(withTables, 'figures', summary(run, mixed));
}

/**
 * @param {string} text
 * @param {string} mark the name of the block
 * @param {string} content
 */
function replaced(text, mark, content) {
  const [begin, end] = [`<!-- ${mark}:begin -->`, `<!-- ${mark}:end -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`README.md has no ${begin} … ${end}`);
  return `${text.slice(0, from + begin.length)}\n${content}\n${text.slice(to)}`;
}

/** @param {import('./page').Result} run */
function tables({ section, machine }) {
  const blocks = section.tables.map(
    ({ title, header, rows }) => `**${title}**\n\n${markdownTable(header, rows)}`,
  );
  return `${blocks.join('\n\n')}\n\n${describe(machine)}.`;
}

/**
 * The comparison at the top of the README.
 * @param {import('./page').Result} run
 * @param {import('./page').Result} mixed
 */
function summary(run, mixed) {
  const [connections] = run.section.tables;
  const [latencies] = mixed.section.tables;
  const base = 'built-in round robin';
  /** @type {[string, string, string][]} */
  const rows = [
    [
      'Requests per second, a new connection for each',
      cell(connections, base, 'requests/s'),
      cell(connections, 'rcluster', 'requests/s'),
    ],
    [
      'CPU time of the primary per connection',
      `${cell(connections, base, 'CPU primary')} µs`,
      `${cell(connections, 'rcluster', 'CPU primary')} µs`,
    ],
    [
      'p99 latency of short requests mixed with long ones, with `least-loaded`',
      `${cell(latencies, base, 'short p99')} ms`,
      `${cell(latencies, 'rcluster least-loaded', 'short p99')} ms`,
    ],
  ];
  const header = ['', 'built-in `cluster`', 'rcluster'];
  return markdownTable(
    header,
    rows.map(([what, builtin, own]) => [what, builtin, `**${own}**`]),
  );
}

/**
 * @param {import('./section').Table} table
 * @param {string} row
 * @param {string} column
 */
function cell({ header, rows }, row, column) {
  const found = rows.find(([name]) => name === row)?.[header.indexOf(column)];
  if (found === undefined) throw new Error(`the results have no ${column} of ${row}`);
  return found;
}

module.exports = { withFigures };
