'use strict';

// The outcome of each client, and its cause. An outcome that no fault explains is unaccounted for.

const fs = require('node:fs');
const path = require('node:path');

/**
 * - `answered`: it received everything; a silent client left by itself, an idle one was notified before.
 * - `hands`: broken, and the worker that had it last was killed before.
 * - `way`: broken when a worker was killed, and no worker had it, or none any more: the killed one may have been about to accept it.
 * - `drained`: broken, and the worker that had it last had not finished within its drain timeout; or no worker had it yet, for
 *   clients at the worker's own address.
 * - `unfit`: broken while a worker that accepts by itself had no descriptors. In that state Node closes connections that it cannot accept.
 * - `idle`: a draining worker that accepts by itself closed it before, or between, two requests.
 * - `late`: there was no room for it in a backlog that overflowed, and its retries came too late. Or it considered itself
 *   connected: the system answers more clients than it has room for, and may never accept them, or resets them when it has
 *   repeated its answer often enough. The kernel counts each time that it had no room (`ListenOverflows`); more clients
 *   than that are not explained. Only TCP has this:
 *   at a unix socket whose backlog is full connect() fails, so the client knows.
 * - `shed`: shed, as the app had configured.
 * - `refused`: no process listened.
 * @typedef {'answered' | 'hands' | 'way' | 'drained' | 'unfit' | 'idle' | 'late' | 'shed' | 'refused' | 'unaccounted'} Fate
 * @typedef {{ fault: string, from: number, to: number, pid?: number }} Window
 * @typedef {{ pid: number, at: number }} Death
 * @typedef {{ pid: number, at: number, asked: boolean }} Holder since when, and whether it sent a request
 * @typedef {{ id: number, number: number, by: { pid: number, at: number }[] }} Repeated a client's request that workers have
 *   executed more than once; no client sends one twice
 * @typedef {object} Evidence
 * @property {Death[]} killed workers that were killed, and when
 * @property {Death[]} overdue workers that had not finished when their time to drain was over
 * @property {Window[]} windows in which something was wrong
 * @property {Map<number, Holder>} last the last worker of each client
 * @property {number} primary its pid
 * @property {number} lateness how long the machine kept this process from running, in ms
 * @property {boolean} forward whether workers have addresses of their own
 * @property {boolean} passing whether the primary accepts, and passes connections
 */

/** @type {Fate[]} */
const FATES = [
  'answered',
  'hands',
  'way',
  'drained',
  'unfit',
  'idle',
  'late',
  'shed',
  'refused',
  'unaccounted',
];

/** The maximum number of connections in flight to a worker. */
const WINDOW = 64;

/** How long, in ms, an overdue worker has to end by itself: `killTimeout`. */
const KILL = 2_000;

/** How long, in ms, after the overflow the system retries for clients that arrived meanwhile. */
const RETRIES = 8_000;

/**
 * After this time, the system drops a client that it has answered and has no room for, and resets it when
 * that client sends data: two repetitions, after 1 and after 2 s, and 4 s of waiting. In ms.
 */
const SYN_ACKS = 1_000 + 2_000 + 4_000;

/**
 * How long it may take until the end of a process reaches a client, if this process gets the CPU that it needs. In ms.
 */
const NEWS = 500;

/**
 * @param {import('./clients').Record} record
 * @param {Evidence} evidence
 * @returns {Fate}
 */
function fateOf(record, { killed, overdue, windows, last, primary, lateness, forward, passing }) {
  const news = NEWS + lateness;
  if (record.complete && record.error === null) return 'answered';
  if (record.shed) return 'shed';
  if (record.error === 'ECONNREFUSED') return 'refused';
  const within = (/** @type {string} */ fault, /** @type {number} */ slack) =>
    windows.some((it) => it.fault === fault && it.from <= record.endedAt && record.openedAt <= it.to + slack);
  const { endedAt, openedAt, connectedAt } = record;
  const held = last.get(record.id);
  const isForgotten =
    record.error === 'ECONNRESET' &&
    held === undefined &&
    connectedAt !== null &&
    // This process may have detected late that it was connected.
    endedAt - connectedAt >= SYN_ACKS - news &&
    windows.some((it) => it.fault === 'backlog' && it.from <= connectedAt && connectedAt <= it.to + RETRIES);
  if (connectedAt === null || record.error === 'hung' || (isForgotten && record.crowd)) {
    // Some are accepted just when they give up, or before their data is retransmitted.
    const isHeard = held?.asked && held.at < endedAt - news;
    return record.crowd && !isHeard && within('backlog', RETRIES) ? 'late' : 'unaccounted';
  }
  const dead = (/** @type {Death[]} */ deaths) =>
    held !== undefined && deaths.some(({ pid, at }) => pid === held.pid && at <= endedAt);
  const unheard = (/** @type {Death} */ { at }) =>
    openedAt <= at && at <= endedAt && endedAt <= at + KILL + news;
  if (dead(overdue) || (forward && held === undefined && overdue.some(unheard))) return 'drained';
  if (dead(killed)) return 'hands';
  const isIdle = ['kept', 'silent'].includes(record.kind) && record.error === 'ended';
  if (!passing && isIdle && within('reload', news)) return 'idle';
  const unfit = (/** @type {Window} */ it) =>
    it.fault === 'descriptors' && it.pid !== primary && it.from <= endedAt && endedAt <= it.to + news;
  if (!passing && held === undefined && windows.some(unfit)) return 'unfit';
  // A blocked primary does not report ends of connections either.
  const stood = windows
    .filter((it) => it.fault === 'stop' && it.pid === primary && it.from <= endedAt)
    .filter((it) => it.to + news >= endedAt)
    .reduce((sum, it) => sum + it.to - it.from, 0);
  // A killed process may still be given a connection until it has ended.
  const onTheWay = windows.some(
    ({ fault, from, to }) =>
      fault === 'kill' && openedAt <= to && from <= endedAt && endedAt <= to + news + stood,
  );
  return onTheWay && held === undefined ? 'way' : 'unaccounted';
}

/**
 * @param {import('./clients').Record[]} records
 * @param {Omit<Evidence, 'last'> & { directory: string, overflowed: import('./network').Backlogs }} evidence with the
 *   directory that has the workers' notes, and what the kernel has counted in the run
 */
function account(records, evidence) {
  const { last, seen, notes, nameless, repeated } = readNotes(evidence.directory, records);
  const proved = Math.min(evidence.overflowed.overflows, evidence.overflowed.drops);
  let late = 0;
  const fates = records.map((record) => {
    const fate = fateOf(record, { ...evidence, last });
    return fate === 'late' && ++late > proved ? 'unaccounted' : fate;
  });
  const count = (/** @type {(record: import('./clients').Record) => boolean} */ wanted) =>
    Object.fromEntries(
      FATES.map((fate) => [fate, records.filter((it, at) => fates[at] === fate && wanted(it)).length]),
    );
  const faults = [...new Set(evidence.windows.map(({ fault }) => fault))].sort();
  const meanwhile = (/** @type {import('./clients').Record} */ it, /** @type {Window[]} */ windows) =>
    windows.some(({ from, to }) => from <= it.endedAt && it.openedAt <= to);
  return {
    total: count(() => true),
    /** Clients that were open while a fault was in effect; a client may count for several faults. */
    byFault: Object.fromEntries(
      faults.map((fault) => {
        const windows = evidence.windows.filter((it) => it.fault === fault);
        const totals = count((it) => meanwhile(it, windows));
        return [fault, { times: windows.length, ...totals }];
      }),
    ),
    /** Requests that were executed more than once. */
    repeated,
    /** The number of clients for which a backlog seems to have had no room, and the kernel's count. */
    backlogs: { late, ...evidence.overflowed },
    unaccounted: records.filter((_, at) => ['unaccounted', 'refused'].includes(fates[at])),
    /**
     * The minimum number of clients that the primary must have accepted at its first and at its second
     * address, and the maximum: some that the system accepted after they had given up left no record, or were
     * in flight to a killed worker. With forwarding, no client leaves a record before its request.
     */
    accepted: [false, true].map((crowd) => {
      const least = records.filter(
        (it, at) => it.crowd === crowd && (fates[at] !== 'late' || seen.has(it.id)),
      );
      const late = records.filter((it, at) => it.crowd === crowd && fates[at] === 'late');
      const unseen = late.filter((it) => !seen.has(it.id)).length;
      const passed = late.length > 0 ? nameless + evidence.killed.length * WINDOW : 0;
      const slack = evidence.forward ? unseen : passed;
      return { least: least.length, most: least.length + slack };
    }),
    /** The kinds of clients that were not served, by fate. */
    sorts: FATES.slice(1).flatMap((fate) => {
      const sorts = records
        .filter((_, at) => fates[at] === fate)
        .map(({ kind, crowd }) => (crowd ? 'crowd' : kind));
      const counts = [...new Set(sorts)].map((sort) => `${sort} ${sorts.filter((it) => it === sort).length}`);
      return sorts.length > 0 ? [`${fate}: ${counts.join(', ')}`] : [];
    }),
    notesOf: (/** @type {import('./clients').Record} */ record) => notes.get(record.id) ?? [],
  };
}

/**
 * @param {string} directory
 * @param {import('./clients').Record[]} records
 */
function readNotes(directory, records) {
  const byAddress = new Map(records.map(({ address, id }) => [address, id]));
  /** @type {Map<number, Holder>} */
  const last = new Map();
  /** Every worker that has had a client, once for each of its notes. @type {Map<number, Holder[]>} */
  const holders = new Map();
  /**
   * The number of connections that each worker accepted without learning their addresses. @type {Map<number,
   * number>}
   */
  const namelessBy = new Map();
  /** The clients that ever reached a worker. @type {Set<number>} */
  const seen = new Set();
  /** What workers have noted of each client. @type {Map<number, { pid: number, at: number, what: string }[]>} */
  const notes = new Map();
  /** The workers that executed each request. @type {Map<string, Repeated>} */
  const executed = new Map();
  let nameless = 0;
  for (const file of fs.readdirSync(directory)) {
    const pid = Number(/^log-(\d+)$/.exec(file)?.[1]);
    if (!pid) continue;
    for (const line of fs.readFileSync(path.join(directory, file), 'utf8').split('\n')) {
      const [time, what, who, which] = line.split(' ');
      // A client that has already disconnected has no address any more.
      if (what === 'connection' && !byAddress.has(who)) {
        namelessBy.set(pid, (namelessBy.get(pid) ?? 0) + 1);
        if (who === 'undefined') nameless++;
      }
      const id = what === 'request' ? Number(who) : byAddress.get(who);
      // For a client that comes through a worker's own address, only its requests identify it. Other
      // requests, for example of a worker that connects to its own cluster, have a name instead of a number.
      if (id === undefined || Number.isNaN(id)) continue;
      seen.add(id);
      const at = Number(time);
      if (what === 'request') {
        const request = executed.get(`${id} ${which}`) ?? { id, number: Number(which), by: [] };
        request.by.push({ pid, at });
        executed.set(`${id} ${which}`, request);
      }
      notes.set(id, [...(notes.get(id) ?? []), { pid, at, what }]);
      const holder = { pid, at, asked: what === 'request' };
      if (what !== 'left') {
        const all = holders.get(id) ?? [];
        all.push(holder);
        holders.set(id, all);
      }
      const before = last.get(id);
      if (at > records[id].endedAt || (before && before.at > at)) continue;
      if (what !== 'left') last.set(id, holder);
      else if (before?.pid === pid) last.delete(id);
    }
  }
  const repeated = [...executed.values()].filter(({ by }) => by.length > 1);
  return { last, seen, notes, nameless, repeated, holders, namelessBy };
}

module.exports = { FATES, account, fateOf, readNotes };
