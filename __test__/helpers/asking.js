'use strict';

// Clusters that send each other requests with the scope 'all', and their answers.

const { startMembers } = require('./members.js');
const { startRedis } = require('../../testing/redis.js');
const { until } = require('../../testing/processes.js');

/** @typedef {import('./members.js').Member} Member */

/**
 * Has a cluster answer `who` with its number and the data of the call, answer `slow` on command, and count the notices it receives.
 * @param {Member} member
 * @param {object | string} backend
 * @param {number} number
 */
async function join(member, backend, number) {
  await member.run(
    ({ cluster, kept }, backend, number) => {
      cluster.setupPrimary({ backend });
      kept.slow = [];
      kept.told = [];
      cluster.handle('who', (data, { worker, elsewhere }) => ({ number, data, worker, elsewhere }));
      cluster.handle('slow', (data, { signal }) => {
        const call = { data, isAborted: false };
        kept.slow.push(call);
        signal.addEventListener('abort', () => void (call.isAborted = true));
        return new Promise((resolve) => void (call.answer = () => resolve(number)));
      });
      cluster.handle('fails', () => {
        throw Object.assign(new TypeError('on purpose'), { code: 'ERR_ON_PURPOSE' });
      });
      cluster.handle('length', (data) => 'x'.repeat(data));
      cluster.handle('told', (data, { worker, elsewhere }) => void kept.told.push([data, worker, elsewhere]));
    },
    backend,
    number,
  );
}

/**
 * Sends a request with the scope 'all', and returns the outcome in a form that can be sent: errors by their code.
 * @param {Member} member
 * @param {any} target
 * @param {string} name
 * @param {any} [data]
 * @param {number} [timeout]
 * @returns {Promise<any>}
 */
function ask(member, target, name, data, timeout = 60_000) {
  return member.run(
    async ({ cluster }, target, name, data, timeout) => {
      const read = (/** @type {any} */ it) =>
        it.status === 'rejected'
          ? { ...it, reason: { code: it.reason.code, message: it.reason.message } }
          : it;
      const results = await cluster.request(target, name, data, { scope: 'all', timeout });
      return Array.isArray(results) ? results.map(read) : results;
    },
    target,
    name,
    data,
    timeout,
  );
}

/**
 * The numbers of the clusters that have answered.
 * @param {any[]} results
 */
const numbers = (results) => results.map((it) => it.value?.number).sort();

/**
 * Waits until each of them reaches all.
 * @param {Member[]} members
 */
async function connected(members) {
  const all = members.map((_, place) => place);
  for (const member of members) {
    await until('all answer', async () => {
      const results = await ask(member, 'all', 'who');
      return results.length === all.length && JSON.stringify(numbers(results)) === JSON.stringify(all);
    });
  }
}

/**
 * @param {number} count
 * @param {(server: Awaited<ReturnType<typeof startRedis>>, members: Member[]) => Promise<void>} body
 */
async function withMembers(count, body) {
  const server = await startRedis();
  /** @type {Member[]} */
  let members = [];
  try {
    members = await startMembers(count);
    await Promise.all(members.map((member, place) => join(member, server.url, place)));
    await connected(members);
    await body(server, members);
  } finally {
    await Promise.all(members.map((member) => member.stop()));
    await server.close();
  }
}

/**
 * Begins a request there, as `kept.asked`, whose outcome is read later.
 * @param {Member} member
 * @param {any} target
 * @param {string} name
 * @param {any} [options]
 */
function begin(member, target, name, options = {}) {
  return member.run(
    ({ cluster, kept }, target, name, options) => {
      kept.controller = new AbortController();
      const { signal } = kept.controller;
      kept.asked = cluster.request(target, name, 'data', { ...options, signal, scope: 'all' });
      kept.asked.catch(() => {});
    },
    target,
    name,
    options,
  );
}

/**
 * @param {Member} member
 * @returns {Promise<any>}
 */
function outcome(member) {
  return member.run(async ({ kept }) => {
    const results = await kept.asked.catch((/** @type {any} */ error) => ({
      rejected: error.name === 'AbortError' ? error.name : error.code,
    }));
    if (!Array.isArray(results)) return results;
    return results.map(({ machine, worker, value, reason }) => ({
      isElsewhere: machine !== undefined,
      worker,
      value,
      code: reason?.code,
      message: reason?.message,
    }));
  });
}

/**
 * Waits until its handler `slow` has been called this many times.
 * @param {Member} member
 * @param {number} count
 */
const called = (member, count = 1) =>
  until('it is called', () => member.run(({ kept }, count) => kept.slow.length === count, count));

/**
 * Answers the calls there. The workers of a request are called in any order: it waits for a call.
 * @param {Member} member
 */
const answer = (member) =>
  until('it has been called, and answers', () =>
    member.run(({ kept }) => {
      kept.slow.forEach((/** @type {any} */ it) => it.answer());
      return kept.slow.length > 0;
    }),
  );

/** @param {Member} member */
const aborted = (member) =>
  until('the handler is told that nobody waits', () =>
    member.run(({ kept }) => kept.slow[0]?.isAborted === true),
  );

/**
 * Has a cluster lead under this name.
 * @param {Member} member
 * @param {string} name
 */
function lead(member, name) {
  return member.run(
    ({ cluster, kept }, name) =>
      new Promise((resolve) => {
        const run = (/** @type {{ signal: AbortSignal }} */ { signal }) => {
          resolve(true);
          return new Promise((end) => signal.addEventListener('abort', end));
        };
        kept.leadership = cluster.lead(name, { scope: 'all', ttl: 2000 }, run);
      }),
    name,
  );
}

module.exports = {
  join,
  ask,
  numbers,
  connected,
  withMembers,
  begin,
  outcome,
  called,
  answer,
  aborted,
  lead,
};
