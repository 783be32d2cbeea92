'use strict';

/** Prints reports: tables for the terminal and for Markdown. */

/**
 * The first column is text, the others are figures.
 * @param {readonly string[]} header
 * @param {readonly (readonly string[])[]} rows
 */
function textTable(header, rows) {
  return align(header, rows)
    .map((cells) => cells.join('  ').trimEnd())
    .join('\n');
}

/**
 * @param {readonly string[]} header
 * @param {readonly (readonly string[])[]} rows
 */
function markdownTable(header, rows) {
  const [head, ...body] = align(header, rows).map((cells) => `| ${cells.join(' | ')} |`);
  const rule = align(header, rows)[0].map((cell, i) =>
    i === 0 ? '-'.repeat(cell.length) : `${'-'.repeat(cell.length - 1)}:`,
  );
  return [head, `| ${rule.join(' | ')} |`, ...body].join('\n');
}

/** NaN means that a value was not measured. @type {Record<string, string>} */
const UNUSUAL = { NaN: '–', Infinity: '∞' };

/**
 * @param {readonly string[]} header
 * @param {readonly (readonly string[])[]} rows
 */
function align(header, rows) {
  const all = [header, ...rows].map((cells) => cells.map((cell) => UNUSUAL[cell] ?? cell));
  const widths = header.map((_, column) => Math.max(3, ...all.map((cells) => cells[column].length)));
  return all.map((cells) =>
    cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))),
  );
}

/** @param {string} text */
function print(text) {
  process.stdout.write(`${text}\n`);
}

module.exports = { markdownTable, print, textTable };
