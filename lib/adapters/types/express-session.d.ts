// A store of express-session whose sessions all processes of the cluster share.

import session = require('express-session');
import cluster = require('../../../index.js');

/** Options of `SessionStore`. */
export interface SessionStoreOptions {
  /** Where the sessions are kept. Default: `cluster.shared('express-session')`. */
  store?: cluster.SharedStore | undefined;
  /** A prefix of each key, so that the store may have other keys as well. Default: `''`. */
  prefix?: string | undefined;
  /** The lifetime in ms of a session whose cookie has no expiry. Default: a day. */
  ttl?: number | undefined;
}

/**
 * A store of express-session in a shared store. It needs the package express-session.
 *
 * A session lasts as long as its cookie. If it is destroyed during a request, that request does not save it
 * again, in whichever worker it runs. Of two requests that change the same session at the same time, the one
 * that ends last wins, as with every store of express-session.
 *
 * ```js
 * app.use(session({ store: new SessionStore(), secret, resave: false, saveUninitialized: false }));
 * ```
 */
export class SessionStore extends session.Store {
  /** @throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`, and what `cluster.shared()` throws. */
  constructor(options?: SessionStoreOptions);
  get(sid: string, callback: (error: any, session?: session.SessionData | null) => void): void;
  set(sid: string, session: session.SessionData, callback?: (error?: any) => void): void;
  destroy(sid: string, callback?: (error?: any) => void): void;
  touch(sid: string, session: session.SessionData, callback?: (error?: any) => void): void;
  /** All sessions by their ids. */
  all(callback: (error: any, sessions?: { [sid: string]: session.SessionData } | null) => void): void;
  length(callback: (error: any, length?: number) => void): void;
  clear(callback?: (error?: any) => void): void;
}
