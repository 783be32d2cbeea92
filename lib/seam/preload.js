'use strict';

// Hides from the app that a file was preloaded.

const { Array, Object, Reflect, process, realProcess } = require('../globals');
const fs = require('node:fs');
const path = require('node:path');

/** @param {string} file */
function realPath(file) {
  try {
    return fs.realpathSync(file);
  } catch {
    // The file was loaded, but may be gone by now.
    return file;
  }
}

/**
 * Whether a path names a file that was loaded as `loaded`: links are resolved or not, depending on
 * --preserve-symlinks.
 * @param {string} named
 * @param {string} loaded
 */
function isSame(named, loaded) {
  if (named === loaded) return true;
  return path.basename(named) === path.basename(loaded) && realPath(named) === realPath(loaded);
}

/**
 * Removes a file from process.execArgv, and from Node's own list of preloads.
 * @param {string} file
 */
function forgetPreload(file) {
  const { execArgv } = process;
  // Ours is the last one.
  const place = execArgv.findLastIndex((arg, i) => arg === '-r' && isSame(`${execArgv[i + 1]}`, file));
  if (place !== -1) execArgv.splice(place, 2);

  const known = Object.getOwnPropertyDescriptor(realProcess, '_preload_modules');
  if (!Array.isArray(known?.value)) return;
  // A new array, because Node is iterating over the old one.
  const value = known.value.filter((preload) => !isSame(preload, file));
  Object.defineProperty(realProcess, '_preload_modules', { ...known, value });
}

/**
 * Hides from the app that a child has loaded `preload`, which is reported before the preload itself can
 * prevent it.
 * @param {import('node:child_process').ChildProcess} child
 * @param {string} preload
 */
function hideReport(child, preload) {
  const { emit } = child;
  child.emit = function (/** @type {any[]} */ ...args) {
    const [event, message] = args;
    const files = event === 'message' && message?.['watch:require'];
    const isOurs = Array.isArray(files) && typeof files[0] === 'string' && isSame(files[0], preload);
    return !isOurs && Reflect.apply(emit, this, args);
  };
}

module.exports = { forgetPreload, hideReport };
