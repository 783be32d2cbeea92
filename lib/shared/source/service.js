'use strict';

// A source of a shared store: one process of the cluster loads and writes the changes, and all others receive
// them.

const { JSON, Map, Math, process, wallClock } = require('../../globals');
const builtin = require('../../builtin');
const { described, failure, rebuilt } = require('../errors');
const { membership } = require('../opener');
const { describe } = require('../../text');
const steps = require('../steps');
const { lead } = require('../../locks/lead');
const { loadAgainAndAgain } = require('./loop');

/** The maximum number of attempts to write the changes when other processes write to the same keys. */
const TRIES = 5;

/** The largest number of operations in a batch. */
const MAX_STEPS = 1024;

/**
 * @typedef {import('./plan').Plan} Plan
 * @typedef {import('./items').Items} Items
 * @typedef {import('../steps').Step} Step
 *
 * @typedef {object} Access the functions of the store that a source uses
 * @property {() => string[]} keys
 * @property {(key: string, value: [number, unknown]) => boolean} isSame whether the key has this value
 * @property {(batch: Step[]) => Promise<{ ok: boolean }>} write
 * @property {() => number} revision
 * @property {() => number} maxValue in bytes
 * @property {() => () => void} hold keeps the process alive
 */

/**
 * @typedef {object} Status the state of a source, as all processes see it
 * @property {number} [loadedAt] ms since 1970
 * @property {number} [revision] of the store after the last load
 * @property {number} loads
 * @property {number} failures since the last load
 * @property {number} [failedAt] ms since 1970
 * @property {{ name?: string, message: string, code?: unknown }} [error]
 */

/** @type {any} the store of source states; its name begins with a null byte, so that no application uses it */
let statuses;

function storeOfStatuses() {
  statuses ??= require('../index').shared('\0sources', { size: '4MB' });
  return statuses;
}

class Service {
  #name;
  #plan;
  #access;
  #hasWarned = false;
  #leader;

  /**
   * @param {string} name of the store
   * @param {Plan} plan
   * @param {Access} access
   */
  constructor(name, plan, access) {
    this.#name = name;
    this.#plan = plan;
    this.#access = access;
    // First: if this store cannot be opened, there is no source.
    storeOfStatuses();
    this.#leader = lead(`\0source\0${name}`, ({ signal }) => this.#run(signal), true);
    this.#leader.done.catch((/** @type {unknown} */ error) => this.#warn(error));
  }

  /** @returns {Status} */
  #status() {
    return storeOfStatuses().get(this.#name) ?? { loads: 0, failures: 0 };
  }

  /** The part of `stats()` that is about the source. */
  stats() {
    const { loadedAt, loads, failures, failedAt, error } = this.#status();
    return {
      loadedAt,
      age: loadedAt === undefined ? undefined : Math.max(0, wallClock() - loadedAt),
      loads,
      failures,
      failedAt,
      error: error === undefined ? undefined : rebuilt(error),
      here: this.#leader.leading,
    };
  }

  /** Waits until any process has loaded it for the first time, or this one has left its cluster. */
  async ready() {
    if (this.#status().loadedAt !== undefined) return;
    const signal = membership();
    const release = this.#access.hold();
    try {
      for await (const { type, value } of storeOfStatuses().watch({ key: this.#name, signal })) {
        if (type === 'set' && value.loadedAt !== undefined) return;
      }
    } finally {
      release();
    }
  }

  /**
   * Reports the results of loads from now on.
   * @param {(status: Status) => void} tell
   * @returns {() => void} a function that stops it
   */
  follow(tell) {
    const store = storeOfStatuses();
    const watch = store.watch({ key: this.#name, since: store.revision });
    const run = async () => {
      for await (const { type, value } of watch) {
        if (type === 'set') tell(value);
      }
    };
    void run().catch((error) => {
      // The primary is gone, which the store reports.
      if (error.code !== 'ERR_RCLUSTER_GONE') this.#warn(error);
    });
    return () => void watch.return();
  }

  /** @param {AbortSignal} signal aborted when this process must stop loading, because another one leads */
  async #run(signal) {
    const { load, file } = this.#plan;
    if (load !== undefined) {
      return loadAgainAndAgain({ plan: this.#plan, load, sink: this, signal, delay: this.#delay() });
    }
    const { FileSource } = require('./file');
    const source = new FileSource(/** @type {string} */ (file), this.#plan.parse);
    const read = (/** @type {{ signal: AbortSignal }} */ facts) => source.load(facts);
    try {
      await loadAgainAndAgain({
        plan: this.#plan,
        load: read,
        sink: this,
        signal,
        delay: 0,
        trigger: source,
      });
    } finally {
      source.close();
    }
  }

  /** The time until the next load is due, in ms: another process may have loaded a moment ago. */
  #delay() {
    const { every = 0 } = this.#plan;
    const { loadedAt = 0, failedAt = 0 } = this.#status();
    return Math.min(Math.max(0, Math.max(loadedAt, failedAt) + every - wallClock()), every);
  }

  /**
   * @param {Items} items
   * @param {AbortSignal} signal
   * @returns {Promise<number>} how many keys have changed
   */
  async adopt(items, signal) {
    const changed = new Map();
    for (let i = 0; i < TRIES; i++) {
      const all = this.#differences(items);
      if (all.length === 0) return changed.size;
      let isDone = true;
      for (const batch of this.#batches(all)) {
        // If leadership was lost, another process loads by now.
        signal.throwIfAborted();
        const { ok } = await this.#access.write(batch);
        for (const { key } of ok ? batch : []) changed.set(key, true);
        isDone &&= ok;
      }
      if (isDone) return changed.size;
    }
    const message = 'What has been loaded could not be written: other processes write to the same keys';
    throw failure('ERR_RCLUSTER_SOURCE', message);
  }

  /**
   * @param {Items} items
   * @returns {Step[]}
   */
  #differences(items) {
    const all = [];
    // Deletions come first, to make room for new values.
    for (const key of this.#access.keys()) if (!items.has(key)) all.push(steps.remove(key, undefined));
    for (const [key, value] of items) if (!this.#access.isSame(key, value)) all.push(steps.put(key, value));
    return all;
  }

  /**
   * Splits the steps into as few batches as the store accepts.
   * @param {Step[]} all
   * @yields {Step[]}
   */
  *#batches(all) {
    const limit = this.#access.maxValue();
    /** @type {Step[]} */
    let batch = [];
    let size = 0;
    for (const step of all) {
      const { raw } = step;
      const length = typeof raw === 'string' || raw instanceof Uint8Array ? raw.length : 8;
      // An upper bound: a UTF-16 unit takes at most three bytes in a key, and two in a value.
      const bytes = 128 + 3 * step.key.length + 2 * length;
      if (batch.length === MAX_STEPS || (batch.length > 0 && size + bytes > limit)) {
        yield batch;
        [batch, size] = [[], 0];
      }
      batch.push(step);
      size += bytes;
    }
    if (batch.length > 0) yield batch;
  }

  async onLoaded() {
    const { loads } = this.#status();
    const revision = this.#access.revision();
    await this.#tell({ loadedAt: wallClock(), revision, loads: loads + 1, failures: 0 });
    this.#hasWarned = false;
  }

  /** @param {unknown} error */
  async onFailed(error) {
    const before = this.#status();
    const failures = before.failures + 1;
    await this.#tell({ ...before, failures, failedAt: wallClock(), error: described(error) });
    this.#warn(error);
  }

  /** @param {Status} status */
  async #tell(status) {
    // JSON drops undefined members.
    await storeOfStatuses()
      .set(this.#name, JSON.parse(JSON.stringify(status)))
      .catch((/** @type {any} */ error) => {
        if (error.code !== 'ERR_RCLUSTER_GONE') this.#warn(error);
      });
  }

  /** @param {unknown} error */
  #warn(error) {
    // A worker without its primary is about to end.
    if (this.#hasWarned || (builtin.isWorker && !process.connected)) return;
    this.#hasWarned = true;
    const { file } = this.#plan;
    const source = file === undefined ? 'its source' : `the file ${JSON.stringify(file)}`;
    const message = `The shared store ${JSON.stringify(this.#name)} could not be loaded from ${source}, and is retried: ${describe(error)}`;
    process.emitWarning(message, { code: 'RCLUSTER_SHARED_SOURCE' });
  }
}

/**
 * @param {Status} status
 * @returns {[event: string, argument: any]} the event for listeners
 */
function eventOf(status) {
  if (status.error !== undefined) return ['loadError', rebuilt(status.error)];
  return ['load', { revision: status.revision, loadedAt: status.loadedAt }];
}

module.exports = { Service, eventOf };
