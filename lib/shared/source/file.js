'use strict';

const { readFile, stat } = require('node:fs/promises');
const { JSON, Promise } = require('../../globals');
const { failure } = require('../errors');
const { loadBinding } = require('../../load-binding');
const { pause } = require('./loop');

/** The largest file, in bytes. */
const MAX_FILE = 2 ** 28;

/** How long, in ms, a file must be unchanged before it is read. */
const QUIET = 20;

/** The maximum number of waits for that. A file that still changes is then read as it is. */
const WAITS = 50;

/** How long, in ms, to wait before retrying to watch a file. */
const RETRY = 5_000;

/**
 * How long, in ms, to wait for a file that has disappeared: editors rename it before they write the new one.
 */
const GAP = 250;

/** A source that reloads a file whenever it changes. */
class FileSource {
  #file;
  #parse;

  /** @type {import('../../../binding').FileWatch | undefined} */
  #watch;

  /** The number of changes reported so far. */
  #changes = 0;

  /** The value of `#changes` when the file was last read. */
  #seen = 0;

  #wasThere = false;

  /** @type {() => void} */
  #wake = () => {};

  /**
   * @param {string} file
   * @param {(text: string) => unknown} parse
   */
  constructor(file, parse) {
    this.#file = file;
    this.#parse = parse;
  }

  /** @param {{ signal: AbortSignal }} facts */
  async load({ signal }) {
    // First, so that any later change is reported.
    this.#watch ??= loadBinding().watchFile(this.#file, (hasFailed) => this.#onChange(hasFailed === 1));
    this.#seen = this.#changes;
    const text = await this.#read(signal);
    this.#wasThere = true;
    return this.#parse(text);
  }

  /** @param {AbortSignal} signal */
  async #read(signal) {
    try {
      return await readText(this.#file);
    } catch (error) {
      const isGone = /** @type {any} */ (error).code === 'ENOENT' && this.#wasThere;
      this.#wasThere = false;
      if (!isGone) throw error;
      await pause(GAP, signal);
      return readText(this.#file);
    }
  }

  /**
   * Waits until the file has changed, and has then been unchanged for a while.
   * @param {AbortSignal} signal
   */
  async wait(signal) {
    if (this.#watch === undefined) return pause(RETRY, signal);
    await new Promise((/** @type {(value: void) => void} */ resolve) => {
      if (this.#changes !== this.#seen || signal.aborted) return resolve();
      this.#wake = resolve;
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    for (let i = 0; i < WAITS && !signal.aborted && this.#changes !== this.#seen; i++) {
      this.#seen = this.#changes;
      await pause(QUIET, signal);
    }
  }

  /** @param {boolean} hasFailed whether the watch has failed and must be opened again */
  #onChange(hasFailed) {
    if (hasFailed) this.close();
    this.#changes += 1;
    this.#wake();
  }

  close() {
    this.#watch?.close();
    this.#watch = undefined;
  }
}

/** @param {string} file */
async function readText(file) {
  // Only regular files: reading a pipe, for example, might never end.
  const { size } = await checked(file);
  if (size > MAX_FILE) throw refused(file, `has more than ${MAX_FILE} bytes`);
  return readFile(file, 'utf8');
}

/** @param {string} file */
async function checked(file) {
  const facts = await stat(file);
  if (!facts.isFile()) throw refused(file, 'is not a regular file');
  return facts;
}

/**
 * @param {string} file
 * @param {string} why
 */
function refused(file, why) {
  return failure('ERR_RCLUSTER_SOURCE', `${JSON.stringify(file)} ${why}`);
}

module.exports = { FileSource };
