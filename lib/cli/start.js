'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { pathToFileURL } = require('node:url');

const cluster = require('../..');
const { Error, JSON, realProcess: process } = require('../globals');
const { writeLine } = require('../stderr');

/**
 * The validated arguments of `rcluster start`.
 * @typedef {object} Plan
 * @property {string} app The program of the workers.
 * @property {string[]} args
 * @property {string | null} config A file with options of supervise().
 * @property {string | null} envFile
 * @property {{ paths: string[] } | null} watch What to watch for changes; without paths, the folder of the program.
 * @property {import('../../index').SuperviseOptions} options
 */

/**
 * The file watches, which must be referenced for as long as this process lives.
 * @type {{ close: () => void }[]}
 */
const watches = [];

/** @param {Plan} plan */
async function start({ app, args, config, envFile, watch, options }) {
  try {
    const given = config === null ? {} : await readConfig(config);
    const execArgv = [...process.execArgv, ...(envFile === null ? [] : [`--env-file=${envFile}`])];
    cluster.setupPrimary({ exec: app, args, execArgv });
    const recycle = { ...given.recycle, ...options.recycle };
    const supervisor = cluster.supervise({ ...given, ...options, recycle });
    // Supervision logs failures.
    process.on('SIGHUP', () => supervisor.reload().catch(() => {}));
    if (watch !== null) {
      const { paths } = watch;
      watches.push(...require('./watch').watch({ app, paths, envFile }, () => supervisor.reload()));
    }
    tellWhenReady(supervisor, app);
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    writeLine(`rcluster: ${message}`);
    process.exitCode = 2;
  }
}

/**
 * @param {string} file
 * @returns {Promise<import('../../index').SuperviseOptions>}
 */
async function readConfig(file) {
  const value =
    path.extname(file) === '.json'
      ? JSON.parse(fs.readFileSync(file, 'utf8'))
      : (await import(pathToFileURL(file).href)).default;
  if (typeof value !== 'object' || value === null) throw new Error(`${file} exports no object with options`);
  return value;
}

/**
 * @param {import('../../index').Supervisor} supervisor
 * @param {string} app
 */
function tellWhenReady(supervisor, app) {
  supervisor.on('ready', function onReady() {
    const { ready, workers } = supervisor.stats();
    if (ready < workers) return;
    supervisor.removeListener('ready', onReady);
    writeLine(
      `rcluster: ${workers} workers of ${path.basename(app)} are ready; the primary is ${process.pid}`,
    );
  });
}

module.exports = { start };
