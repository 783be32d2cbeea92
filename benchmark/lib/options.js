'use strict';

const { parseArgs } = require('node:util');

/** @typedef {{ default: string | number | boolean, help: string }} Flag */

/**
 * @template {Record<string, Flag>} F
 * @typedef {{ [K in keyof F]: F[K]['default'] extends number ? number
 *   : F[K]['default'] extends boolean ? boolean : string }} Options
 */

/** Flags that mean the same in every script; a script uses those it needs. */
const flags = {
  workers: { default: 2, help: 'workers of each cluster' },
  clients: { default: 64, help: 'concurrent clients' },
  rounds: { default: 5, help: 'rounds; every contestant runs once in each' },
  rate: { default: 800, help: 'new connections a second, whether or not the earlier ones were answered' },
  timeout: { default: 5, help: 'seconds after which an unanswered request counts as hung' },
  seed: { default: Date.now() % 2 ** 31, help: 'seed of the order of contestants (and of who is killed)' },
  only: { default: '', help: 'contestants to run, comma-separated' },
  check: { default: false, help: 'print how the figures compare with the targets of the project' },
};

/**
 * Reads the command line; every flag has a default, which also determines its type. An unknown flag or a wrong
 * value ends the process with one line, `--help` with the list.
 * @template {Record<string, Flag>} F
 * @param {string} purpose what the script measures, for --help
 * @param {F} known
 * @returns {Options<F>}
 */
function readOptions(purpose, known) {
  /** @type {Record<string, string | number | boolean>} */
  const options = {};
  try {
    const { values } = parseArgs({
      options: {
        help: { type: 'boolean' },
        ...Object.fromEntries(
          Object.entries(known).map(([name, flag]) => [
            name,
            { type: /** @type {'boolean' | 'string'} */ (flag.default === false ? 'boolean' : 'string') },
          ]),
        ),
      },
    });
    if (values.help) {
      process.stdout.write(`${purpose}\n\n${describe(known)}`);
      process.exit(0);
    }
    for (const [name, flag] of Object.entries(known)) {
      const given = /** @type {Record<string, string | boolean | undefined>} */ (values)[name];
      options[name] =
        given === undefined ? flag.default : typeof flag.default === 'number' ? count(name, given) : given;
    }
  } catch (error) {
    process.stderr.write(`${/** @type {Error} */ (error).message}\n`);
    process.exit(2);
  }
  return /** @type {Options<F>} */ (options);
}

/**
 * @param {string} name
 * @param {string | boolean} given
 */
function count(name, given) {
  const value = Number(given);
  if (!Number.isInteger(value) || value < (name === 'seed' ? 0 : 1)) {
    throw new Error(`--${name} has to be a positive whole number, not '${given}'`);
  }
  return value;
}

/** @param {Record<string, Flag>} known */
function describe(known) {
  const lines = Object.entries(known).map(([name, flag]) => {
    const standard =
      flag.default === false || flag.default === '' || name === 'seed' ? '' : ` (${flag.default})`;
    return `  --${name.padEnd(12)} ${flag.help}${standard}\n`;
  });
  return lines.join('');
}

module.exports = { flags, readOptions };
