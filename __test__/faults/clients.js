'use strict';

// Clients of several kinds. Each connects once, from an IP address of its own, which identifies it to the
// worker before it sends anything, and each leaves a record.

const net = require('node:net');
const { setTimeout: pause } = require('node:timers/promises');
const { now } = require('./clock.js');

/**
 * How long, in ms, until a client counts as hung; until a client in a crowd that is too large for the backlog
 * does; and until a client that the system does not connect gives up.
 */
const PATIENCE = 60_000;
const CROWD_PATIENCE = 10_000;
const CONNECT_PATIENCE = 5_000;

/** The maximum number of clients at once, apart from bursts. */
const MOST = 600;

const SHORT = 200;
const LONG = 2 ** 20;

/**
 * The kind of a client: `short` sends one request; `kept` keeps its connection for several requests; `typing` sends its request byte by
 * byte; `reading` reads a long answer slowly; `silent` sends nothing and disconnects.
 * @typedef {'short' | 'kept' | 'typing' | 'reading' | 'silent'} Kind
 * @typedef {object} Record
 * @property {number} id
 * @property {Kind} kind
 * @property {string} address its own
 * @property {boolean} crowd it is one of many at the address with the small backlog
 * @property {number} openedAt by clock.js, as the other times
 * @property {number | null} connectedAt
 * @property {number} endedAt
 * @property {boolean} complete it has received everything that it requested
 * @property {number} answers
 * @property {boolean} shed it was answered with 503
 * @property {string | null} error
 */

/** The mix of the steady load. @type {[Kind, number][]} */
const MIX = [
  ['short', 0.7],
  ['kept', 0.1],
  ['typing', 0.06],
  ['reading', 0.06],
  ['silent', 0.08],
];

/** Reads answers from a connection: counts them and compares their bytes. */
class Answers {
  #head = '';
  /** Of the body that is being read; null between answers. @type {number | null} */
  #left = null;
  #begun = true;
  count = 0;
  closes = false;
  shed = false;
  /** @type {string | null} */
  wrong = null;

  /** @param {number} id */
  constructor(id) {
    this.id = id;
  }

  /** @param {Buffer} chunk */
  feed(chunk) {
    while (chunk.length > 0 && !this.wrong && !this.shed) {
      if (this.#left === null) {
        // Byte for byte, so that the boundaries of chunks do not matter; heads are short.
        this.#head += chunk.toString('latin1');
        const end = this.#head.indexOf('\r\n\r\n');
        if (end < 0) return;
        const rest = this.#head.length - end - 4;
        chunk = chunk.subarray(chunk.length - rest);
        this.#read(this.#head.slice(0, end));
        this.#head = '';
        continue;
      }
      const part = chunk.subarray(0, this.#left);
      if (this.#begun && part.length >= 16) {
        this.#begun = false;
        if (!part.toString('latin1', 0, 16).startsWith(`${this.id}/${this.count} `)) {
          this.wrong = `the answer of another: ${part.toString('latin1', 0, 16)}`;
        }
      }
      this.#left -= part.length;
      chunk = chunk.subarray(part.length);
      if (this.#left === 0) {
        this.#left = null;
        this.count++;
      }
    }
  }

  /** @param {string} head */
  #read(head) {
    if (head.startsWith('HTTP/1.1 503')) {
      this.shed = true;
      return;
    }
    const length = /^content-length: (\d+)$/im.exec(head);
    if (!head.startsWith('HTTP/1.1 200') || !length) this.wrong = `unexpected: ${head.split('\r\n')[0]}`;
    this.closes = /^connection: close$/im.test(head);
    this.#left = Number(length?.[1]);
    this.#begun = true;
  }
}

/** Waits two turns of the event loop, so that all data that has arrived is read: in the first, a socket may have been polled already. */
async function polled() {
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
}

class Clients {
  /** @type {Record[]} */
  records = [];
  /** @type {Set<Promise<void>>} */
  #open = new Set();

  /**
   * @param {() => number} random
   * @param {number} [patience] after which a client counts as hung, in ms
   */
  constructor(random, patience = PATIENCE) {
    this.random = random;
    this.patience = patience;
  }

  /**
   * @param {number} port
   * @param {Kind} kind
   * @param {boolean} [crowd]
   */
  start(port, kind, crowd = false) {
    const id = this.records.length;
    const address = `127.${1 + (id >> 16)}.${(id >> 8) & 255}.${id & 255}`;
    /** @type {Record} */
    const record = {
      id,
      kind,
      address,
      crowd,
      openedAt: now(),
      connectedAt: null,
      endedAt: NaN,
      complete: false,
      answers: 0,
      shed: false,
      error: null,
    };
    this.records.push(record);
    const done = this.#live(record, port).finally(() => this.#open.delete(done));
    this.#open.add(done);
  }

  /**
   * A client of any kind, unless too many are already waiting: on a machine without spare CPU, even the
   * larger backlog would overflow.
   * @param {number} port
   */
  startAny(port) {
    if (this.#open.size > MOST) return;
    let at = this.random();
    const [kind] = MIX.find(([, share]) => (at -= share) < 0) ?? MIX[0];
    this.start(port, kind);
  }

  /** Waits until all started clients are done. */
  async over() {
    while (this.#open.size > 0) await Promise.all(this.#open);
  }

  /**
   * @param {Record} record
   * @param {number} port
   */
  async #live(record, port) {
    const { id, kind, address, crowd } = record;
    const hold = 200 + 1800 * this.random();
    const socket = net.connect({ port, host: '127.0.0.1', localAddress: address, noDelay: true });
    const answers = new Answers(id);
    const closed = new Promise((resolve) => {
      socket.once('close', resolve);
    });
    let news = () => {};
    const connected = new Promise((resolve) => {
      socket.once('connect', () => {
        record.connectedAt = now();
        resolve(undefined);
      });
    });
    socket.on('data', (chunk) => {
      answers.feed(/** @type {Buffer} */ (chunk));
      if (kind === 'reading') {
        socket.pause();
        setTimeout(() => socket.resume(), 20);
      }
      news();
    });
    socket.on('error', (error) => {
      record.error ??= /** @type {NodeJS.ErrnoException} */ (error).code ?? error.message;
    });
    const giveUp = (/** @type {string} */ why) => {
      record.error ??= why;
      socket.destroy();
    };
    const connecting = setTimeout(() => {
      if (record.connectedAt === null) giveUp('connect timed out');
    }, CONNECT_PATIENCE);
    let over = false;
    const whole = setTimeout(
      async () => {
        // If this process was blocked, bytes that arrived in time are read only after this timer.
        await polled();
        if (!over) giveUp('hung');
      },
      crowd ? CROWD_PATIENCE : this.patience,
    );

    /** Waits for a number of answers, or for the end of the connection. @param {number} count */
    const answered = async (count) => {
      while (answers.count < count && !answers.wrong && !answers.shed && !socket.closed) {
        await Promise.race([closed, new Promise((resolve) => (news = () => resolve(undefined)))]);
      }
      return answers.count >= count;
    };
    const ask = (
      /** @type {number} */ number,
      /** @type {number} */ length,
      /** @type {string} */ connection,
    ) => `GET /${id}/${number}/${length} HTTP/1.1\r\nHost: x\r\nConnection: ${connection}\r\n\r\n`;

    switch (kind) {
      case 'short':
        socket.write(ask(0, SHORT, 'close'));
        record.complete = await answered(1);
        break;
      case 'reading':
        socket.write(ask(0, LONG, 'close'));
        record.complete = await answered(1);
        break;
      case 'typing':
        for (const byte of ask(0, SHORT, 'close')) {
          if (socket.closed) break;
          socket.write(byte);
          await pause(5);
        }
        record.complete = await answered(1);
        break;
      case 'kept':
        for (let number = 0; number < 6; number++) {
          socket.write(ask(number, SHORT, 'keep-alive'));
          record.complete = await answered(number + 1);
          if (!record.complete || answers.closes) break;
          await Promise.race([closed, pause(hold / 6)]);
          if (socket.closed) {
            // The connection ended without an answer although the client could have sent another request.
            record.complete = false;
            break;
          }
        }
        break;
      case 'silent':
        await Promise.race([closed, connected]);
        await Promise.race([closed, pause(hold)]);
        record.complete = record.connectedAt !== null && !socket.closed;
        break;
      // no default
    }
    over = true;
    record.endedAt = now();
    record.answers = answers.count;
    record.shed = answers.shed;
    record.error ??= answers.wrong ?? (record.complete ? null : 'ended');
    clearTimeout(connecting);
    clearTimeout(whole);
    socket.destroy();
    await closed;
  }
}

module.exports = { Clients };
