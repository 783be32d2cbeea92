'use strict';

/**
 * Tables for the terminal and for Markdown, the file with all figures, and the line that says where they were
 * measured.
 */

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const RESULTS = path.join(__dirname, '..', 'results');
const README = path.join(__dirname, '..', '..', 'README.md');
const BEGIN = '<!-- bench:begin -->';
const END = '<!-- bench:end -->';

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

/** What is no number was not measured. @type {Record<string, string>} */
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

/** Where and how something was measured. */
function circumstances() {
  const cpus = os.cpus();
  return {
    date: new Date().toISOString(),
    command: ['node', path.relative(process.cwd(), process.argv[1]), ...process.argv.slice(2)].join(' '),
    cpu: cpus[0].model.trim(),
    cores: cpus.length,
    kernel: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    loadAverage: os.loadavg(),
  };
}

/** @param {ReturnType<typeof circumstances>} machine */
function describe(machine) {
  const { cpu, cores, kernel, node, date, command } = machine;
  return `${cpu}, ${cores} cores, ${kernel}, Node ${node}, ${date.slice(0, 10)}, \`${command}\``;
}

/**
 * @param {string} name of the script
 * @param {object} data
 * @returns {string} the file, relative to the working directory
 */
function writeResults(name, data) {
  fs.mkdirSync(RESULTS, { recursive: true });
  const file = path.join(RESULTS, `${name}-${new Date().toISOString().replace(/[:.]/g, '-')}.json`);
  fs.writeFileSync(file, `${JSON.stringify(data, null, 2)}\n`);
  return path.relative(process.cwd(), file);
}

/**
 * Puts the text between the two marks in the README and leaves every other byte as it is.
 * @param {string} text
 */
function writeReadme(text) {
  const readme = fs.readFileSync(README, 'utf8');
  const begin = readme.indexOf(BEGIN);
  const end = readme.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`README.md has no ${BEGIN} … ${END}`);
  fs.writeFileSync(README, `${readme.slice(0, begin + BEGIN.length)}\n${text}\n${readme.slice(end)}`);
}

/** @param {string} text */
function print(text) {
  process.stdout.write(`${text}\n`);
}

module.exports = {
  RESULTS,
  textTable,
  markdownTable,
  circumstances,
  describe,
  writeResults,
  writeReadme,
  print,
};
