'use strict';

// Attacks with a worker's process: signals, exits and children.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const { Worker } = require('node:worker_threads');

/** @param {NodeJS.Signals} signal @returns {import('./index').Way['act']} */
const kills = (signal) => () => process.kill(process.pid, signal);

/** @type {Record<string, import('./index').Way>} */
module.exports = {
  'it stops': { act: kills('SIGSTOP'), brief: true },
  'it kills itself': { act: kills('SIGKILL') },
  'it crashes': { act: kills('SIGSEGV') },
  'it aborts': { act: () => process.abort() },
  'it exits': { act: () => process.exit(7) },
  'it exits without saying so': { act: () => process.reallyExit(0) },
  'it throws': {
    act: () =>
      void setImmediate(() => {
        throw new Error('thrown by the saboteur');
      }),
  },
  'it disconnects and stays': {
    act: ({ forever, pause }) => {
      process.disconnect();
      process.exit = /** @type {any} */ (() => {});
      process.reallyExit = /** @type {any} */ (() => {});
      return forever(() => pause(100));
    },
  },
  'it breaks the rules and cannot be ended': {
    act: ({ write, link, forever, pause }) => {
      for (const name of /** @type {const} */ (['exit', 'reallyExit', 'disconnect', 'kill', 'abort'])) {
        process[name] = /** @type {any} */ (() => {});
      }
      for (const signal of /** @type {const} */ (['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'])) {
        process.on(signal, () => {});
      }
      write(link.control, 'garbage');
      return forever(() => pause(100));
    },
    noticed: true,
    brief: true,
  },
  'it closes all its descriptors': {
    act: ({ attempt }) => {
      for (let fd = 200; fd >= 0; fd--) attempt(() => fs.closeSync(fd));
    },
    brief: true,
  },
  'it closes all of its link': {
    act: ({ attempt, link }) => {
      for (const fd of [link.control, link.connections, link.lifeline, link.channel]) {
        attempt(() => fs.closeSync(fd));
      }
    },
  },
  'it closes its standard streams': {
    act: ({ attempt }) => {
      for (let fd = 0; fd < 3; fd++) attempt(() => fs.closeSync(fd));
    },
  },
  'it has many children that inherit its link': {
    act: ({ link }) => {
      const stdio = /** @type {const} */ ([
        'ignore',
        'ignore',
        'ignore',
        link.control,
        link.connections,
        link.lifeline,
        link.channel,
      ]);
      // They outlive it, and end before its descriptors in the primary are counted.
      for (let count = 0; count < 40; count++) spawn('sleep', ['8'], { stdio: [...stdio] });
    },
  },
  'a child of it outlives it with its channel, and floods': {
    act: async ({ calls, link }) => {
      await calls('outlive', [link.connections], '57', 2);
      process.kill(process.pid, 'SIGKILL');
    },
  },
  'a child of it outlives it with its control socket, and floods': {
    act: async ({ calls, link }) => {
      await calls('outlive', [link.control], Buffer.from('{"act":"ready"}').toString('hex'), 2);
      process.kill(process.pid, 'SIGKILL');
    },
  },
  'it has threads that use it as well': {
    act: ({ forever, pause }) => {
      const code = `const cluster = require('node:cluster'); const { parentPort } = require('node:worker_threads');
        setInterval(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5), 1);`;
      for (let count = 0; count < 8; count++) new Worker(code, { eval: true }).on('error', () => {});
      return forever(() => pause(100));
    },
  },
  'it changes its user': {
    // Refused unless it is root.
    act: ({ attempt }) => attempt(() => (process.setgid(65534), process.setuid(65534))),
  },
  'its working directory is gone': {
    act: ({ attempt }) => {
      const directory = fs.mkdtempSync(`${process.env.RCLUSTER_TMP}/gone-`);
      process.chdir(directory);
      fs.rmdirSync(directory);
      attempt(() => require('node:net').createServer().listen('relative'));
    },
  },
};
