'use strict';

// Clusters of their own, as on different machines, that run the functions of a test.

const { fork } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { startRedis } = require('../../testing/redis.js');
const { within } = require('../../testing/processes.js');

const PROGRAM = path.join(__dirname, '..', 'fixtures', 'redis', 'member.js');

/** How long a function may take there, in ms: some block their process for up to a minute. It is exceeded only if something hangs. */
const LIMIT = 150_000;

class Member {
  #next = 0;

  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
  #waiting = new Map();

  async start() {
    const env = { ...process.env };
    delete env.NODE_TEST_CONTEXT;
    this.child = fork(PROGRAM, { env });
    this.child.on('message', (/** @type {any} */ message) => {
      if (message === 'ready') return;
      const { id, value, error } = message;
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(value);
      else reject(Object.assign(new Error(error.message), { code: error.code, stack: error.stack }));
    });
    // Not at its exit, when its last messages may not have been read.
    this.child.once('close', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`it has ended: ${code} ${signal}`));
    });
    await within('a member starts', once(this.child, 'message'));
    return this;
  }

  /**
   * Runs a function there, which cannot access the variables around it here.
   * @param {(there: { cluster: any, kept: any }, ...args: any[]) => any} body
   * @param {any[]} args
   * @returns {Promise<any>}
   */
  run(body, ...args) {
    const id = (this.#next += 1);
    const ran = new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.child.send({ id, body: `${body}`, args });
    });
    return within(`a member runs ${body.name || body}`, ran, LIMIT);
  }

  /**
   * Opens a store there, as `kept.store`, and waits until it has been loaded.
   * @param {string} name
   * @param {object} options
   */
  async open(name, options) {
    await this.run(
      async ({ cluster, kept }, name, options) => {
        kept.store = cluster.shared(name, options);
        await kept.store.ready;
      },
      name,
      options,
    );
    return this;
  }

  async stop() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }
}

/** @param {number} count */
function startMembers(count) {
  return Promise.all(Array.from({ length: count }, () => new Member().start()));
}

/**
 * Runs a worker in each of two clusters with the same server, and blocks the JavaScript of both primaries until a worker has
 * made the file `done` in the directory that each gets as its first argument. A blocked primary has created `blocked-0`,
 * or `blocked-1`.
 * @param {string} exec the program of the workers
 * @param {[string[], string[]]} args further arguments of each
 * @returns {Promise<boolean[]>} for each, whether the file was created in time
 */
async function whileBlocked(exec, args) {
  const server = await startRedis();
  const members = await startMembers(2);
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-blocked-'));
  try {
    for (const [place, member] of members.entries()) {
      await member.run(
        ({ cluster }, backend, exec, args) => {
          cluster.setupPrimary({ backend, exec, args });
          const worker = cluster.fork();
          return new Promise((resolve) => worker.once('message', () => resolve(true)));
        },
        server.url,
        exec,
        [directory, ...args[place]],
      );
    }
    const blocked = members.map((member, place) =>
      member.run(
        (_, directory, place) => {
          const fs = require('node:fs');
          fs.writeFileSync(`${directory}/blocked-${place}`, '');
          const end = Date.now() + 60_000;
          const sleeper = new Int32Array(new SharedArrayBuffer(4));
          while (!fs.existsSync(`${directory}/done`) && Date.now() < end) Atomics.wait(sleeper, 0, 0, 5);
          return fs.existsSync(`${directory}/done`);
        },
        directory,
        place,
      ),
    );
    return await Promise.all(blocked);
  } finally {
    await Promise.all(members.map((member) => member.stop()));
    await server.close();
    fs.rmSync(directory, { recursive: true });
  }
}

module.exports = { Member, startMembers, whileBlocked };
