'use strict';

const { Map, Math, Object, Set, clearTimeout, monotonic, setTimeout } = require('../../globals');
const { writeLine } = require('../../stderr');

// The lines that a supervised cluster writes to stderr: one for each failure and its consequence, composed
// only of the facts of the events.

/**
 * @typedef {import('../../../index').SupervisorLogEvent} LogEvent
 * @typedef {Record<string, any>} Facts
 * @typedef {{ level: 'warn' | 'info', text: string }} Line
 */

/**
 * The period in ms in which equal failures are summarized: the first one is written at once, the others are
 * counted.
 */
const SUMMARY = 10_000;

const LEVELS = ['warn', 'info'];

/** @param {Facts} facts */
function subject({ worker, pid, slot }) {
  const place = slot === null || slot === undefined ? 'standby' : `slot ${slot}`;
  if (worker === null || worker === undefined) return `worker (${place})`;
  return `worker ${worker} (${pid === undefined ? '' : `pid ${pid}, `}${place})`;
}

/** @param {number | null} slot */
function place(slot) {
  return slot === null ? 'the standbys' : `slot ${slot}`;
}

/** @param {number} ms */
function time(ms) {
  return ms < 1000 ? `${ms} ms` : `${Math.round(ms / 100) / 10} s`;
}

/** As the command line takes it. @param {number} bytes */
function megabytes(bytes) {
  return `${Math.round(bytes / 2 ** 18) / 4}M`;
}

/**
 * @param {number} count
 * @param {string} noun its plural has an s
 */
function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** @param {Facts} facts about a worker that has ended */
function reasonOf({ reason, error }) {
  return error ? `${reason}: ${error}` : reason;
}

/** @param {Facts} facts */
function next({ delay }) {
  return delay > 0 ? `the next one starts in ${time(delay)}` : 'it is replaced at once';
}

/** @param {Facts} facts of 'gave-up' */
function why({ scope, restarts, period }) {
  if (scope === 'start-up') {
    return `no worker has ever been ready, after ${counted(restarts, 'restart')} in ${time(period)}`;
  }
  return `${counted(restarts, 'restart')} in ${time(period)}${scope === 'total' ? ' of all slots' : ''}`;
}

/** @param {Record<string, number> | undefined} resources */
function held(resources) {
  const list = Object.entries(resources ?? {}).map(([name, count]) => `${count} ${name}`);
  return list.length === 0 ? '' : `, held by ${list.join(', ')}`;
}

/**
 * The reasons to retire that are failures. Without a prototype, because a reason can also be any text of the app.
 * @type {Record<string, string | undefined>}
 */
const THROWN = /** @type {any} */ ({
  __proto__: null,
  uncaughtException: 'an uncaught exception',
  unhandledRejection: 'an unhandled rejection',
});

/** The worker has printed the stack. @param {Facts} facts of 'retire' */
function summaryOfThrown({ detail }) {
  const [line] = `${detail}`.split('\n', 1);
  return line;
}

/** Which limit a worker has reached, by the cause of 'recycle'. */
const EXCESS = {
  memory: (/** @type {Facts} */ { value, limit }) =>
    `it uses ${megabytes(value)} of memory, and its limit, with jitter, is ${megabytes(limit)}`,
  age: (/** @type {Facts} */ { value }) => `it is ${time(value)} old`,
  connections: (/** @type {Facts} */ { value }) => `it has received ${counted(value, 'connection')}`,
};

/** @type {Record<string, (facts: Facts) => Line>} */
const LINES = {
  spawn: (facts) => info(`${subject(facts)} is started: ${facts.cause}`),
  ready: (facts) => info(`${subject(facts)} is ready after ${time(facts.bootMs)}`),
  restart: (facts) => {
    const what = facts.phase === 'start-up' ? 'failed to start' : 'failed';
    const limit = facts.startUpLimit
      ? `; if no worker becomes ready within ${time(facts.startUpLimit)}, rcluster gives up`
      : '';
    return warn(`${subject(facts)} ${what}: ${facts.reason}; ${next(facts)}${limit}`);
  },
  backoff: ({ slot, delay, failures }) =>
    warn(`${place(slot)} waits ${time(delay)} for its next worker, after ${counted(failures, 'failure')}`),
  'gave-up': (facts) =>
    warn(
      `gave up on ${place(facts.slot)}: ${why(facts)}; the last failure was that of ${subject(facts)}: ${reasonOf(facts)}`,
    ),
  stopped: (facts) =>
    (facts.code === 0 ? info : warn)(`${subject(facts)} is not replaced: ${reasonOf(facts)}`),
  retire: (facts) => {
    const thrown = THROWN[facts.reason];
    if (thrown === undefined) {
      return info(`${subject(facts)} retires: ${facts.reason}${facts.detail && `\n${facts.detail}`}`);
    }
    return warn(`${subject(facts)} retires because of ${thrown}: ${summaryOfThrown(facts)}`);
  },
  'drain-timeout': (facts) => {
    const open = facts.connections === null ? '' : `, with ${counted(facts.connections, 'connection')} open`;
    return warn(`${subject(facts)} has not drained in time and is ended${open}${held(facts.resources)}`);
  },
  drained: (facts) => info(`${subject(facts)} has drained${held(facts.resources)}`),
  unresponsive: (facts) => {
    const stack = facts.stack ? `:\n${facts.stack}` : '';
    return warn(
      `${subject(facts)} has been unresponsive for ${time(facts.blockedFor)} and is replaced${stack}`,
    );
  },
  recycle: (facts) => {
    const text = `${subject(facts)} is recycled: ${EXCESS[/** @type {keyof typeof EXCESS} */ (facts.cause)](facts)}`;
    // Often the sign of a leak, whereas the other limits are reached in any healthy cluster.
    return facts.cause === 'memory' ? warn(text) : info(text);
  },
  reload: ({ phase, slots, tookMs, reason, reloaded }) => {
    if (phase === 'start') return info(`a reload of ${counted(slots, 'worker')} begins`);
    if (phase === 'done') return info(`the reload is done, after ${time(tookMs)}`);
    return warn(
      `the reload has failed after ${counted(reloaded, 'worker')}: ${reason}; the others stay as they were`,
    );
  },
  follow: ({ cpus, workers }) =>
    info(
      `there ${cpus === 1 ? 'is' : 'are'} ${counted(cpus, 'CPU')} to use: the cluster has ${counted(workers, 'slot')} now`,
    ),
  promote: (facts) => info(`${subject(facts)} takes over, a standby until now`),
  stopping: ({ signal, delay }) => info(`stops in ${time(delay)}${signal ? ` because of ${signal}` : ''}`),
  shutdown: (facts) => {
    const { gaveUp, signal, exitCode } = facts;
    if (gaveUp) {
      return warn(
        `gave up, and the primary exits with code ${exitCode}; the last failure: ${reasonOf(facts)}`,
      );
    }
    return info(`shuts down${signal ? ` because of ${signal}` : ''}`);
  },
};

/** @param {string} text @returns {Line} */
function warn(text) {
  return { level: 'warn', text };
}

/** @param {string} text @returns {Line} */
function info(text) {
  return { level: 'info', text };
}

/**
 * Equal failures: the first one has been written, and the further ones are counted.
 * @typedef {{ count: number, since: number, slots: Set<number | null>, facts: Facts }} Group
 */

class Log {
  #level;
  #write;
  #now;
  /** @type {Map<string, Group>} */
  #groups = new Map();
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** @type {Facts | undefined} the last restart, whose line already includes the wait that follows */
  #restart;
  /** @type {Facts | undefined} the last end of a worker that was not replaced */
  #lost;
  /** Whether the cluster is shutting down, so that no worker is replaced. */
  #isEnding = false;
  /** In ms: how long a program that has never started is tried; 0 for ever, or if that has been said. */
  #startUpLimit;

  /**
   * @param {false | 'warn' | 'info' | ((event: LogEvent) => void)} option
   * @param {(line: string) => void} write
   * @param {() => number} now in ms
   * @param {number} startUpLimit in ms
   */
  constructor(option, write = writeLine, now = () => monotonic(), startUpLimit = 0) {
    this.#level = option;
    this.#startUpLimit = startUpLimit;
    this.#write = write;
    this.#now = now;
  }

  /**
   * @param {string} name of the event
   * @param {Facts} facts
   */
  on(name, facts) {
    if (this.#level === false) return;
    const line = LINES[name]?.({ ...facts, ...this.#context(name, facts) });
    if (line === undefined) return;
    if (typeof this.#level === 'function') {
      this.#level(/** @type {LogEvent} */ ({ name, level: line.level, message: line.text, facts }));
      return;
    }
    const isTold =
      name === 'backoff' && this.#restart?.slot === facts.slot && this.#restart?.delay === facts.delay;
    this.#restart = name === 'restart' ? facts : undefined;
    if (isTold || LEVELS.indexOf(line.level) > LEVELS.indexOf(this.#level)) return;
    if (name === 'restart' || name === 'backoff') {
      this.#onRepeatable(`${name} ${facts.phase} ${facts.reason}`, line.text, facts);
      return;
    }
    if (name === 'retire' && line.level === 'warn') {
      const what = summaryOfThrown(facts);
      this.#onRepeatable(`${name} ${facts.reason} ${what}`, line.text, { slot: facts.slot, reason: what });
      return;
    }
    // The counts so far are written first.
    if (line.level === 'warn') this.flush();
    this.#print(line.text);
  }

  /**
   * Facts of earlier events that belong into the line.
   * @param {string} name of the event
   * @param {Facts} facts
   */
  #context(name, facts) {
    if (name === 'ready') this.#startUpLimit = 0;
    if (name === 'shutdown') this.#isEnding = true;
    if (name === 'gave-up' || name === 'stopped') this.#lost = facts;
    if (name === 'shutdown' && facts.reason === this.#lost?.reason) return { error: this.#lost?.error };
    if (name !== 'restart' || facts.phase !== 'start-up' || this.#startUpLimit === 0) return {};
    const startUpLimit = this.#startUpLimit;
    this.#startUpLimit = 0;
    return { startUpLimit };
  }

  /** Writes the counts of repeated failures. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [key, group] of this.#groups) {
      if (group.count === 0) {
        this.#groups.delete(key);
        continue;
      }
      this.#print(summary(group, this.#now(), !this.#isEnding));
      group.count = 0;
      group.since = this.#now();
      group.slots.clear();
    }
    if (this.#groups.size > 0) this.#timer = setTimeout(() => this.flush(), SUMMARY).unref();
  }

  /** The cluster has ended: nothing more will be counted. */
  end() {
    this.flush();
    clearTimeout(this.#timer);
  }

  /**
   * @param {string} key
   * @param {string} text
   * @param {Facts} facts
   */
  #onRepeatable(key, text, facts) {
    const group = this.#groups.get(key);
    if (group !== undefined) {
      group.count++;
      group.slots.add(facts.slot);
      group.facts = facts;
      return;
    }
    this.#groups.set(key, { count: 0, since: this.#now(), slots: new Set(), facts });
    this.#timer ??= setTimeout(() => this.flush(), SUMMARY).unref();
    this.#print(text);
  }

  /** @param {string} text */
  #print(text) {
    this.#write(`rcluster: ${text}`);
  }
}

/**
 * @param {Group} group
 * @param {number} now in ms
 * @param {boolean} isReplaced whether further workers are started
 */
function summary({ count, since, slots, facts }, now, isReplaced) {
  const where = slots.size === 1 ? place([...slots][0]) : `${slots.size} slots`;
  const what = counted(count, facts.reason === undefined ? 'more such wait' : 'more such failure');
  const reason = facts.reason === undefined ? '' : ` (${facts.reason})`;
  const then = isReplaced && facts.delay !== undefined ? `; ${next(facts)}` : '';
  return `${what}${reason} of ${where} in ${time(Math.round(now - since))}${then}`;
}

module.exports = { Log };
