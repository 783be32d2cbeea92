'use strict';

/**
 * Sends a mark to the parent process.
 * @param {string} mark
 * @param {unknown} [data]
 */
const tell = (mark, data) => process.connected && process.send({ mark, data });

/**
 * Starts the workers of a fixture, or is one of them. The test controls the processes through the primary,
 * which is process 0, and receives the output of each with its id.
 * @param {any} cluster
 * @param {Record<string, (of: any) => unknown>} commands the commands of a process
 */
function obeyCommands(cluster, commands) {
  const run = async (command, of) => tell('done', (await commands[command](of)) ?? null);

  if (cluster.isPrimary) {
    const { WAY = 'fork', COUNT = '2', DRAIN_TIMEOUT = '60000' } = process.env;
    cluster.on('fork', (worker) => {
      worker.on('message', ({ mark, data }) => tell(`${mark} ${worker.id}`, data));
      worker.on('exit', (code, signal) => tell(`exit ${worker.id}`, { code, signal }));
    });
    cluster.on('online', (worker) => tell('online', { id: worker.id, pid: worker.process.pid }));
    process.on('message', ({ command, data: { id, of } = {} }) => {
      if (command === 'stop') process.exit();
      else if (command === 'fork') cluster.fork();
      else if (id === 0) void run(command, of);
      else cluster.workers[id]?.send({ command, of });
    });
    const options = { workers: Number(COUNT), drainTimeout: Number(DRAIN_TIMEOUT) };
    if (WAY === 'supervise') {
      cluster.supervise(options).on('drain-timeout', (facts) => tell('drain-timeout', facts));
    } else for (let i = 0; i < Number(COUNT); i++) cluster.fork();
  } else {
    cluster.worker.on('retire', () => tell('retires'));
    process.on('message', ({ command, of }) => void run(command, of));
  }
}

module.exports = { obeyCommands, tell };
