'use strict';

// Node's options in process.execArgv and NODE_OPTIONS, and the preloads among them.

const { Math, Set, String, process } = require('../globals');
const fs = require('node:fs');
const path = require('node:path');
const { fileURLToPath, pathToFileURL } = require('node:url');

const ROOT = path.join(__dirname, '..', '..');

/** The preload of apps. */
const REGISTER = path.join(ROOT, 'register.js');
const REGISTER_NAME = 'rcluster/register';

/** Other names of it, from the options of this process. A name may be a link that now leads elsewhere. */
const otherNames = new Set();

/**
 * An option that names a file to preload: `count` arguments from `start` on.
 * @typedef {{ start: number, count: number, option: string, file: string }} Preload
 *
 * A token of NODE_OPTIONS, with the text that Node reads from it.
 * @typedef {{ start: number, end: number, text: string }} Token
 */

/**
 * @param {readonly string[]} options
 * @returns {Preload[]}
 */
function preloadsAmong(options) {
  /** @type {Preload[]} */
  const found = [];
  for (let start = 0; start < options.length; start++) {
    const text = String(options[start]);
    if (text === '--') break;
    const joined = /^(--require|--import)=(.*)$/s.exec(text);
    if (joined !== null) {
      found.push({ start, count: 1, option: joined[1], file: joined[2] });
    } else if (['-r', '--require', '--import'].includes(text) && start + 1 < options.length) {
      found.push({ start, count: 2, option: text, file: String(options[start + 1]) });
      start++;
    }
  }
  return found;
}

/**
 * Splits NODE_OPTIONS as Node does: at spaces outside double quotes; inside them a backslash escapes.
 * @param {string} text
 * @returns {Token[]}
 */
function tokensOf(text) {
  /** @type {Token[]} */
  const tokens = [];
  /** @type {Token | undefined} */
  let token;
  let quoted = false;
  for (let index = 0; index < text.length; index++) {
    let char = text[index];
    if (char === ' ' && !quoted) {
      token = undefined;
      continue;
    }
    if (token === undefined) {
      token = { start: index, end: index, text: '' };
      tokens.push(token);
    }
    if (char === '"') {
      quoted = !quoted;
    } else {
      if (char === '\\' && quoted) char = text[++index] ?? '';
      token.text += char;
    }
    token.end = Math.min(index + 1, text.length);
  }
  return tokens;
}

/** @param {string} text one option */
function quote(text) {
  return /[ "\\]/.test(text) ? `"${text.replaceAll(/["\\]/g, '\\$&')}"` : text;
}

/** @param {string} file */
function realPath(file) {
  try {
    return fs.realpathSync(file);
  } catch {
    // A file that does not exist is not ours.
    return undefined;
  }
}

/** @param {string} file as a preload names it */
function toPath(file) {
  if (!file.startsWith('file:')) return path.resolve(file);
  try {
    return fileURLToPath(file);
  } catch {
    return file;
  }
}

/** @param {string} file as a preload names it */
function isRegister(file) {
  if (file === REGISTER_NAME || file === REGISTER || otherNames.has(file)) return true;
  // Most preloads are something else, and need no file access.
  if (!file.includes('register')) return false;
  const real = realPath(toPath(file));
  return real !== undefined && real === realPath(REGISTER);
}

/**
 * Whether a preload is resolved from the working directory.
 * @param {string} file
 */
function isRelative(file) {
  return !path.isAbsolute(file) && !file.startsWith('file:');
}

/**
 * Our preload for apps, named so that it is found from any directory.
 * @param {Preload} preload
 * @returns {string[]}
 */
function anywhere({ option, count, file }) {
  const target = option === '--import' ? pathToFileURL(REGISTER).href : REGISTER;
  const named = isRelative(file) ? target : file;
  return count === 1 ? [`${option}=${named}`] : [option, named];
}

/**
 * Replaces our preload for apps wherever it occurs.
 * @param {readonly string[]} options
 * @param {(preload: Preload) => string[]} replace
 * @returns {string[]}
 */
function replaceRegister(options, replace) {
  const result = [...options];
  for (const preload of preloadsAmong(options).toReversed()) {
    if (isRegister(preload.file)) result.splice(preload.start, preload.count, ...replace(preload));
  }
  return result;
}

/**
 * The same in NODE_OPTIONS. The rest keeps its spelling.
 * @param {string} text
 * @param {(preload: Preload) => string[]} replace
 * @returns {string}
 */
function replaceRegisterInText(text, replace) {
  const tokens = tokensOf(text);
  let result = text;
  for (const preload of preloadsAmong(tokens.map((token) => token.text)).toReversed()) {
    if (!isRegister(preload.file)) continue;
    const { start } = tokens[preload.start];
    const { end } = tokens[preload.start + preload.count - 1];
    const put = replace(preload).map(quote).join(' ');
    result = `${result.slice(0, start)}${put}${result.slice(end)}`;
  }
  return result === text ? text : result.trim();
}

/**
 * Makes this process's options name our preload so that it is found from any directory, because processes
 * started in other directories inherit the options. Must be called when the preload is loaded, because
 * relative names refer to the directory that this process was started in.
 */
function nameRegisterAnywhere() {
  const { NODE_OPTIONS } = process.env;
  const inText = tokensOf(NODE_OPTIONS ?? '').map(({ text }) => text);
  for (const { file } of [...preloadsAmong(process.execArgv), ...preloadsAmong(inText)]) {
    // Also under another name that the package may be installed as.
    if (isRegister(file) || (file.includes('register') && resolvesToRegister(file))) otherNames.add(file);
  }
  process.execArgv.splice(0, Infinity, ...replaceRegister(process.execArgv, anywhere));
  if (NODE_OPTIONS !== undefined) {
    const changed = replaceRegisterInText(NODE_OPTIONS, anywhere);
    if (changed !== NODE_OPTIONS) process.env.NODE_OPTIONS = changed;
  }
}

/** @param {string} name */
function resolvesToRegister(name) {
  if (path.isAbsolute(name) || name.startsWith('file:')) return false;
  try {
    const { createRequire } = require('node:module');
    return createRequire(path.join(process.cwd(), 'x')).resolve(name) === realPath(REGISTER);
  } catch {
    // Node has found it in another way, so it is not ours.
    return false;
  }
}

/**
 * Our preload for apps, as a process's own child processes should see it: nothing, once its file is gone.
 * @param {Preload} preload
 */
function stillThere(preload) {
  const named = anywhere(preload);
  const { file } = /** @type {Preload} */ (preloadsAmong(named)[0]);
  return fs.existsSync(toPath(file)) ? named : [];
}

const none = () => [];

/**
 * The options that a worker is started with, so that it loads our preload after those of the app and nothing
 * unnecessary; and the options that its own child processes inherit instead, where they differ.
 * @param {readonly string[]} options Those of the app, for this worker.
 * @param {string | undefined} text NODE_OPTIONS.
 * @param {string} preload
 * @param {boolean} inText Whether the program takes options only from NODE_OPTIONS.
 */
function workerOptions(options, text, preload, inText) {
  // The worker's preload replaces the one for apps, whose name may not resolve from the worker's directory,
  // and whose file may be gone.
  const kept = replaceRegister(options, none);
  const end = kept.indexOf('--');
  if (!inText) kept.splice(end === -1 ? kept.length : end, 0, '-r', preload);
  let keptText = text === undefined ? undefined : replaceRegisterInText(text, none);
  if (inText) keptText = `${keptText ?? ''} --require ${quote(preload)}`.trim();

  const shown = replaceRegister(options, stillThere);
  const shownText = text === undefined ? undefined : replaceRegisterInText(text, stillThere);
  const restore = {
    execArgv: shown.length === kept.length - (inText ? 0 : 2) ? undefined : shown,
    NODE_OPTIONS: shownText === keptText ? undefined : (shownText ?? null),
  };
  const isPlain = restore.execArgv === undefined && restore.NODE_OPTIONS === undefined;
  return { options: kept, text: keptText, restore: isPlain ? undefined : restore };
}

module.exports = { nameRegisterAnywhere, preloadsAmong, workerOptions };
