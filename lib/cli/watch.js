'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { Math, clearTimeout, monotonic, setTimeout, realProcess: process } = require('../globals');
const { loadBinding } = require('../load-binding');
const { writeLine } = require('../stderr');

/** How long, in ms, files must be unchanged before a reload: an editor or a checkout writes several files. */
const QUIET = 200;

/** How long after the first change, in ms, a reload begins at the latest: some files are written all the time. */
const PATIENCE = 2000;

/** The log of supervision reports a failed reload. */
const ignore = () => {};

/**
 * Reloads when the code changes. Workers are only stopped once their replacements are ready, so code that
 * does not start has no effect on clients.
 *
 * @param {object} what
 * @param {string} what.app the program
 * @param {readonly string[]} what.paths files and folders that are watched instead of the program's folder
 * @param {string | null} what.envFile
 * @param {() => import('../../index').Supervisor} supervisor called when something has changed
 */
function watch({ app, paths, envFile }, supervisor) {
  /** @type {NodeJS.Timeout | undefined} */
  let quiet;
  let changed = '';
  let changedSince = 0;
  let isReloading = false;
  // Its directory may be removed while the primary runs.
  const directory = process.cwd();

  /** @param {string} place */
  function onLost(place) {
    writeLine(
      `rcluster: ${place} can no longer be watched, so changes in it are not detected: restart, or use \`rcluster reload\``,
    );
  }

  /** @param {string} file */
  function onChange(file) {
    if (changed === '') changedSince = monotonic();
    changed = file;
    clearTimeout(quiet);
    const left = changedSince + PATIENCE - monotonic();
    quiet = setTimeout(() => void begin(), Math.max(0, Math.min(QUIET, left)));
  }

  async function begin() {
    // Changes during a reload cause the next one.
    if (isReloading) return;
    isReloading = true;
    while (changed !== '') {
      writeLine(`rcluster: ${path.relative(directory, changed)} has changed, reloading`);
      // An operator's reload that is in progress may have started workers with the old code.
      if (supervisor().stats().reloading) await supervisor().reload().catch(ignore);
      changed = '';
      try {
        await supervisor().reload();
        writeLine('rcluster: reloaded');
      } catch (error) {
        const { message } = /** @type {Error} */ (error);
        const serves = supervisor().stats().ready > 0;
        const but = serves ? 'the workers keep running the old code' : 'no worker runs';
        writeLine(`rcluster: the new code does not start; ${but}: ${message}`);
      }
    }
    isReloading = false;
  }

  const own = isFolder(app) ? app : path.dirname(app);
  const folders = paths.length === 0 ? [own] : paths.filter(isFolder);
  const files = paths.filter((file) => !folders.includes(file));
  if (envFile !== null) files.push(envFile);
  // A watch lives as long as it is referenced.
  return [
    ...folders.map((folder) => watchFolder(folder, paths.length > 0, onChange, onLost)),
    ...files.map((file) => watchPath(file, onChange, onLost)),
  ];
}

/** @param {string} place */
const isFolder = (place) => fs.statSync(place, { throwIfNoEntry: false })?.isDirectory() ?? false;

/**
 * @param {string} place a file or a folder, absolute; it need not exist
 * @param {(place: string) => void} onChange
 * @param {(place: string) => void} onLost called once
 */
function watchPath(place, onChange, onLost) {
  const watched = loadBinding().watchFile(place, (lost) => {
    if (lost !== 1) return onChange(place);
    watched.close();
    onLost(place);
  });
  return watched;
}

/**
 * Watches what is in a folder, also after the folder itself, or a link on its path, has been replaced.
 *
 * @param {string} folder absolute
 * @param {boolean} allFiles
 * @param {(file: string) => void} onChange
 * @param {(folder: string) => void} onLost called once
 */
function watchFolder(folder, allFiles, onChange, onLost) {
  /** @type {string | undefined} */
  let identity;
  /** @type {{ close(): void } | undefined} */
  let tree;
  /** Distinguishes folders: the number of a removed inode is used again. What cannot be read counts as missing. */
  function identify() {
    try {
      const facts = fs.statSync(folder, { bigint: true });
      return facts.isDirectory() ? `${facts.dev} ${facts.ino} ${facts.birthtimeNs}` : undefined;
    } catch {
      return undefined;
    }
  }

  function lose() {
    tree?.close();
    way.close();
    onLost(folder);
  }

  /** @returns {boolean} whether there is another folder than before */
  function enter() {
    const found = identify();
    if (found === identity) return false;
    tree?.close();
    tree = undefined;
    identity = found;
    if (found === undefined) return false;
    const opened = loadBinding().watchFolders([fs.realpathSync(folder)], allFiles, (file) => {
      // It may have been replaced since.
      if (tree !== opened) return;
      if (file === '') lose();
      else onChange(file);
    });
    tree = opened;
    return true;
  }

  const way = watchPath(
    folder,
    () => {
      try {
        if (enter()) onChange(folder);
      } catch {
        // It has been replaced once more, which is reported next; or the system allows no more watches.
        if (identify() === identity) lose();
      }
    },
    lose,
  );
  enter();
  return { close: () => (tree?.close(), way.close()) };
}

module.exports = { watch };
