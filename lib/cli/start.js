'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { pathToFileURL } = require('node:url');

const cluster = require('../..');
const { Array, Error, JSON, realProcess: process } = require('../globals');
const { later } = require('../later');
const { loadBinding } = require('../load-binding');
const { isOptions } = require('../option-keys');
const { listenToOperators } = require('./signals');

/** @type {() => typeof import('../stderr')} */
const stderr = later('stderr');
/** @type {() => typeof import('../text')} */
const text = later('text');

/**
 * The validated arguments of `rcluster start`.
 * @typedef {object} Plan
 * @property {string} app The program of the workers.
 * @property {string[]} args
 * @property {string | null} cwd The working directory of the workers, which may be a symbolic link.
 * @property {string | null} config A file with options of supervise().
 * @property {string | null} envFile
 * @property {{ paths: string[] } | null} watch What to watch for changes; without paths, the folder of the program.
 * @property {import('../../index').SuperviseOptions} options
 * @property {import('../../binding').EarlyWorkerNumbers} [early] A process that the first worker may become.
 */

/**
 * The file watches, which must be referenced for as long as this process lives.
 * @type {{ close: () => void }[]}
 */
const watches = [];

/**
 * The defaults of options while code is watched: a program that does not start is about to be changed, so the primary
 * does not give up.
 * @type {import('../../index').SuperviseOptions}
 */
const WHILE_WATCHING = {
  startUpLimit: 0,
  restartIntensity: { max: 1_000_000 },
  totalIntensity: { max: 1_000_000 },
};

/** @param {Plan} plan */
async function start({ app, args, cwd, config, envFile, watch, options, early }) {
  /** @type {import('../../index').SuperviseOptions} */
  let given = {};
  try {
    if (early !== undefined) loadBinding().takeOverEarlyWorker(early);
    if (config !== null) given = await settled(readConfig(config), path.relative('', config));
    const execArgv = [...process.execArgv, ...(envFile === null ? [] : [`--env-file=${envFile}`])];
    cluster.setupPrimary({ exec: app, args, execArgv, ...(cwd === null ? {} : { cwd }) });
    // First, because a cluster must not start without its watches.
    if (watch !== null) {
      const { paths } = watch;
      watches.push(...require('./watch').watch({ app, paths, envFile }, () => supervisor));
    }
    // Anything else than an object is for supervise() to refuse.
    const isObject = given.recycle === undefined || isOptions(given.recycle);
    const recycle = isObject ? { ...given.recycle, ...options.recycle } : given.recycle;
    const defaults = watch === null ? {} : WHILE_WATCHING;
    const supervisor = cluster.supervise({ ...defaults, ...given, ...options, recycle });
    listenToOperators(supervisor);
    tellWhenReady(supervisor, app);
    supervisor.once('shutdown', ({ gaveUp, timeout }) => {
      // Otherwise the log says why it ends.
      if (gaveUp) return;
      const limit = `${timeout / 1000} s`;
      stderr().writeLine(
        `rcluster: stopping; the workers have ${limit} to drain, and a second signal kills them`,
      );
    });
  } catch (error) {
    for (const it of watches) it.close();
    if (early !== undefined) loadBinding().endEarlyWorker();
    const { message } = /** @type {Error} */ (error);
    const [, option] = /"options\.(\w+)/.exec(message) ?? [];
    const isOfFile = config !== null && option !== undefined && option in given && !(option in options);
    stderr().writeLine(`rcluster: ${isOfFile ? `${path.relative('', config)}: ` : ''}${message}`);
    process.exitCode = 2;
  }
}

/**
 * Waits for a configuration. If this process ends before, because nothing is left that could settle the promise, that
 * is an error.
 * @template T
 * @param {Promise<T>} promise
 * @param {string} name of the file
 */
async function settled(promise, name) {
  const onExit = () => {
    stderr().writeLine(
      `rcluster: ${name} never exports its options: it awaits something that does not happen`,
    );
    process.exitCode = 2;
  };
  process.once('exit', onExit);
  try {
    return await promise;
  } finally {
    process.removeListener('exit', onExit);
  }
}

/**
 * @param {string} file
 * @returns {Promise<import('../../index').SuperviseOptions>}
 */
async function readConfig(file) {
  const name = path.relative('', file);
  let value;
  try {
    value =
      path.extname(file) === '.json'
        ? // Editors of some systems begin a file with a byte order mark.
          JSON.parse(fs.readFileSync(file, 'utf8').replace(/^\uFEFF/, ''))
        : await (
            await import(pathToFileURL(file).href)
          ).default;
  } catch (error) {
    throw new Error(`cannot read ${name}: ${text().summaryOf(error)}`, { cause: error });
  }
  if (!isOptions(value)) {
    const kind = kindOf(value);
    const [must, but] =
      path.extname(file) === '.json'
        ? ['contain', `it contains ${kind}`]
        : ['export', value === undefined ? 'it has no default export' : `it exports ${kind}`];
    throw new Error(`${name} must ${must} an object with options of supervise(): ${but}`);
  }
  if (Array.isArray(value.apps)) {
    const advice = 'docs/migrating.md of this package has the options that replace its own';
    throw new Error(`${name} is a configuration of pm2: ${advice}`);
  }
  return value;
}

/** @param {unknown} value that is not a plain object */
function kindOf(value) {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an instance of a class' : `a ${typeof value}`;
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
    const some = workers === 1 ? '1 worker' : `${workers} workers`;
    const are = workers === 1 ? 'is' : 'are';
    stderr().writeLine(
      `rcluster: ${some} of ${path.basename(app)} ${are} ready; the pid of the primary is ${process.pid}`,
    );
  });
}

module.exports = { start };
