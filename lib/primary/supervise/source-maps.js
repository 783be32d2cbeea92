'use strict';

const { Buffer, JSON, Map, Number, RangeError, decodeURIComponent } = require('../../globals');
const fs = require('node:fs');
const { SourceMap } = require('node:module');
const path = require('node:path');
const { fileURLToPath } = require('node:url');

// The stack of a blocked worker comes directly from V8, which knows no source maps. If the worker was started
// with --enable-source-maps, its own stacks are mapped, and so is this one.

/** The largest file in bytes that is read, because the primary must not block for long. */
const LARGEST = 64 << 20;

/** The location in a frame: `at name (file:line:column)` or `at file:line:column`. */
const FRAME = /^(\s*at .*?\(?)((?:file:\/\/)?\/[^()]*?):(\d+):(\d+)(\)?)$/;

/**
 * Whether workers are started with source maps enabled.
 * @param {readonly unknown[]} execArgv
 * @param {NodeJS.ProcessEnv} env
 */
function hasSourceMaps(execArgv, env) {
  const options = [...execArgv, ...(env.NODE_OPTIONS ?? '').split(/\s+/)];
  return options.lastIndexOf('--enable-source-maps') > options.lastIndexOf('--no-enable-source-maps');
}

/**
 * Maps the locations in a stack to the sources, where they are known.
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
    // The map is missing or invalid, as far as the primary can read it. The original stack is more useful
    // than an error about the map.
    return undefined;
  }
}

/** @param {string} file */
function read(file) {
  if (fs.statSync(file).size > LARGEST) throw new RangeError('too large');
  return fs.readFileSync(file, 'utf8');
}

module.exports = { hasSourceMaps, mapStack };
