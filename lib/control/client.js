'use strict';

const { Buffer, JSON, Map, Number, Object, Promise, Set, Symbol } = require('../globals');
const { invalidValue } = require('../errors');
const { members } = require('../shared/members');
const { failure, open, placesOf } = require('./places');

/**
 * @typedef {import('../../control').ConnectOptions} ConnectOptions
 * @typedef {import('../../control').ControlEvent} ControlEvent
 * @typedef {import('../../control').EventListener} EventListener
 * @typedef {import('../../control').LogLine} LogLine
 * @typedef {{ resolve: (result: any) => void, reject: (error: Error) => void, onEvent?: EventListener }} Waiting
 */

const VERSION = 1;

/**
 * The worker's last lines on stderr, if the error has them.
 * @param {{ stderrTail?: string[] }} error
 */
function tailOf({ stderrTail }) {
  return stderrTail === undefined ? {} : { stderrTail };
}

/**
 * Connects to a cluster.
 * @param {ConnectOptions} options
 * @returns {Promise<ControlClient>}
 */
async function connect(options) {
  const { control, pid, signal } = members(options, ['control', 'pid', 'signal']);
  const isNamed = control === undefined ? Number.isInteger(pid) : typeof control === 'string';
  if (!isNamed) {
    const message =
      'connect() needs "control", the address of the control socket, or "pid", the process id of the primary: ' +
      'process.ppid in a worker';
    throw invalidValue(message);
  }
  const places = control === undefined ? placesOf(/** @type {number} */ (pid)) : [control];
  /** @type {any} */
  let cause;
  for (const place of places) {
    try {
      const client = new ControlClient(await open(place, signal), place, signal);
      // The socket in the directory of a service may be that of another cluster: the one of this worker.
      if (control !== undefined || (await client.hello()).pid === pid) return client;
      client.close();
    } catch (error) {
      // A socket that exists explains more than one that does not.
      if (cause?.code !== 'ERR_RCLUSTER_UNSUPPORTED_NODE') cause = error;
    }
    if (signal?.aborted) throw signal.reason;
  }
  if (cause?.code === 'ERR_RCLUSTER_UNSUPPORTED_NODE') throw cause;
  throw failure('ERR_RCLUSTER_NOT_RUNNING', `No cluster listens at ${places.join(' or ')}`, cause);
}

class ControlClient {
  #socket;
  #place;
  /** Its abort destroys the socket. @type {AbortSignal | undefined} */
  #signal;
  #rest = '';
  #last = 0;
  #isClosed = false;
  /** @type {Set<ControlClient>} */
  #branches = new Set();
  /** @type {Map<number, Waiting>} */
  #waiting = new Map();
  /** @type {any} the reason for the end of the connection */
  #ended;

  /**
   * @param {import('node:net').Socket} socket
   * @param {string} place
   * @param {AbortSignal} [signal]
   */
  constructor(socket, place, signal) {
    this.#socket = socket;
    this.#place = place;
    this.#signal = signal;
    socket.setEncoding('utf8');
    socket.on('data', (/** @type {string} */ text) => this.#onData(text));
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end());
  }

  hello() {
    return this.#ask({ verb: 'hello' });
  }

  status() {
    return this.#ask({ verb: 'status' });
  }

  /** The metrics, in the format of OpenMetrics. */
  async metrics() {
    const { text } = await this.#ask({ verb: 'metrics' });
    return text;
  }

  /**
   * @param {number | 'auto' | `+${number}` | `-${number}`} workers
   * @param {{ onEvent?: EventListener }} [options]
   */
  async scale(workers, options) {
    const { onEvent } = members(options, ['onEvent']);
    await this.#ask({ verb: 'scale', workers }, onEvent);
  }

  /** @param {{ concurrency?: number, onEvent?: EventListener }} [options] */
  async reload(options) {
    const { concurrency, onEvent } = members(options, ['concurrency', 'onEvent']);
    await this.#ask({ verb: 'reload', concurrency }, onEvent);
  }

  /**
   * @param {number} slot
   * @param {{ onEvent?: EventListener }} [options]
   */
  async restart(slot, options) {
    const { onEvent } = members(options, ['onEvent']);
    await this.#ask({ verb: 'restart', slot }, onEvent);
  }

  /**
   * @param {number} slot
   * @param {{ onEvent?: EventListener }} [options]
   */
  async drain(slot, options) {
    const { onEvent } = members(options, ['onEvent']);
    await this.#ask({ verb: 'drain', slot }, onEvent);
  }

  /** @param {number | 'primary'} slot */
  stack(slot) {
    return this.#ask({ verb: 'stack', slot });
  }

  /**
   * @param {number | 'primary'} slot
   * @param {{ duration?: number }} [options]
   */
  async profile(slot, options) {
    const { duration } = members(options, ['duration']);
    const pieces = [];
    for await (const piece of this.#pieces({ verb: 'profile', slot, duration })) pieces.push(piece);
    return `${Buffer.concat(pieces)}`;
  }

  /** @param {number | 'primary'} slot */
  heap(slot) {
    return this.#pieces({ verb: 'heap', slot });
  }

  /**
   * @param {number | 'primary'} slot
   * @param {{ off?: boolean }} [options]
   * @returns {Promise<string | null>}
   */
  async inspect(slot, options) {
    const { off } = members(options, ['off']);
    const { url } = await this.#ask({ verb: 'inspect', slot, off });
    return url;
  }

  /**
   * @param {number | 'primary'} slot
   * @returns {Promise<string[]>}
   */
  async env(slot) {
    const { names } = await this.#ask({ verb: 'env', slot });
    return names;
  }

  /** @param {{ delay?: number, timeout?: number, onEvent?: EventListener }} [options] */
  async stop(options) {
    const { delay, timeout, onEvent } = members(options, ['delay', 'timeout', 'onEvent']);
    await this.#ask({ verb: 'stop', delay, timeout }, onEvent);
  }

  /**
   * All events from now on, over a connection of its own. The cluster closes it if they are read too slowly.
   * @yields {ControlEvent}
   * @returns {AsyncGenerator<ControlEvent, void, void>}
   */
  async *events() {
    yield* this.#stream({ verb: 'watch' }, () => []);
  }

  /** @param {{ slot?: number, lines?: number }} [options] @returns {Promise<LogLine[]>} */
  async logs(options) {
    const { slot, lines } = members(options, ['slot', 'lines']);
    return (await this.#ask({ verb: 'logs', slot, lines })).lines;
  }

  /**
   * @param {{ slot?: number, lines?: number, onLost?: (lines: number) => void }} [options]
   * @yields {LogLine}
   * @returns {AsyncGenerator<LogLine, void, void>}
   */
  async *followLogs(options) {
    const { slot, lines, onLost } = members(options, ['slot', 'lines', 'onLost']);
    const recent = (/** @type {{ lines: LogLine[] }} */ result) =>
      result.lines.map((facts) => ({ event: 'log', facts }));
    for await (const { event, facts } of this.#stream({ verb: 'logs', slot, lines, follow: true }, recent)) {
      if (event === 'log') yield /** @type {LogLine} */ (facts);
      else onLost?.(facts.lines);
    }
  }

  /**
   * The events of a request, over a connection of its own: until its answer or, with `first`, until the connection ends.
   * They are read no faster than they are consumed: further ones wait in the socket buffer, then in the cluster, up to its
   * limit.
   * @param {Record<string, unknown>} request
   * @param {(result: any) => ControlEvent[]} [first] makes the first events from the answer
   * @yields {ControlEvent}
   * @returns {AsyncGenerator<ControlEvent, void, void>}
   */
  async *#stream(request, first) {
    const client = await this.#branch();
    /** @type {ControlEvent[]} */
    const queue = [];
    const onEvent = (/** @type {ControlEvent} */ event) => {
      queue.push(event);
      client.#socket.pause();
      client.#wake();
    };
    const onAnswer = (/** @type {any} */ result) => {
      if (first === undefined) return client.close();
      // Events that arrived in the same turn come after the answer.
      queue.unshift(...first(result));
      client.#wake();
    };
    const answer = client.#ask(request, onEvent, first !== undefined);
    answer.then(onAnswer, () => client.close());
    try {
      while (client.#ended === undefined || queue.length > 0) {
        yield* queue.splice(0);
        if (queue.length > 0 || client.#ended !== undefined) continue;
        const changed = new Promise(
          (/** @type {(value: void) => void} */ resolve) => (client.#wake = () => resolve()),
        );
        client.#socket.resume();
        await changed;
      }
      await answer;
    } finally {
      this.#branches.delete(client);
      client.close();
    }
  }

  /**
   * A result in pieces.
   * @param {Record<string, unknown>} request
   * @yields {Buffer}
   * @returns {AsyncGenerator<Buffer, void, void>}
   */
  async *#pieces(request) {
    for await (const { facts } of this.#stream(request)) yield Buffer.from(facts.base64, 'base64');
  }

  /** A separate connection for a stream, which `close()` closes as well: a generator that waits cannot be ended. */
  async #branch() {
    const client = new ControlClient(await open(this.#place, this.#signal), this.#place, this.#signal);
    this.#branches.add(client);
    if (this.#isClosed) client.close();
    return client;
  }

  /** Closes the connection, and those of its streams. Operations that were requested continue. */
  close() {
    this.#isClosed = true;
    this.#socket.destroy();
    this.#end();
    for (const client of this.#branches) client.close();
  }

  async [Symbol.asyncDispose]() {
    this.close();
  }

  /** Wakes the stream over this connection. @type {() => void} */
  #wake = () => {};

  /**
   * @param {Record<string, unknown>} request
   * @param {EventListener} [onEvent]
   * @param {boolean} [goesOn] whether events come after the answer, too
   * @returns {Promise<any>}
   */
  #ask(request, onEvent, goesOn = false) {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, onEvent });
      if (goesOn) this.#watch = id;
      this.#socket.write(`${JSON.stringify({ v: VERSION, id, ...request })}\n`);
    });
  }

  /** @type {number | undefined} the request whose events continue after its answer */
  #watch;

  /** @param {string} text */
  #onData(text) {
    // A long line arrives in many pieces, and is not searched again with each of them.
    if (!text.includes('\n')) {
      this.#rest += text;
      return;
    }
    const lines = (this.#rest + text).split('\n');
    this.#rest = /** @type {string} */ (lines.pop());
    try {
      for (const line of lines) this.#onLine(JSON.parse(line));
    } catch (error) {
      // The address may be that of any other program.
      const message = `What listens at ${this.#place} is not the control socket of a cluster`;
      this.#end(failure('ERR_RCLUSTER_NOT_RUNNING', message, /** @type {Error} */ (error)));
      this.#socket.destroy();
    }
  }

  /** @param {any} message */
  #onLine({ id, event, facts, ok, result, error }) {
    if (id === null) {
      this.#end(failure(error.code, error.message));
      return;
    }
    const waiting = this.#waiting.get(id);
    if (event !== undefined) {
      try {
        waiting?.onEvent?.({ event, facts });
      } catch (thrown) {
        // The operation continues, and the other lines must be read.
        this.#waiting.delete(id);
        waiting?.reject(/** @type {Error} */ (thrown));
      }
      return;
    }
    // Made first: a line without an error is not from a cluster, and ends all requests, also this one.
    const failed = ok ? undefined : Object.assign(failure(error.code, error.message), tailOf(error));
    if (id !== this.#watch || !ok) this.#waiting.delete(id);
    if (failed === undefined) waiting?.resolve(result);
    else waiting?.reject(failed);
  }

  /** @param {Error} [cause] */
  #end(cause) {
    if (this.#ended !== undefined) return;
    const message = 'The connection to the cluster has ended';
    const named = cause !== undefined && 'code' in cause && `${cause.code}`.startsWith('ERR_');
    if (this.#signal?.aborted) this.#ended = this.#signal.reason;
    else this.#ended = named ? cause : failure('ERR_RCLUSTER_NOT_RUNNING', message, cause);
    for (const { reject } of this.#waiting.values()) reject(this.#ended);
    this.#waiting.clear();
    this.#wake();
  }
}

module.exports = { connect };
