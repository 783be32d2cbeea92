'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { clearTimeout, setTimeout, realProcess: process } = require('../globals');
const { loadBinding } = require('../load-binding');
const { writeLine } = require('../stderr');

/** How long, in ms, files must be unchanged before a reload: an editor or a checkout writes several files. */
const QUIET = 200;

/**
 * Reloads when the code changes. Workers are only stopped once their replacements are ready, so code that
 * does not start has no effect on clients.
 *
 * @param {object} what
 * @param {string} what.app the program
 * @param {readonly string[]} what.paths files and folders that are watched instead of the program's folder
 * @param {string | null} what.envFile
 * @param {() => Promise<void>} reload
 */
function watch({ app, paths, envFile }, reload) {
  /** @type {NodeJS.Timeout | undefined} */
  let quiet;
  let changed = '';
  let isReloading = false;
  // Its directory may be removed while the primary runs.
  const directory = process.cwd();

  /** @param {string} file */
  function onChange(file) {
    if (file === '') {
      writeLine(
        'rcluster: the folders can no longer be watched, so changes are not detected: restart, or use `rcluster reload`',
      );
      return;
    }
    changed = file;
    clearTimeout(quiet);
    quiet = setTimeout(() => void begin(), QUIET);
  }

  async function begin() {
    // Changes during a reload cause the next one.
    if (isReloading) return;
    isReloading = true;
    while (changed !== '') {
      const file = path.relative(directory, changed);
      changed = '';
      writeLine(`rcluster: ${file} has changed, reloading`);
      try {
        await reload();
        writeLine('rcluster: reloaded');
      } catch (error) {
        const { message } = /** @type {Error} */ (error);
        writeLine(`rcluster: the new code does not start; the workers keep running the old code: ${message}`);
      }
    }
    isReloading = false;
  }

  const isFolder = (/** @type {string} */ file) => fs.statSync(file).isDirectory();
  const { watchFile, watchFolders } = loadBinding();
  const own = fs.existsSync(app) && isFolder(app) ? app : path.dirname(app);
  // The folder itself is watched, not a link to it.
  const folders = (paths.length === 0 ? [own] : paths.filter(isFolder)).map((folder) =>
    fs.realpathSync(folder),
  );
  const files = paths.filter((file) => !isFolder(file));
  if (envFile !== null) files.push(envFile);
  // A watch lives as long as it is referenced.
  return [
    watchFolders(folders, paths.length > 0, onChange),
    ...files.map((file) => watchFile(file, (lost) => onChange(lost === 1 ? '' : file))),
  ];
}

module.exports = { watch };
