'use strict';

/**
 * Workers use all features of shared state, while other workers are killed at random times; then the
 * observations of all workers are compared.
 *
 *   node __test__/faults/shared/run.js --kills 1000 --workers 4 --seed 7
 *
 * The invariants: every acknowledged write is counted, and nothing that was not sent; no watch misses changes without being
 * notified; every call has an answer or the error that the process is gone; no dead process holds a lock; and in the end all
 * processes have the same state. Ends with code 1 and the reason if one is violated.
 */

const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { parseArgs } = require('node:util');
const cluster = require('../../../index.js');
const { createRandom } = require('../../../testing/random.js');

if (cluster.isPrimary) {
  const { values } = parseArgs({
    options: {
      kills: { type: 'string', default: '1000' },
      workers: { type: 'string', default: '4' },
      seed: { type: 'string', default: `${Date.now() % 2 ** 31}` },
      minutes: { type: 'string', default: '30' },
    },
  });
  const number = (/** @type {'kills' | 'workers' | 'seed' | 'minutes'} */ name) => {
    const value = Number(values[name]);
    if (!(value >= 0)) throw new Error(`--${name} has to be a number, and not ${values[name]}`);
    return value;
  };
  const options = {
    kills: number('kills'),
    workers: number('workers'),
    seed: number('seed'),
    limit: number('minutes') * 60_000,
  };
  console.log(JSON.stringify(options));
  void primary(options);
} else {
  require('./worker.js').run();
}

/** @param {{ kills: number, workers: number, seed: number, limit: number }} options */
async function primary({ kills, workers, seed, limit }) {
  const random = createRandom(seed);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-kills-'));
  process.once('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
  const { account } = require('./account.js');
  /** @type {string[]} */
  const wrong = [];
  const store = cluster.shared('kills', { size: '16MB' });
  let forked = 0;
  let killed = 0;
  const queries = new Set();
  const victims = new Set();
  const end = Date.now() + limit;

  const fork = () => {
    forked += 1;
    const env = { KILLS_FOLDER: folder, KILLS_SEED: `${seed + forked}` };
    cluster.fork(env);
  };
  cluster.on('exit', (worker, code, signal) => {
    if (signal !== 'SIGKILL') wrong.push(`worker ${worker.id} has ended with code ${code}, signal ${signal}`);
    // A process that is notified of the death finds that the dead process holds nothing.
    const query = cluster.locks.query().then(({ held, pending }) => {
      const its = [...held, ...pending].filter(({ clientId }) => clientId === `${worker.id}`);
      for (const { name, mode } of its) {
        wrong.push(`${worker.id} is dead, and has the lock ${name} (${mode})`);
      }
    });
    queries.add(query);
    void query.finally(() => queries.delete(query));
    if (killed < kills && wrong.length === 0) fork();
  });
  for (let count = 0; count < workers; count++) fork();

  const working = new Set();
  cluster.on('message', (worker, message) => message.works && working.add(worker));
  cluster.on('exit', (worker) => working.delete(worker));
  while (killed < kills && wrong.length === 0 && Date.now() < end) {
    // Some are killed before they have begun, some in the middle of an operation.
    while (working.size < Math.min(2, workers) && wrong.length === 0) {
      await Promise.race([once(cluster, 'message'), once(cluster, 'exit')]);
    }
    await new Promise((resolve) => setTimeout(resolve, random() * (random() < 0.2 ? 5 : 100)));
    const alive = living().filter((worker) => !victims.has(worker));
    const victim = alive[Math.floor(random() * alive.length)];
    if (victim === undefined) continue;
    victims.add(victim);
    victim.process.kill('SIGKILL');
    killed += 1;
    if (killed % 100 === 0) console.log(`${killed} killed`);
  }
  for (const victim of victims) if (!victim.isDead()) await once(victim, 'exit');
  await settle(wrong);
  await Promise.all(queries);
  await account({ cluster, store, folder, wrong });
  const { held, pending } = await cluster.locks.query();
  for (const { name, clientId } of [...held, ...pending]) wrong.push(`${clientId} has the lock ${name}`);
  console.log(`${killed} of ${forked} workers were killed`);
  for (const text of wrong) console.error(text);
  process.exit(wrong.length === 0 && killed >= Math.min(kills, 1) ? 0 : 1);
}

function living() {
  const workers = /** @type {import('../../../index.js').Worker[]} */ (Object.values(cluster.workers ?? {}));
  return workers.filter((worker) => !worker.isDead());
}

/**
 * Waits until all living workers have finished and reported what they see.
 * @param {string[]} wrong
 */
async function settle(wrong) {
  const alive = living();
  for (const stage of ['stop', 'compare']) {
    if (stage === 'compare') await cluster.shared('kills').set('own:primary', 'the last change');
    const answers = alive.map(
      (worker) =>
        new Promise((resolve) => {
          worker.once('exit', () => resolve(undefined));
          worker.on('message', (message) => message.ended === stage && resolve(message.state));
          worker.send({ stage });
        }),
    );
    const limit = new Promise((resolve) => setTimeout(resolve, 60_000, 'late').unref());
    const states = await Promise.race([Promise.all(answers), limit]);
    if (states === 'late') wrong.push(`a worker does not come to '${stage}'`);
    else if (stage === 'compare') compare(states, wrong);
  }
}

/**
 * @param {any[]} states
 * @param {string[]} wrong
 */
function compare(states, wrong) {
  const own = JSON.stringify(cluster.shared('kills').entries());
  for (const state of states) {
    if (state === undefined) continue;
    if (state.entries !== own) wrong.push(`worker ${state.id} has another state than the primary`);
    if (state.watched !== state.own) {
      wrong.push(`worker ${state.id} has watched something else than it reads`);
    }
    for (const text of state.wrong) wrong.push(`worker ${state.id}: ${text}`);
  }
}
