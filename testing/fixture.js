'use strict';

const { spawn } = require('node:child_process');
const { once, EventEmitter } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { OURS, name: chosen } = require('./subject.js');
const { DEADLINE, until, membersOf, killAll, commandOf } = require('./processes.js');

/**
 * @typedef {object} FixtureOptions
 * @property {string} [subject] the module under test
 * @property {string[]} [args] arguments of the fixture
 * @property {string[]} [execArgv] arguments of Node
 * @property {Record<string, string>} [env] added to the environment
 * @property {string} [cwd] the working directory; this process's by default
 * @property {number} [deadline] in ms, for a fixture that takes longer than others
 * @property {number} [descriptors] the limit on open files, for the fixture and all its workers
 */

/** A process that runs a fixture, and all its descendants. */
class Fixture {
  /**
   * @param {string} file
   * @param {FixtureOptions} options
   * @param {{ ipc: boolean }} wiring
   */
  constructor(file, options, { ipc }) {
    this.file = file;
    this.output = '';
    this.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-'));
    this.marks = [];
    this.news = new EventEmitter().setMaxListeners(0);

    const command = [process.execPath, ...(options.execArgv ?? []), file, ...(options.args ?? [])];
    if (options.descriptors) {
      command.unshift('sh', '-c', `ulimit -n ${options.descriptors} && exec "$0" "$@"`);
    }
    /** @type {NodeJS.ProcessEnv} */
    const env = { ...process.env, ...options.env, RCLUSTER_TMP: this.directory };
    env.RCLUSTER_SUBJECT = options.subject ?? chosen;
    if (env.RCLUSTER_SUBJECT === OURS) delete env.RCLUSTER_SUBJECT;
    // The test runner marks its children by this variable; a fixture is a separate application.
    delete env.NODE_TEST_CONTEXT;

    // A session of its own, so that all descendants can be found and killed, even without their parents.
    this.child = spawn(command[0], command.slice(1), {
      env,
      cwd: options.cwd,
      detached: true,
      stdio: ipc ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'pipe', 'pipe'],
    });
    this.pid = this.child.pid;
    this.stderr = '';
    this.child.stdout.setEncoding('utf8').on('data', (text) => {
      this.output += text;
    });
    this.child.stderr.setEncoding('utf8').on('data', (text) => {
      this.output += text;
      this.stderr += text;
      this.news.emit('news');
    });
    this.child.on('message', (message) => {
      this.marks.push(message);
      this.output += `(mark ${JSON.stringify(message)})\n`;
      this.news.emit('news');
    });
    this.exit = null;
    this.overdue = false;
    this.exited = once(this.child, 'exit').then(([code, signal]) => {
      this.exit = { code, signal };
      this.output += `(the primary ended: code ${code}, signal ${signal})\n`;
      this.news.emit('news');
      return this.exit;
    });
    this.isClosed = false;
    this.closed = once(this.child, 'close').then(() => {
      this.isClosed = true;
      this.news.emit('news');
    });
    this.deadline = setTimeout(() => {
      this.overdue = true;
      this.output += `(overdue; alive: ${membersOf(this.pid)
        .map((pid) => `${pid} ${commandOf(pid)}`)
        .join('; ')})\n`;
      killAll(this.pid);
      this.news.emit('news');
    }, options.deadline ?? DEADLINE);
  }

  /**
   * Waits for a mark of the fixture, and consumes it.
   * @param {string} name
   * @returns {Promise<any>} the data of the mark
   */
  async marker(name) {
    for (;;) {
      const at = this.marks.findIndex((message) => message.mark === name);
      if (at >= 0) return this.marks.splice(at, 1)[0].data;
      if (this.overdue) throw new Error(`no mark '${name}' before the deadline`);
      if (this.isClosed) throw new Error(`no mark '${name}' before the primary ended`);
      await once(this.news, 'news');
    }
  }

  /**
   * Waits until what its processes have written to stderr matches. Text and marks come by different ways: a mark does
   * not tell that what was written before it has been read.
   * @param {RegExp} pattern
   * @returns {Promise<RegExpExecArray>}
   */
  async written(pattern) {
    for (;;) {
      const match = pattern.exec(this.stderr);
      if (match) return match;
      if (this.overdue) throw new Error(`nothing matched ${pattern} before the deadline`);
      if (this.isClosed) throw new Error(`nothing has matched ${pattern}`);
      await once(this.news, 'news');
    }
  }

  /**
   * Waits until the primary has ended by itself, and all that its processes have written is read.
   * @returns {Promise<{ code: number | null, signal: NodeJS.Signals | null }>}
   */
  async ended() {
    await this.gone();
    return this.exit;
  }

  /**
   * @param {string} command
   * @param {unknown} [data]
   */
  tell(command, data) {
    this.child.send({ command, data });
  }

  /**
   * Orders the fixture to stop.
   * @returns {Promise<boolean>} false if it has ended already, or is about to
   */
  async stop() {
    if (this.exit || !this.child.connected) return false;
    const error = await new Promise((resolve) => this.child.send({ command: 'stop' }, resolve));
    if (error !== null && !['EPIPE', 'ERR_IPC_CHANNEL_CLOSED'].includes(error.code)) throw error;
    return error === null;
  }

  /**
   * Waits until no process of the fixture is alive. Workers may end shortly after their primary.
   */
  async gone() {
    await this.exited;
    try {
      await until(
        'all processes of the fixture are gone',
        () => membersOf(this.pid).length === 0,
        DEADLINE / 3,
      );
    } catch {
      const left = membersOf(this.pid).map((pid) => `${pid} ${commandOf(pid)}`);
      killAll(this.pid);
      throw new Error(`processes were left behind:\n${left.join('\n')}`);
    }
    // All output has been read only when the pipes are closed.
    await this.closed;
    if (this.overdue) throw new Error('the deadline of the fixture has passed');
  }

  /** Frees the fixture's resources, whatever state it is in. */
  async dispose() {
    clearTimeout(this.deadline);
    killAll(this.pid);
    await this.closed;
    fs.rmSync(this.directory, { recursive: true, force: true });
  }
}

/**
 * @param {Error} error
 * @param {Fixture} fixture
 */
async function explain(error, fixture) {
  killAll(fixture.pid);
  await fixture.closed;
  const traced = path.join(fixture.directory, 'trace');
  const trace = fs.existsSync(traced) ? `--- its trace ---\n${fs.readFileSync(traced, 'utf8')}` : '';
  const title = `--- output of ${path.basename(fixture.file)} ---`;
  return new Error(`${error.message}\n${title}\n${fixture.output}${trace}--- end ---`, { cause: error });
}

/**
 * Runs a fixture that the test controls. After the body, the fixture is ordered to stop, and must end with code 0
 * and without remaining processes, unless the body has ended it.
 * @template T
 * @param {string} file
 * @param {FixtureOptions} options
 * @param {(fixture: Fixture) => Promise<T>} body
 * @returns {Promise<T>}
 */
async function withFixture(file, options, body) {
  const fixture = new Fixture(file, options, { ipc: true });
  try {
    const result = await body(fixture);
    if (await fixture.stop()) {
      const { code, signal } = await fixture.exited;
      if (code !== 0) throw new Error(`the primary ended with code ${code}, signal ${signal}`);
    }
    await fixture.gone();
    return result;
  } catch (error) {
    throw await explain(error, fixture);
  } finally {
    await fixture.dispose();
  }
}

module.exports = { Fixture, explain, withFixture };
