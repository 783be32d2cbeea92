'use strict';

const { Object, Reflect, Set, Symbol, WeakSet } = require('../globals');
const { AsyncLocalStorage, executionAsyncResource } = require('node:async_hooks');
const dgram = require('node:dgram');
const net = require('node:net');
const { defineHidden } = require('../define');
const { closeAfter, newestOn } = require('../seam/http');

const INTERNAL_ERROR = 2;

/**
 * Stores the exchange of a request or response in a private field: other code cannot see it, and it costs
 * less than an entry of a WeakMap. The constructor returns the object that it was given, so the field is
 * added to that object.
 */
/** @type {new (object: object) => object} */
const Identity = /** @type {any} */ (
  function Identity(/** @type {object} */ object) {
    return object;
  }
);

class Mark extends Identity {
  /** @type {any} */
  #exchange;

  /**
   * @param {object} object
   * @param {any} exchange
   */
  constructor(object, exchange) {
    super(object);
    this.#exchange = exchange;
  }

  /**
   * @param {object} object
   * @param {any} exchange
   */
  static put(object, exchange) {
    return new Mark(object, exchange);
  }

  /** @param {any} object */
  static of(object) {
    return #exchange in object ? object.#exchange : undefined;
  }
}

/** @typedef {{ error: unknown, exchange: any }} Thrown an exception on its way out of an emit() */

/**
 * Tracks which request the running code answers. This is certain in three cases: the code was called by an
 * event of the request, its response or its stream; it continues a promise of such code; or it is a callback
 * that such code has scheduled. It is not certain for callbacks of a socket that was opened while a request
 * was answered: the socket may belong to a pool and serve other requests. So the events of sockets run in no
 * request's context, nor do intervals.
 *
 * It costs as much as an AsyncLocalStorage, so it is created only if supervision needs it.
 */
module.exports = function createExchanges() {
  /** @type {AsyncLocalStorage<any>} an http.ServerResponse or a stream of http2 */
  const current = new AsyncLocalStorage();

  /** @type {WeakSet<object>} objects whose emit() is replaced */
  const watched = new WeakSet();

  /** @type {WeakSet<object>} streams whose answers end with trailers */
  const trailed = new WeakSet();

  /** @type {WeakSet<object>} sockets whose parser an exception has aborted: it takes whatever comes for an error */
  const aborted = new WeakSet();

  /**
   * The last exception that passed through an emit(). By the time Node reports it as uncaught, the context is
   * restored already.
   *
   * @type {Thrown | null}
   */
  let thrown = null;

  /** Whether the most recently requested context has been entered. */
  let entered = false;

  /**
   * Makes the events of an object, or of all objects that inherit from it, run in the context of an exchange.
   *
   * @param {any} target
   * @param {(emitter: any, args: IArguments) => any} exchangeOf undefined for no exchange; `KEEP` to leave the context
   * unchanged; `HANDLED` to emit nothing, as if a listener had handled it
   */
  function watch(target, exchangeOf) {
    if (watched.has(target)) return;
    watched.add(target);
    const own = Object.hasOwn(target, 'emit') ? target.emit : undefined;
    const parent = Object.getPrototypeOf(target);
    /** @this {any} */
    function emit() {
      // Looked up at each call, because the parent's may be replaced later.
      const next = own ?? parent.emit;
      const exchange = exchangeOf(this, arguments);
      if (exchange === HANDLED) return true;
      if (exchange === KEEP || current.getStore() === exchange) return Reflect.apply(next, this, arguments);
      // An exception that was caught is no longer on its way.
      thrown = null;
      try {
        return within(exchange, next, this, arguments);
      } catch (error) {
        onThrown(error, exchange);
        throw error;
      }
    }
    defineHidden(target, 'emit', { value: emit });
  }

  /**
   * The outermost exchange wins, because the code that it called was aborted. An event of a socket aborts none: Node
   * emits the response's 'drain' and 'timeout' inside of it.
   *
   * @param {unknown} error
   * @param {any} exchange
   */
  function onThrown(error, exchange) {
    const isKnown = thrown !== null && Object.is(/** @type {Thrown} */ (thrown).error, error);
    if (exchange !== undefined || !isKnown) thrown = { error, exchange };
  }

  /**
   * @param {any} exchange
   * @param {Function} emit
   * @param {any} emitter
   * @param {IArguments} args
   */
  function within(exchange, emit, emitter, args) {
    entered = false;
    try {
      return current.run(exchange, enter, emit, emitter, args);
    } catch (error) {
      if (entered) throw error;
      // Node can no longer distinguish contexts, because the application has extended Object.prototype.
      entered = true;
      return Reflect.apply(emit, emitter, args);
    }
  }

  /**
   * @param {Function} emit
   * @param {any} emitter
   * @param {IArguments} args
   */
  function enter(emit, emitter, args) {
    entered = true;
    return Reflect.apply(emit, emitter, args);
  }

  /** @param {any} emitter @param {IArguments} args */
  function markOf(emitter, args) {
    const exchange = Mark.of(emitter);
    return exchange === undefined ? KEEP : noted(exchange, args);
  }

  /** @param {any} exchange @param {IArguments} args the arguments of its emit() */
  function noted(exchange, [event]) {
    if (event === 'wantTrailers') trailed.add(exchange);
    return exchange;
  }

  /**
   * Finds the prototype of Node's own class of an object, below any class that an application has derived
   * from it.
   *
   * @param {any} object
   * @param {string} name
   */
  function prototypeOf(object, name) {
    let prototype = Object.getPrototypeOf(object);
    while (
      prototype !== null &&
      !(Object.hasOwn(prototype, 'constructor') && prototype.constructor.name === name)
    ) {
      prototype = Object.getPrototypeOf(prototype);
    }
    return prototype;
  }

  /**
   * @param {any} object
   * @param {string} name of its class
   * @param {any} exchange
   */
  function belongs(object, name, exchange) {
    const prototype = prototypeOf(object, name);
    if (prototype === null) return;
    if (!Object.isExtensible(prototype)) return watch(object, (_, args) => noted(exchange, args));
    watch(prototype, markOf);
    Mark.put(object, exchange);
  }

  /** @param {any} session */
  function watchSession(session) {
    watch(session, (_, [event, stream]) => {
      if (event !== 'stream') return undefined;
      belongs(stream, 'ServerHttp2Stream', stream);
      return stream;
    });
  }

  /** @param {any} server an http, https or http2 server that begins to listen */
  function watchServer(server) {
    watch(server, (_, [event, request, response]) => {
      // For 'clientError', the third argument is the socket. Node would write 400, in place of the answers that are due.
      if (event === 'clientError' && aborted.has(response)) return HANDLED;
      // Requests of HTTP/2 have a stream, and this event is part of the stream's event.
      if (!REQUESTS.has(event) || request?.stream || typeof response?.writeHead !== 'function') return KEEP;
      belongs(request, 'IncomingMessage', response);
      belongs(response, 'ServerResponse', response);
      return response;
    });
  }

  for (const { prototype } of [net.Socket, dgram.Socket]) watch(prototype, () => undefined);

  /**
   * Ends the exchange that an exception has aborted with status 500, if that is still possible and the
   * exchange is certain.
   *
   * @param {unknown} error
   * @param {'uncaughtException' | 'unhandledRejection'} origin
   */
  function fail(error, origin) {
    const passed = origin === 'uncaughtException' && thrown !== null && Object.is(thrown.error, error);
    const exchange = passed
      ? thrown?.exchange
      : isInterval(executionAsyncResource())
        ? undefined
        : current.getStore();
    thrown = null;
    if (!exchange || exchange.destroyed) return;
    if (passed && exchange.req?.socket) aborted.add(exchange.req.socket);
    try {
      if (exchange.session) failStream(exchange, trailed.has(exchange));
      else if (exchange.writableEnded) failAnswered(exchange, passed);
      else failResponse(exchange);
    } catch {
      // The application has replaced these functions. Then the exchange is just destroyed.
      destroy(exchange);
    }
  }

  return { watchServer, watchSession, fail };
};

/** The events of a server that begin an exchange. */
const REQUESTS = new Set(['request', 'checkContinue', 'checkExpectation']);

/** Leaves the context as it is. */
const KEEP = Symbol('keep');

/** Does not emit the event. */
const HANDLED = Symbol('handled');

/** @param {any} resource the resource whose callback runs now */
function isInterval(resource) {
  return typeof resource?._repeat === 'number';
}

/** @param {any} exchange */
function destroy(exchange) {
  try {
    exchange.destroy();
  } catch {
    // This is replaced as well, and nothing is left to try: the client waits until this worker ends.
  }
}

/**
 * The answer is complete. But an exception that passed through an event has also aborted the parser, if that has called
 * the listeners: no further request would be read from this connection, nor would it become idle.
 *
 * @param {any} response
 * @param {boolean} passed
 */
function failAnswered(response, passed) {
  const { socket } = response.req;
  const isBusy = socket._httpMessage != null && socket._httpMessage !== response;
  if (!passed || isBusy) return;
  if (response.writableFinished) socket.destroySoon();
  else response.once('finish', () => socket.destroySoon());
}

/** @param {any} response */
function failResponse(response) {
  // A partial answer must not look complete.
  if (response.headersSent) return response.destroy();
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  response.statusCode = 500;
  response.statusMessage = '';
  // Pipelined requests may be waiting behind it. Then the answer to the last one closes the connection.
  const newest = newestOn(response.req.socket);
  closeAfter((newest && Mark.of(newest)) ?? response);
  // Node sends neither of a header that was removed.
  response.sendDate = true;
  if (!response.shouldKeepAlive) response.setHeader('Connection', 'close');
  response.setHeader('Content-Length', 0);
  response.end();
}

/**
 * @param {any} stream
 * @param {boolean} isTrailed whether its answer is complete only with its trailers
 */
function failStream(stream, isTrailed) {
  const isComplete = stream.writableEnded && !(isTrailed && stream.sentTrailers === undefined);
  // Other streams share the connection.
  if (isComplete) return;
  if (stream.headersSent) stream.close(INTERNAL_ERROR);
  else stream.respond({ ':status': 500 }, { endStream: true });
}
