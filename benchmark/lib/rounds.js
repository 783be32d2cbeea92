'use strict';

const { createRandom, shuffle } = require('../../testing/random.js');

/**
 * Runs every contestant once in each round, in an order that differs from round to round.
 * @template T
 * @param {readonly import('./contestants').Contestant[]} contestants
 * @param {{ rounds: number, seed: number }} options
 * @param {(contestant: import('./contestants').Contestant, round: number) => Promise<T>} measure
 * @returns {Promise<{ contestant: import('./contestants').Contestant, samples: T[] }[]>} in the order given
 */
async function interleave(contestants, { rounds, seed }, measure) {
  const random = createRandom(seed);
  const all = contestants.map((contestant) => ({ contestant, samples: /** @type {T[]} */ ([]) }));
  for (let round = 1; round <= rounds; round++) {
    for (const { contestant, samples } of shuffle(all, random)) {
      samples.push(await measure(contestant, round));
    }
  }
  return all;
}

/**
 * @template T
 * @param {readonly { contestant: { id: string }, samples: T[] }[]} results
 * @param {string} id
 * @returns {T[] | undefined} those of this contestant, if it ran
 */
function samplesOf(results, id) {
  return results.find(({ contestant }) => contestant.id === id)?.samples;
}

module.exports = { interleave, samplesOf };
