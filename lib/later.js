'use strict';

// Loads the modules of this folder, in two ways that Node's own loader does not have.
//
// First, cheaply. Node's loader resolves each file (links, folders, package.json), which for this many small
// files takes more memory and time in each worker than everything they do. Here their paths are known.
//
// Second, in two steps. Modules that most processes never need, such as those for draining, are read at the
// start and run on first use. Reading them only then would be too late: a release may be removed, or updated
// in place, while its processes run, and the remaining ones drain at that very moment.

const { readFileSync, readdirSync } = require('node:fs');
const path = require('node:path');

/** The prototype of Node's modules. (Requiring node:module would load everything that ES modules need.) */
const PROTOTYPE = module.constructor.prototype;

/** This folder, with a trailing slash. A bundle of ES modules has no __dirname. */
const FOLDER = typeof __dirname === 'string' ? path.join(__dirname, '/') : '';

const PARAMETERS = ['exports', 'require', 'module', '__filename', '__dirname'];

/** @type {{ [file: string]: Buffer | string | undefined }} the text of modules that have not been used yet */
const texts = /** @type {any} */ ({ __proto__: null });

/** @param {string} name Relative to this folder; of a module without its extension. */
function fileOf(name) {
  return `${FOLDER}${name.endsWith('.json') ? name : `${name}.js`}`;
}

/**
 * Reads modules for later use.
 *
 * @param {readonly string[]} names relative to this folder, without the extension
 */
function keep(names) {
  for (const name of names) {
    const file = fileOf(name);
    if (require.cache[file] !== undefined) continue;
    texts[file] = read(file);
    // Only Node's loader can find it, in an archive for example, so it is loaded at once.
    if (texts[file] === undefined) require(file);
  }
}

/**
 * Reads all modules of folders for later use. Where a folder cannot be listed, Node's loader finds its modules.
 *
 * @param {readonly string[]} folders relative to this one
 */
function keepFolders(folders) {
  for (const folder of folders) {
    for (const file of list(`${FOLDER}${folder}`)) {
      if (file.endsWith('.js')) keep([`${folder}/${file.slice(0, -3)}`]);
    }
  }
}

/** @param {string} folder @returns {string[]} */
function list(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** @param {string} file @returns {Buffer | undefined} */
function read(file) {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

/**
 * Returns a function that gives the exports of a module, and runs it when first called.
 *
 * @param {string} name relative to this folder, without the extension
 * @returns {() => any}
 */
function later(name) {
  /** @type {any} */
  let exports;
  return () => (exports ??= load(name));
}

/**
 * @param {string} name relative to this folder, without the extension
 * @returns {any} the exports of the module
 */
function load(name) {
  const file = fileOf(name);
  const known = require.cache[file];
  if (known !== undefined) return known.exports;
  const text = texts[file] ?? read(file);
  delete texts[file];
  return text === undefined ? require(`${FOLDER}${name}`) : run(name, file, `${text}`);
}

/** @type {typeof import('node:vm').compileFunction | undefined} */
let compile;

/**
 * @param {string} name
 * @param {string} file
 * @param {string} text
 */
function run(name, file, text) {
  // Built by hand instead of by the constructor, which uses functions of `path` that an app may have
  // replaced.
  const made = /** @type {NodeJS.Module} */ (
    /** @type {unknown} */ ({
      __proto__: PROTOTYPE,
      id: file,
      path: file.slice(0, file.lastIndexOf('/')),
      filename: file,
      exports: {},
      loaded: false,
      children: [],
      paths: [],
    })
  );
  // So that require() gives the same module.
  require.cache[file] = made;
  try {
    fill(made, name, text);
  } catch (error) {
    // As Node's loader does: the next use must not get what there is of it so far.
    delete require.cache[file];
    texts[file] = text;
    throw error;
  }
  made.loaded = true;
  return made.exports;
}

/**
 * @param {NodeJS.Module} made
 * @param {string} name
 * @param {string} text
 */
function fill(made, name, text) {
  const { filename: file, path: place } = made;
  if (name.endsWith('.json')) {
    made.exports = load('globals').JSON.parse(text);
  } else {
    compile ??= require('node:vm').compileFunction;
    const folder = name.slice(0, name.lastIndexOf('/') + 1);
    const body = /** @type {Function} */ (compile(text, PARAMETERS, { filename: file }));
    const requireFrom = (/** @type {string} */ request) =>
      request.startsWith('.') ? load(nameOf(folder, request)) : require(request);
    requireFrom.cache = require.cache;
    body(made.exports, requireFrom, made, file, place);
  }
}

/**
 * @param {string} folder relative to this one, empty or with a slash at its end
 * @param {string} request the argument of require() in a module of that folder
 */
function nameOf(folder, request) {
  let from = folder;
  let rest = request;
  if (rest.startsWith('./')) rest = rest.slice(2);
  while (rest.startsWith('../')) {
    rest = rest.slice(3);
    from = from.slice(0, from.lastIndexOf('/', from.length - 2) + 1);
  }
  return from + rest;
}

module.exports = { keep, keepFolders, later, load };
