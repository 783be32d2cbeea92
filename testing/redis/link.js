'use strict';

const { once } = require('node:events');
const net = require('node:net');

/**
 * If a socket is reset while its end is being sent, Node leaves it half closed forever, and the process does
 * not exit.
 * @param {net.Socket} socket
 */
function reset(socket) {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/**
 * A network link between a machine and its server, which can be interrupted: clients connect to its port.
 *
 *   const link = await startLink(server);
 *   link.freeze(); // nothing passes in either direction, and no side is notified
 *   link.heal();
 */
class Link {
  host = '127.0.0.1';
  port = 0;

  /** @type {'open' | 'frozen' | 'cut'} */
  state = 'open';

  #server = net.createServer({ pauseOnConnect: false }, (client) => this.#connect(client));

  /** @type {Set<{ client: net.Socket, upstream: net.Socket }>} */
  #pairs = new Set();

  /** @param {{ host: string, port: number, url: string }} target */
  constructor(target) {
    this.target = target;
  }

  get url() {
    const url = new URL(this.target.url);
    url.port = String(this.port);
    return url.href;
  }

  async start() {
    this.#server.listen(0, this.host);
    await once(this.#server, 'listening');
    this.port = /** @type {net.AddressInfo} */ (this.#server.address()).port;
    return this;
  }

  /** @param {net.Socket} client */
  #connect(client) {
    if (this.state === 'cut') {
      reset(client);
      return;
    }
    const upstream = net.connect(this.target.port, this.target.host);
    const pair = { client, upstream };
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true);
      // The end of one side, whatever the reason, ends the other.
      socket.on('error', end).on('close', end);
    }
    client.pipe(upstream);
    upstream.pipe(client);
    if (this.state === 'frozen') this.#pause(pair);
  }

  /** @param {{ client: net.Socket, upstream: net.Socket }} pair */
  #pause({ client, upstream }) {
    client.unpipe().pause();
    upstream.unpipe().pause();
  }

  /** Stops forwarding. Connections stay open, and new ones seem to be accepted. */
  freeze() {
    this.state = 'frozen';
    for (const pair of this.#pairs) this.#pause(pair);
  }

  /** Resets all connections, and accepts no new ones. */
  cut() {
    this.state = 'cut';
    for (const { client, upstream } of this.#pairs) {
      reset(client);
      upstream.destroy();
    }
  }

  /** Forwards again, beginning with the data that has waited. */
  heal() {
    this.state = 'open';
    for (const { client, upstream } of this.#pairs) {
      client.pipe(upstream);
      upstream.pipe(client);
    }
  }

  async close() {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }
}

/** @param {{ host: string, port: number, url: string }} target */
function startLink(target) {
  return new Link(target).start();
}

module.exports = { startLink };
