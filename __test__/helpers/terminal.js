'use strict';

// A program on a terminal of its own: keys are its input, and its output is read from the screen.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { until } = require('../../testing/processes.js');

// It reads lines of JSON from its standard input. The settings of the terminal are compared after the end of the program.
const RELAY = `
import fcntl, json, os, pty, select, signal, struct, subprocess, sys, termios
size, argv = json.loads(sys.argv[1]), sys.argv[2:]
ours, theirs = pty.openpty()
def resize(rows, columns):
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
resize(*size)
before = termios.tcgetattr(theirs)
def own_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
child = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=own_terminal)
def relay(wait):
    while select.select([ours], [], [], wait)[0]:
        os.write(1, os.read(ours, 65536))
        wait = 0
commands = b""
while child.poll() is None:
    if select.select([0, ours], [], [], 0.02)[0]:
        relay(0)
        if select.select([0], [], [], 0)[0]:
            read = os.read(0, 65536)
            if not read:
                child.kill()
            commands += read
            *lines, commands = commands.split(b"\\n")
            for command in map(json.loads, lines):
                if "keys" in command: os.write(ours, command["keys"].encode())
                if "size" in command: resize(*command["size"])
                if "signal" in command: child.send_signal(command["signal"])
                if "close" in command:
                    os.close(ours)
                    print(json.dumps({"code": child.wait()}), file=sys.stderr)
                    sys.exit()
relay(0)
print(json.dumps({"code": child.returncode, "same": termios.tcgetattr(theirs) == before}), file=sys.stderr)
`;

/** Interprets the few escape sequences that are used. */
class Screen {
  /** @param {number} rows @param {number} columns */
  constructor(rows, columns) {
    this.isAlternate = false;
    this.isCursorShown = true;
    this.colours = new Set();
    this.resize(rows, columns);
  }

  /** @param {number} rows @param {number} columns */
  resize(rows, columns) {
    Object.assign(this, { rows, columns, row: 0, column: 0 });
    this.clear();
  }

  clear() {
    this.cells = Array.from({ length: this.rows }, () => Array(this.columns).fill(' '));
  }

  /** @param {string} text whole sequences; the incomplete rest is returned */
  take(text) {
    // eslint-disable-next-line no-control-regex
    const pattern = /\x1b\[([?>]?)([\d;]*)([A-Za-z@`])|\x1b[()][A-Z0-9]|\x1b[=>78]|\r|\n|[^\x1b]/gy;
    let end = 0;
    for (let match; (match = pattern.exec(text)); end = pattern.lastIndex) this.#act(match);
    return text.slice(end);
  }

  /** @param {RegExpExecArray} match */
  #act([all, mark, numbers, letter]) {
    const [first, second] = (numbers ?? '').split(';').map(Number);
    if (mark === '?') {
      if (first === 1049) this.isAlternate = letter === 'h';
      if (first === 25) this.isCursorShown = letter === 'h';
    } else if (letter === 'H' || letter === 'f') {
      [this.row, this.column] = [Math.max(1, first) - 1, Math.max(1, second || 1) - 1];
    } else if (letter === 'J') this.clear();
    else if (letter === 'K') this.cells[this.row]?.fill(' ', this.column);
    else if (letter === 'm') this.#colour(numbers);
    else if (all === '\r') this.column = 0;
    else if (all === '\n') this.row++;
    else if (letter === undefined && !all.startsWith('\x1b')) {
      if (this.cells[this.row]) this.cells[this.row][this.column] = all;
      this.column++;
    }
  }

  /** Numbers from 30 on are colours, except those that restore the defaults. */
  #colour(numbers) {
    for (const number of numbers.split(';').map(Number)) {
      if (number >= 30 && ![39, 49, 59].includes(number)) this.colours.add(number);
    }
  }

  get lines() {
    return this.cells.map((cells) => cells.join('').trimEnd());
  }
}

/**
 * Runs a program on a terminal until the body is done.
 * @template T
 * @param {string[]} argv
 * @param {{ env?: NodeJS.ProcessEnv, size?: [rows: number, columns: number] }} options
 * @param {(terminal: Terminal) => Promise<T>} body
 */
async function onTerminal(argv, { env = process.env, size = [30, 120] }, body) {
  const child = spawn('python3', ['-c', RELAY, JSON.stringify(size), ...argv], { env });
  const terminal = new Terminal(child, size);
  try {
    return await body(terminal);
  } finally {
    child.stdin.end();
    await terminal.closed;
  }
}

class Terminal {
  #child;
  #rest = '';

  /** @param {import('node:child_process').ChildProcessWithoutNullStreams} child @param {[number, number]} size */
  constructor(child, size) {
    this.#child = child;
    this.screen = new Screen(...size);
    this.errors = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      this.#rest = this.screen.take(this.#rest + text);
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      this.errors += text;
    });
    // It may have ended already.
    child.stdin.on('error', () => {});
    this.closed = once(child, 'close');
  }

  /** @param {object} command */
  #tell(command) {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
  }

  /** @param {string} keys */
  press(keys) {
    this.#tell({ keys });
  }

  /** @param {number} number */
  signal(number) {
    this.#tell({ signal: number });
  }

  /** @param {number} rows @param {number} columns */
  resize(rows, columns) {
    this.screen.resize(rows, columns);
    this.#tell({ size: [rows, columns] });
  }

  /** Closes the terminal: its programs get SIGHUP. */
  close() {
    this.#tell({ close: true });
  }

  /**
   * Waits until a line of the screen matches.
   * @param {RegExp} pattern
   * @returns {Promise<string>} that line
   */
  shows(pattern) {
    const find = () => this.screen.lines.find((line) => pattern.test(line));
    return until(`${pattern} is shown`, find).catch((error) => {
      throw new Error(`${error.message}; there is\n${this.screen.lines.join('\n')}\n${this.errors}`);
    });
  }

  /**
   * Waits for the end of the program.
   * @returns {Promise<{ code: number, same?: boolean }>} its exit code, and whether the terminal has been restored, unless
   * it was closed
   */
  async ended() {
    await this.closed;
    return JSON.parse(this.errors);
  }
}

module.exports = { onTerminal };
