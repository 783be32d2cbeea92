'use strict';

const { Buffer, JSON, Map, Number, RangeError, decodeURIComponent } = require('../../globals');
const fs = require('node:fs');
const { SourceMap } = require('node:module');
const path = require('node:path');
const { fileURLToPath } = require('node:url');

// The stack of a worker that hangs comes from V8 itself, which knows nothing of source maps. Where the worker was started
// with --enable-source-maps its own stacks go through them, and so does this one.

/** Larger files are left as they are: the primary has other things to do. */
const LARGEST = 64 << 20;

/** The place in a frame: `at name (file:line:column)` or `at file:line:column`. */
const FRAME = /^(\s*at .*?\(?)((?:file:\/\/)?\/[^()]*?):(\d+):(\d+)(\)?)$/;

/**
 * Whether workers are started with source maps on.
 * @param {readonly unknown[]} execArgv
 * @param {NodeJS.ProcessEnv} env
 */
function hasSourceMaps(execArgv, env) {
  const options = [...execArgv, ...(env.NODE_OPTIONS ?? '').split(/\s+/)];
  return options.lastIndexOf('--enable-source-maps') > options.lastIndexOf('--no-enable-source-maps');
}

/**
 * The stack with the places of the source, where they are known.
 * @param {string} stack
 * @returns {string}
 */
function mapStack(stack) {
  /** @type {Map<string, { map: SourceMap, base: string } | undefined>} */
  const maps = new Map();
  return stack
    .split('\n')
    .map((line) => {
      const match = FRAME.exec(line);
      if (match === null) return line;
      const [, start, place, row, column, end] = match;
      const file = place.startsWith('file:') ? fileURLToPath(place) : place;
      if (!maps.has(file)) maps.set(file, readMap(file));
      const known = maps.get(file);
      if (known === undefined) return line;
      const entry = known.map.findEntry(Number(row) - 1, Number(column) - 1);
      if (!('originalSource' in entry) || typeof entry.originalSource !== 'string') return line;
      const source = entry.originalSource;
      const original = source.startsWith('file:') ? fileURLToPath(source) : path.resolve(known.base, source);
      return `${start}${original}:${entry.originalLine + 1}:${entry.originalColumn + 1}${end}`;
    })
    .join('\n');
}

/**
 * @param {string} file
 * @returns {{ map: SourceMap, base: string } | undefined}
 */
function readMap(file) {
  try {
    const text = read(file);
    const url = [...text.matchAll(/^\/\/[#@] sourceMappingURL=(\S+)\s*$/gm)].at(-1)?.[1];
    if (url === undefined) return undefined;
    const data = /^data:application\/json[^,]*?(;base64)?,(.*)$/s.exec(url);
    const where = path.resolve(path.dirname(file), data === null ? decodeURIComponent(url) : '');
    const json =
      data === null
        ? read(where)
        : data[1] === undefined
          ? decodeURIComponent(data[2])
          : Buffer.from(data[2], 'base64').toString();
    const payload = JSON.parse(json);
    const base = data === null ? path.dirname(where) : where;
    return { map: new SourceMap(payload), base };
  } catch {
    // The map is missing or broken, as far as the primary can see. The stack as it is says more than an error about it.
    return undefined;
  }
}

/** @param {string} file */
function read(file) {
  if (fs.statSync(file).size > LARGEST) throw new RangeError('too large');
  return fs.readFileSync(file, 'utf8');
}

module.exports = { hasSourceMaps, mapStack };
