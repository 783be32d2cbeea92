'use strict';

// Real Redis or Valkey servers for tests: single, with replicas, under Sentinel, or as a Redis Cluster. They
// listen on the loopback address and on a Unix socket, keep their data in a temporary directory, and end with
// the process that started them, however it ends.
//
//   const server = await startRedis({ appendonly: true });
//   await server.command('SET', 'key', 'value');
//   await server.kill();
//   await server.restart(); // on the same address, with the data that it has saved
//   await server.close();

const { execFile, spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { freePorts } = require('./ports.js');
const { createCertificates } = require('./redis/certificates.js');
const { DEADLINE, until } = require('./processes.js');

/** The server program. `RCLUSTER_REDIS_SERVER` names another one, such as valkey-server. */
const PROGRAM = process.env.RCLUSTER_REDIS_SERVER ?? 'redis-server';

/** The program that sends commands to it. */
const CLIENT = process.env.RCLUSTER_REDIS_CLI ?? PROGRAM.replace(/-server$/, '-cli');

/** The maximum number of attempts with other ports, if a free port has been taken meanwhile. */
const ATTEMPTS = 5;

/** The size in bytes of the values that fill a server. */
const FILLING = 64 << 10;

/** Why Redis cannot be tested here; false if it can. Where all checks run, it must be installed. */
const withoutRedis =
  process.env.CI === undefined &&
  spawnSync(PROGRAM, ['--version']).error !== undefined &&
  `there is no ${PROGRAM}`;

/** Why TLS cannot be tested; false if it can. `RCLUSTER_REDIS_TLS=no` means that the program was built without it. */
const withoutTls = process.env.RCLUSTER_REDIS_TLS === 'no' ? `${PROGRAM} has no TLS` : withoutRedis;

// A server stopped by SIGSTOP does not detect the end of this process. In that case the kernel kills it.
const WRAPPER = ['setpriv', '--pdeathsig', 'KILL', '--'];

/** @type {Set<RedisServer>} */
const alive = new Set();
process.on('exit', () => {
  for (const server of alive) server.abandon();
});

/**
 * @typedef {object} RedisOptions
 * @property {boolean} [appendonly] whether each write is in a file before it is acknowledged; false by default
 * @property {number} [maxmemory] bytes; no limit by default
 * @property {string} [requirepass] the password of the default user
 * @property {boolean} [tls] whether TCP is only accepted with TLS, with generated certificates
 * @property {ReturnType<typeof createCertificates>} [certificates] the certificates of another server to use instead
 * @property {{ host: string, port: number }} [replicaOf] the server that it replicates
 * @property {string} [masterauth] the password for that server
 * @property {string[]} [lines] more lines of its configuration
 */

/** A server. */
class RedisServer {
  host = '127.0.0.1';

  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child;

  /** Its output since the last start. */
  log = '';

  isPaused = false;

  /**
   * @param {RedisOptions} options
   * @param {{ mode?: 'cluster' | 'sentinel', lines?: string[] }} [kind]
   */
  constructor(options, { mode, lines = [] } = {}) {
    this.options = options;
    this.mode = mode;
    this.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-redis-'));
    this.path = path.join(this.directory, 'redis.sock');
    this.port = 0;
    this.lines = [...lines, ...(options.lines ?? [])];
    /** The paths of its certificates, if it has any. */
    this.certificates =
      options.certificates ?? (options.tls ? createCertificates(this.directory) : undefined);
    alive.add(this);
  }

  /** Its URL, as apps use it. */
  get url() {
    const { requirepass } = this.options;
    const user = requirepass === undefined ? '' : `:${encodeURIComponent(requirepass)}@`;
    return `${this.certificates ? 'rediss' : 'redis'}://${user}${this.host}:${this.port}`;
  }

  get pid() {
    return this.#child?.pid;
  }

  get isRunning() {
    return this.#child !== undefined;
  }

  /** Starts it for the first time. */
  async start() {
    for (let attempt = 1; ; attempt++) {
      const [port, bus] = await freePorts(2);
      this.port = port;
      fs.writeFileSync(path.join(this.directory, 'redis.conf'), this.#configuration(bus));
      try {
        await this.restart();
        return this;
      } catch (error) {
        const isTaken = this.log.includes('Address already in use');
        if (!isTaken || attempt === ATTEMPTS) {
          await this.close();
          throw error;
        }
      }
    }
  }

  /** @param {number} bus the port on which the nodes of a Redis Cluster communicate */
  #configuration(bus) {
    const { appendonly, maxmemory, requirepass, replicaOf, masterauth = requirepass } = this.options;
    const { ca, cert, key } = this.certificates ?? {};
    const isServer = this.mode !== 'sentinel';
    const lines = [
      `bind ${this.host}`,
      ...(ca ? ['port 0', `tls-port ${this.port}`, 'tls-auth-clients optional'] : [`port ${this.port}`]),
      ...(ca ? [`tls-ca-cert-file ${ca}`, `tls-cert-file ${cert}`, `tls-key-file ${key}`] : []),
      ...(ca && this.mode !== 'sentinel' ? ['tls-replication yes'] : []),
      ...(ca && this.mode === 'cluster' ? ['tls-cluster yes'] : []),
      `unixsocket ${this.path}`,
      'daemonize no',
      `dir ${this.directory}`,
      ...this.lines,
    ];
    if (isServer) {
      lines.push(
        'save ""',
        'enable-debug-command local',
        ...(appendonly ? ['appendonly yes', 'appendfsync always'] : []),
        ...(maxmemory ? [`maxmemory ${maxmemory}`, 'maxmemory-policy noeviction'] : []),
        ...(requirepass ? [`requirepass ${requirepass}`, `masterauth ${masterauth}`] : []),
        ...(replicaOf ? [`replicaof ${replicaOf.host} ${replicaOf.port}`] : []),
        'repl-diskless-sync-delay 0',
        'repl-timeout 5',
      );
    }
    if (this.mode === 'cluster') {
      lines.push(
        'cluster-enabled yes',
        `cluster-port ${bus}`,
        'cluster-node-timeout 1000',
        'cluster-allow-replica-migration no',
      );
    }
    return `${lines.join('\n')}\n`;
  }

  /** Restarts it on the same address, with the data that it has saved. Resolves when it serves clients. */
  async restart() {
    if (this.#child !== undefined) throw new Error('the server is running');
    this.log = '';
    const args = [
      path.join(this.directory, 'redis.conf'),
      ...(this.mode === 'sentinel' ? ['--sentinel'] : []),
    ];
    const child = spawn(WRAPPER[0], [...WRAPPER.slice(1), PROGRAM, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // Ctrl-C ends the tests, which end their servers.
      detached: true,
    });
    child.stdout.setEncoding('utf8').on('data', (text) => void (this.log += text));
    child.stderr.setEncoding('utf8').on('data', (text) => void (this.log += text));
    this.#child = child;
    this.isPaused = false;
    // Once its output has been read as well: it says why the server has not started.
    const ended = once(child, 'close').then(
      () => void (this.#child = undefined),
      (error) => {
        this.#child = undefined;
        this.log += error.message;
      },
    );
    this.ended = ended;
    await until('a server is ready', async () => {
      if (this.#child !== child) throw new Error(`${PROGRAM} has not started:\n${this.log}`);
      return (await this.#answersTo('PING')) === 'PONG';
    });
  }

  /** @param {string} command */
  async #answersTo(command) {
    try {
      return await this.command(command);
    } catch {
      // It does not listen yet, or still loads its data.
      return undefined;
    }
  }

  /**
   * Sends a command over its Unix socket, and returns the answer.
   * @param {...(string | number)} args
   * @returns {Promise<any>}
   */
  async command(...args) {
    return JSON.parse(await this.#send(['--json'], args));
  }

  /**
   * The same for commands such as INFO, whose answer is text in lines.
   * @param {...string} args
   * @returns {Promise<string>}
   */
  info(...args) {
    return this.#send([], args);
  }

  /**
   * @param {string[]} options
   * @param {(string | number)[]} args
   */
  async #send(options, args) {
    const { requirepass } = this.options;
    const env = { ...process.env, ...(requirepass === undefined ? {} : { REDISCLI_AUTH: requirepass }) };
    const words = ['-s', this.path, '-e', ...options, ...args.map(String)];
    const { stdout } = await promisify(execFile)(CLIENT, words, {
      env,
      maxBuffer: 64 << 20,
      timeout: DEADLINE,
    });
    return stdout;
  }

  /** @param {NodeJS.Signals} signal */
  #signal(signal) {
    const child = this.#child;
    if (child === undefined) throw new Error('the server is not running');
    child.kill(signal);
  }

  /** Ends it as a crash would: unsaved data is lost. */
  async kill() {
    this.#signal('SIGKILL');
    await this.ended;
  }

  /** Stops it in an orderly way. */
  async stop() {
    if (this.isPaused) this.resume();
    this.#signal('SIGTERM');
    await this.ended;
  }

  /** Stops answering. Its connections stay open, and the kernel accepts others. */
  pause() {
    this.#signal('SIGSTOP');
    this.isPaused = true;
  }

  /** Continues, beginning with the requests that arrived meanwhile. */
  resume() {
    this.isPaused = false;
    this.#signal('SIGCONT');
  }

  /** Writes until it refuses writes because its memory is full; it must have the option `maxmemory`. */
  async fill() {
    const script = `
      local value = string.rep('x', tonumber(ARGV[1]))
      for place = 1, 16 do
        local result = redis.pcall('SET', 'filling:' .. redis.call('INCR', 'filling'), value)
        if type(result) == 'table' and result.err then return 0 end
      end
      return 1`;
    for (;;) {
      try {
        if ((await this.command('EVAL', script, 0, FILLING)) === 0) return;
      } catch (error) {
        // The text of the error is in the message.
        if (!String(error).includes('OOM')) throw error;
        return;
      }
    }
  }

  /** Removes the filling. */
  async unfill() {
    const script = `
      for _, key in ipairs(redis.call('KEYS', 'filling*')) do redis.call('DEL', key) end`;
    await this.command('CONFIG', 'SET', 'maxmemory', 0);
    await this.command('EVAL', script, 0);
    await this.command('CONFIG', 'SET', 'maxmemory', this.options.maxmemory ?? 0);
  }

  /** Promotes a replica to an independent server. */
  async promote() {
    await this.command('REPLICAOF', 'NO', 'ONE');
  }

  /** Waits until a replica is connected, and has the data that its server had at the start. */
  async synced() {
    await until('a replica is connected', async () =>
      /master_link_status:up/.test(await this.info('INFO', 'replication')),
    );
  }

  /** The replication offset, in bytes. */
  async offset() {
    const [, offset] = /master_repl_offset:(\d+)/.exec(await this.info('INFO', 'replication')) ?? [];
    return Number(offset);
  }

  /**
   * Waits until a replica has everything that its server has now. WAIT does not suffice: it applies to the
   * writes of the connection on which it is sent.
   * @param {RedisServer} replica
   */
  async replicatedTo(replica) {
    const offset = await this.offset();
    await until('a replica has everything', async () => (await replica.offset()) >= offset);
  }

  /** Ends it, and removes its files. */
  async close() {
    if (this.#child !== undefined) await this.kill();
    this.#remove();
  }

  /** The same without waiting. */
  abandon() {
    this.#child?.kill('SIGKILL');
    this.#remove();
  }

  #remove() {
    alive.delete(this);
    fs.rmSync(this.directory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }
}

/**
 * Starts a server.
 * @param {RedisOptions} [options]
 */
function startRedis(options = {}) {
  return new RedisServer(options).start();
}

/**
 * Several servers that end together.
 * @template {{ close: () => Promise<void> }[]} Parts
 */
class Group {
  /** @param {Parts} parts */
  constructor(parts) {
    this.parts = parts;
  }

  async close() {
    await Promise.all(this.parts.map((part) => part.close()));
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }
}

/**
 * Starts a server, its replica, and sentinels that promote the replica when the server is down.
 * @param {RedisOptions & { name?: string, sentinels?: number, downAfter?: number }} [options] the name by which sentinels
 * know the server, `'main'` by default; how many there are, 3 by default; after how many ms a server that does not answer is
 * down, 500 by default
 */
async function startSentinel({ name = 'main', sentinels: count = 3, downAfter = 500, ...options } = {}) {
  const primary = await startRedis(options);
  /** @type {RedisServer[]} */
  const started = [primary];
  try {
    const { certificates } = primary;
    const replica = await startRedis({ ...options, certificates, replicaOf: primary });
    started.push(replica);
    await replica.synced();
    const quorum = Math.floor(count / 2) + 1;
    const { requirepass } = options;
    const lines = [
      `sentinel monitor ${name} ${primary.host} ${primary.port} ${quorum}`,
      `sentinel down-after-milliseconds ${name} ${downAfter}`,
      `sentinel failover-timeout ${name} 3000`,
      ...(requirepass === undefined ? [] : [`sentinel auth-pass ${name} ${requirepass}`]),
    ];
    const sentinels = [];
    for (let place = 0; place < count; place++) {
      const sentinel = new RedisServer({}, { mode: 'sentinel', lines });
      started.push(sentinel);
      sentinels.push(await sentinel.start());
    }
    await until('all sentinels know each other and the replica', async () => {
      for (const sentinel of sentinels) {
        const others = await sentinel.command('SENTINEL', 'SENTINELS', name);
        const replicas = await sentinel.command('SENTINEL', 'REPLICAS', name);
        if (others.length !== count - 1 || replicas.length !== 1) return false;
      }
      return true;
    });
    return new SentinelGroup(name, sentinels, [primary, replica]);
  } catch (error) {
    await new Group(started).close();
    throw error;
  }
}

/** @augments {Group<RedisServer[]>} */
class SentinelGroup extends Group {
  /**
   * @param {string} name
   * @param {RedisServer[]} sentinels
   * @param {RedisServer[]} servers
   */
  constructor(name, sentinels, servers) {
    super([...sentinels, ...servers]);
    this.name = name;
    this.sentinels = sentinels;
    this.servers = servers;
  }

  get url() {
    const hosts = this.sentinels.map(({ host, port }) => `${host}:${port}`).join(',');
    return `redis+sentinel://${hosts}/${this.name}`;
  }

  /** The server that the sentinels consider the primary. */
  async primary() {
    const [, port] = await this.sentinels[0].command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.name);
    const found = this.servers.find((server) => server.port === Number(port));
    if (found === undefined) throw new Error(`no server has the port ${port}`);
    return found;
  }

  /**
   * Kills the primary, and waits until all sentinels name the other one.
   * @returns {Promise<RedisServer>} the new one
   */
  async failover() {
    const before = await this.primary();
    await before.kill();
    for (const sentinel of this.sentinels) {
      await until('a sentinel names another server', async () => {
        const [, port] = await sentinel.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.name);
        return Number(port) !== before.port;
      });
    }
    const now = await this.primary();
    await until('it is the primary', async () => /role:master/.test(await now.info('INFO', 'replication')));
    return now;
  }
}

/**
 * Starts a Redis Cluster.
 * @param {RedisOptions & { nodes?: number, replicas?: number }} [options] how many nodes have slots, 3 by default, and how
 * many replicas each of them has, none by default
 */
async function startRedisCluster({ nodes: count = 3, replicas = 0, ...options } = {}) {
  /** @type {RedisServer[]} */
  const nodes = [];
  try {
    for (let place = 0; place < count * (1 + replicas); place++) {
      const certificates = nodes[0]?.certificates;
      const node = new RedisServer({ ...options, certificates }, { mode: 'cluster' });
      nodes.push(node);
      await node.start();
    }
    const addresses = nodes.map(({ host, port }) => `${host}:${port}`);
    const { requirepass } = options;
    const env = { ...process.env, ...(requirepass === undefined ? {} : { REDISCLI_AUTH: requirepass }) };
    const words = ['--cluster', 'create', ...addresses, '--cluster-replicas', `${replicas}`, '--cluster-yes'];
    const certificates = nodes[0].certificates;
    const tls = certificates === undefined ? [] : ['--tls', '--cacert', certificates.ca];
    await promisify(execFile)(CLIENT, [...tls, ...words], { env, timeout: DEADLINE });
    for (const node of nodes) {
      await until('a node knows all slots', async () =>
        /cluster_state:ok/.test(await node.info('CLUSTER', 'INFO')),
      );
    }
    return new RedisCluster(nodes);
  } catch (error) {
    await new Group(nodes).close();
    throw error;
  }
}

/** @augments {Group<RedisServer[]>} */
class RedisCluster extends Group {
  get nodes() {
    return this.parts;
  }

  get url() {
    return `redis+cluster://${this.parts.map(({ host, port }) => `${host}:${port}`).join(',')}`;
  }

  /**
   * The node that has the slot of a key.
   * @param {string} key
   */
  async nodeOf(key) {
    const running = this.parts.find((node) => node.isRunning);
    if (running === undefined) throw new Error('no node is running');
    const slot = await running.command('CLUSTER', 'KEYSLOT', key);
    for (const [first, last, [, port]] of await running.command('CLUSTER', 'SLOTS')) {
      const node = this.parts.find((it) => it.port === port);
      if (node !== undefined && first <= slot && slot <= last) return node;
    }
    throw new Error(`no node has the slot ${slot}`);
  }
}

module.exports = { RedisServer, startRedis, startRedisCluster, startSentinel, withoutRedis, withoutTls };
