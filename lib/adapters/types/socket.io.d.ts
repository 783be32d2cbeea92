// An adapter of Socket.IO whose rooms span all workers.

import { ServerOptions } from 'socket.io';

/** Options of `createAdapter()`. */
export interface AdapterOptions {
  /**
   * A prefix of the namespace in the name of the channel and the handler. Two servers in one process need
   * different ones. Default: `'socket.io'`.
   */
  prefix?: string | undefined;
}

/**
 * An adapter for the option `adapter` of `Server`, or for `io.adapter()`. Broadcasts, rooms, `fetchSockets()`
 * and `serverSideEmit()` span all workers, without the primary's JavaScript. No call waits for a worker that
 * has died.
 *
 * ```js
 * const io = new Server(server, { adapter: createAdapter() });
 * ```
 * @throws `ERR_INVALID_ARG_TYPE` and `ERR_INVALID_ARG_VALUE`
 */
export function createAdapter(options?: AdapterOptions): NonNullable<ServerOptions['adapter']>;
