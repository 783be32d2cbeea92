'use strict';

/** The file with all figures, and the line that describes the machine. */

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const RESULTS = path.join(__dirname, '..', 'results');

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

module.exports = {
  RESULTS,
  circumstances,
  describe,
  writeResults,
};
