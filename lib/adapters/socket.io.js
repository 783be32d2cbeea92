'use strict';

// The rooms of Socket.IO in all workers, over the messages between processes. See types/socket.io.d.ts.
//
// Broadcasts are posted to a channel. What needs answers is a request to all workers, which ends at once for
// a worker that dies: there are no heartbeats, and no caller waits for a dead worker.

const { createRequire } = require('node:module');
const { Array, Error, Map, Math, Object, Promise, Reflect, Set, process } = require('../globals');
const { members } = require('../shared/members');
const { describe } = require('../text');
const { checkPrefix, peer } = require('./common');
const { onWire } = require('./wire');

// A dependency of socket.io, which may not be resolvable from this package.
const { Adapter, ClusterAdapter, MessageType } = peer('socket.io', () =>
  createRequire(require.resolve('socket.io'))('socket.io-adapter'),
);

/** The time limit for answers of other workers, in ms, as in Socket.IO's own adapters. */
const TIMEOUT = 5000;

/** The kinds of requests. */
const ASK = { SOCKETS: 'sockets', EMIT: 'emit', COUNT: 'count', BROADCAST: 'broadcast', ACK: 'ack' };

/**
 * The answers of the workers.
 * @typedef {object} Answers
 * @property {{ worker: number, value: any }[]} answers the answers of the other workers
 * @property {number[]} gone the workers that died before they answered
 * @property {number} missing the number of workers that did not answer in time
 */

/** @param {import('./types/socket.io').AdapterOptions} [options] */
function createAdapter(options) {
  const { prefix = 'socket.io' } = members(options, ['prefix']);
  checkPrefix(prefix);
  // Socket.IO calls it with `new`.
  return function adapter(/** @type {any} */ nsp) {
    return new ExchangeAdapter(nsp, `${prefix}:${nsp.name}`);
  };
}

/** @returns {typeof import('../../index')} */
const rcluster = () => /** @type {any} */ (require('../../index'));

class ExchangeAdapter extends ClusterAdapter {
  /** The name of the channel and the handler. @type {string} */
  #name;

  /** @type {any} */
  #channel;

  /** @type {any} */
  #handler;

  /**
   * The broadcasts that wait for acknowledgements, with those that have arrived by worker.
   * @type {Map<number, any>}
   */
  #broadcasts = new Map();

  #lastBroadcast = 0;

  /** The number of servers that the broadcast of this turn is for. @type {Promise<number> | undefined} */
  #addressed;

  /** Whether a message that could not be handled has been warned of. */
  #hasWarned = false;

  /**
   * @param {any} nsp
   * @param {string} name
   */
  constructor(nsp, name) {
    super(nsp);
    this.#name = name;
    const { BroadcastChannel, handle } = rcluster();
    this.#handler = handle(name, (/** @type {any} */ question, /** @type {any} */ call) =>
      this.#answer(question, call),
    );
    this.#channel = new BroadcastChannel(name).unref();
    this.#channel.addEventListener('message', (/** @type {any} */ { data }) => this.#receive(data));
  }

  close() {
    this.#handler.stop();
    this.#channel.close();
  }

  /** @param {any} message */
  async doPublish(message) {
    try {
      this.#channel.postMessage(encodeMessage(message));
    } catch (error) {
      // The base class ignores the error.
      this.#warn(error);
      throw error;
    }
    return '';
  }

  /**
   * An exception would end this worker, and every other one, for a message of one worker.
   * @param {any} message
   */
  #receive(message) {
    try {
      this.onMessage(message);
    } catch (error) {
      // The app's own listener has thrown.
      if (message?.type === MessageType.SERVER_SIDE_EMIT) throw error;
      if (this.#hasWarned) return;
      this.#hasWarned = true;
      warn(`A message of Socket.IO from another worker could not be handled: ${describe(error)}`);
    }
  }

  async serverCount() {
    if (this.#addressed !== undefined) return this.#addressed;
    const { answers, missing } = await this.#ask({ ask: ASK.COUNT }, TIMEOUT);
    return 1 + answers.length + missing;
  }

  /** @param {any} opts */
  async fetchSockets(opts) {
    const local = await this.#localSockets(opts);
    if (opts.flags?.local) return local;
    const question = { ask: ASK.SOCKETS, opts: encode(opts) };
    const { answers, missing } = await this.#ask(question, opts.flags?.timeout || TIMEOUT);
    if (missing > 0) throw timedOut(missing);
    return [...local, ...answers.flatMap(({ value }) => value)];
  }

  /** @param {any[]} packet */
  async serverSideEmit(packet) {
    const ack = packet.at(-1);
    if (typeof ack !== 'function') return super.serverSideEmit(packet);
    const { answers, missing } = await this.#ask({ ask: ASK.EMIT, packet: packet.slice(0, -1) }, TIMEOUT);
    const values = answers.map(({ value }) => value.response);
    ack(missing > 0 ? timedOut(missing) : null, values);
    return undefined;
  }

  /**
   * The caller considers the broadcast complete when each server has reported its number of clients, and each
   * client has answered. It asks for the number of servers in the same turn, which must be the number of
   * servers of this broadcast.
   * @param {any} packet
   * @param {any} opts
   * @param {(clients: number) => void} onCount
   * @param {(value: any) => void} onAck
   */
  broadcastWithAck(packet, opts, onCount, onAck) {
    const others = opts.flags?.local ? Promise.resolve([]) : this.#broadcastToOthers(packet, opts, onAck);
    this.#addressed = others.then(
      (counts) => {
        for (const count of counts) if (count !== undefined) onCount(count);
        return 1 + counts.length;
      },
      (error) => {
        this.#warn(error);
        // The broadcast was not sent. No number of answers completes it, so the caller gets its timeout.
        return 0;
      },
    );
    void Promise.resolve().then(() => (this.#addressed = undefined));
    Reflect.apply(Adapter.prototype.broadcastWithAck, this, [packet, opts, onCount, onAck]);
  }

  /**
   * @param {any} packet
   * @param {any} opts
   * @param {(value: any) => void} onAck
   * @returns {Promise<(number | undefined)[]>} the number of clients of each server; undefined if it did not answer in time
   */
  async #broadcastToOthers(packet, opts, onAck) {
    const id = ++this.#lastBroadcast;
    const broadcast = { seen: new Map(), onAck };
    this.#broadcasts.set(id, broadcast);
    try {
      const question = { ask: ASK.BROADCAST, id, packet: encodePacket(packet), opts: encode(opts) };
      const { answers, gone, missing } = await this.#ask(question, opts.flags?.timeout);
      for (const { worker, value } of answers) {
        for (const [index, ack] of value.entries()) this.#onAck(worker, { id, index, value: ack });
      }
      return [
        ...answers.map(({ value }) => value.length),
        // The clients of a dead worker answer no more.
        ...gone.map((worker) => broadcast.seen.get(worker)?.size ?? 0),
        ...Array.from({ length: missing }, () => undefined),
      ];
    } finally {
      this.#broadcasts.delete(id);
    }
  }

  /**
   * @param {number} worker the worker whose client has acknowledged a broadcast
   * @param {{ id: number, index: number, value: any }} ack
   */
  #onAck(worker, { id, index, value }) {
    const broadcast = this.#broadcasts.get(id);
    if (broadcast === undefined) return;
    const seen = broadcast.seen.get(worker) ?? new Set();
    broadcast.seen.set(worker, seen);
    if (seen.has(index)) return;
    seen.add(index);
    broadcast.onAck(value);
  }

  /**
   * @param {object} question
   * @param {number} timeout in ms
   * @returns {Promise<Answers>}
   */
  async #ask(question, timeout) {
    const options = { timeout: Math.max(1, Math.ceil(timeout || 1)) };
    const results = await rcluster().request('all', this.#name, { ...question, uid: this.uid }, options);
    /** @type {Answers} */
    const all = { answers: [], gone: [], missing: 0 };
    for (const result of /** @type {any[]} */ (results)) {
      const { worker, status, value, reason } = result;
      if (status === 'fulfilled') {
        // null is this server's own answer.
        if (value !== null) all.answers.push({ worker, value });
      } else if (reason.code === 'ERR_RCLUSTER_TIMEOUT') all.missing += 1;
      else if (reason.code === 'ERR_RCLUSTER_GONE') all.gone.push(worker);
      // A worker without a handler has no such server.
      else if (reason.code !== 'ERR_RCLUSTER_NO_HANDLER') throw reason;
    }
    return all;
  }

  /**
   * @param {any} question
   * @param {{ worker: number, signal: AbortSignal }} call
   */
  async #answer(question, { worker, signal }) {
    const { ask, uid, opts, packet } = question;
    if (ask === ASK.ACK) return uid === this.uid ? this.#onAck(worker, question) : undefined;
    if (uid === this.uid) return null;
    if (ask === ASK.COUNT) return true;
    if (ask === ASK.BROADCAST) return this.#untilAcknowledged(question, worker, signal);
    if (ask === ASK.EMIT) return this.#untilResponse(packet, signal);
    const sockets = await this.#localSockets(decode(opts));
    return sockets.map(({ id, handshake, rooms, data }) => {
      // The session store belongs to the worker, and may not be cloneable.
      const { sessionStore: _, ...rest } = handshake;
      return { id, handshake: rest, rooms: [...rooms], data };
    });
  }

  /**
   * @param {any[]} packet
   * @param {AbortSignal} signal
   */
  #untilResponse(packet, signal) {
    return new Promise((resolve) => {
      signal.addEventListener('abort', () => resolve(null), { once: true });
      this.nsp._onServerSideEmit([...packet, (/** @type {any} */ response) => resolve({ response })]);
    });
  }

  /**
   * Sends to the clients of this worker, and forwards each acknowledgement, so that the caller gets all that
   * arrive in time.
   * @param {any} question
   * @param {number} worker the worker that sent the request
   * @param {AbortSignal} signal
   * @returns {Promise<any[]>} the acknowledgements of all clients
   */
  #untilAcknowledged({ uid, id, packet, opts }, worker, signal) {
    return new Promise((resolve) => {
      /** @type {any[]} */
      const acks = [];
      let expected = -1;
      const onCount = (/** @type {number} */ count) => {
        expected = count;
        if (acks.length === expected) resolve(acks);
      };
      const onAck = (/** @type {any} */ value) => {
        acks.push(value);
        // Even the last one: the caller gets the answers of all workers together, possibly only at its
        // timeout.
        this.#passOn(worker, { ask: ASK.ACK, uid, id, index: acks.length - 1, value });
        if (acks.length === expected) resolve(acks);
      };
      const onAbort = () => {
        for (const socket of this.nsp.sockets.values()) socket.acks.delete(packet.id);
        resolve(acks);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      Reflect.apply(Adapter.prototype.broadcastWithAck, this, [packet, decode(opts), onCount, onAck]);
    });
  }

  /**
   * @param {number} worker
   * @param {object} ack
   */
  #passOn(worker, ack) {
    try {
      rcluster().notify(worker === 0 ? 'primary' : worker, this.#name, ack);
    } catch (error) {
      // A client decides what it answers, and Socket.IO would not catch the error.
      this.#warn(error);
    }
  }

  /** @param {any} opts @returns {Promise<any[]>} */
  #localSockets(opts) {
    return Reflect.apply(Adapter.prototype.fetchSockets, this, [opts]);
  }

  /** @param {unknown} error */
  #warn(error) {
    warn(`Other workers did not get a message of Socket.IO: ${describe(error)}`);
  }
}

/** @param {string} message */
function warn(message) {
  process.emitWarning(message, { code: 'RCLUSTER_SOCKET_IO' });
}

/** @param {any} message */
function encodeMessage(message) {
  if (message.type !== MessageType.BROADCAST) return message;
  const { packet } = message.data;
  const encoded = encodePacket(packet);
  return encoded === packet ? message : { ...message, data: { ...message.data, packet: encoded } };
}

/** @param {any} packet */
function encodePacket(packet) {
  const data = onWire(packet.data);
  return data === packet.data ? packet : { ...packet, data };
}

/** @param {any} opts */
const encode = ({ rooms, except, flags }) => ({ rooms: [...rooms], except: [...(except ?? [])], flags });

/** @param {any} opts */
const decode = ({ rooms, except, flags }) => ({ rooms: new Set(rooms), except: new Set(except), flags });

/** @param {number} missing */
function timedOut(missing) {
  return Object.assign(new Error(`timeout reached: ${missing} workers have not answered`), {
    code: 'ERR_RCLUSTER_TIMEOUT',
  });
}

module.exports = { createAdapter };
