'use strict';

// The tools of the attacks.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const { setTimeout: pause } = require('node:timers/promises');
const { limitFiles } = require('../../testing/files.js');
const { descriptorsOf } = require('../../testing/processes.js');

/** How many descriptors the primary has left when it has few. */
const FEW = 120;

/**
 * @typedef {object} Link the descriptors of the link to the primary, and Node's own channel
 * @property {number} control
 * @property {number} connections
 * @property {number} page
 * @property {number} lifeline
 * @property {number} channel
 *
 * @typedef {ReturnType<typeof createKit>} Kit
 */

/**
 * @param {object} parts
 * @param {import('node:http').Server} parts.server
 * @param {{ fd: number, note: (text: string) => void }} parts.notes
 * @param {string} parts.helper the compiled syscalls.c
 * @param {string} parts.own the worker's own address, if it has one
 * @param {Link | null} parts.link
 */
function createKit({ server, notes, helper, own, link }) {
  if (link === null) throw new Error('the link was not seen');

  /** Ignores errors: the system may refuse the action, which is harmless. @param {() => unknown} action */
  function attempt(action) {
    try {
      action();
      return true;
    } catch (error) {
      if (!error.syscall) throw error;
      return false;
    }
  }

  return {
    server,
    notes,
    link,
    own,
    attempt,
    pause,

    /** Leaves the primary so few descriptors that a message may carry more. */
    narrow() {
      const open = descriptorsOf(process.ppid);
      let limit = 0;
      for (let free = 0; free < FEW; limit++) if (!open.has(limit)) free++;
      limitFiles(process.ppid, limit);
    },

    /** Repeats the action, as fast as the event loop turns, until it returns false. @param {(round: number) => unknown} action */
    async forever(action) {
      for (let round = 0; (await action(round)) !== false; round++) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    },

    /**
     * Runs syscalls.c until it has completed its task.
     * @param {string} what
     * @param {number[]} fds
     * @param {...(string | number)} args
     */
    async calls(what, fds, ...args) {
      const child = spawn(helper, [what, ...args.map(String)], { stdio: ['ignore', 'pipe', 'pipe', ...fds] });
      let stderr = '';
      child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
      const ended = once(child, 'close').then(([code, signal]) => {
        if (code !== 0) throw new Error(`${what} ended with ${code ?? signal}: ${stderr}`);
      });
      // It may end later, by a signal.
      ended.catch(() => {});
      await Promise.race([once(child.stdout, 'data'), ended]);
    },

    /** @returns {number[]} one descriptor of each socket of this process that listens, its own or shared ones */
    listening() {
      const inodes = new Set(
        fs
          .readFileSync('/proc/self/net/tcp', 'utf8')
          .split('\n')
          .slice(1)
          .map((line) => line.trim().split(/\s+/))
          .filter(([, , , state]) => state === '0A')
          .map((fields) => fields[9]),
      );
      /** @type {Map<string, number>} */
      const bySocket = new Map();
      for (const [fd, what] of descriptorsOf(process.pid)) {
        if (inodes.has(/^socket:\[(\d+)\]$/.exec(what)?.[1])) bySocket.set(what, fd);
      }
      return [...bySocket.values()];
    },

    /** Writes packets, or text for Node's own channel. @param {number} fd @param {string | Buffer} bytes */
    write: (fd, bytes) => attempt(() => fs.writeSync(fd, bytes)),
  };
}

module.exports = { createKit };
