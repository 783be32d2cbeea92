'use strict';

// The page that a worker shares with the primary, and memory at large.

const fs = require('node:fs');

/** The words of the page that a worker writes: see sys/scoreboard.rs. */
const WORDS = { received: 0, open: 1, turns: 2, accepted: 3, busy: 4, clients: 5 };

/** @type {Record<string, import('./index').Way>} */
const ways = {
  'zeroes on the page': { act: ({ calls, link }) => calls('scribble', [link.page], 'zeroes'), holds: true },
  'ones on the page': { act: ({ calls, link }) => calls('scribble', [link.page], 'ones'), holds: true },
  'garbage on the page': {
    act: ({ calls, link }) => calls('scribble', [link.page], 'random'),
    holds: true,
    brief: true,
  },
  'numbers that count on the page': {
    act: ({ calls, link }) => calls('scribble', [link.page], 'counting'),
    holds: true,
  },
  'holes in the page': { act: ({ calls, link }) => calls('punch', [link.page]), holds: true },
  'the page cut off': { act: ({ attempt, link }) => attempt(() => fs.ftruncateSync(link.page, 0)) },
  'the page made longer': { act: ({ attempt, link }) => attempt(() => fs.ftruncateSync(link.page, 1 << 30)) },
  'the page sealed': { act: ({ calls, link }) => calls('seal', [link.page]) },
  'memory beyond measure': {
    act: async ({ forever }) => {
      const kept = [];
      // More than it can use, but not too much for a shared machine.
      await forever((round) => (kept.push(Buffer.alloc(8 << 20, 1)), round < 40));
    },
  },
};

for (const [word, at] of Object.entries(WORDS)) {
  ways[`more ${word} than there is`] = {
    act: ({ calls, link }) => calls('claim', [link.page], at, 1000),
    holds: true,
  };
  ways[`less ${word} all the time`] = {
    act: ({ calls, link }) => calls('claim', [link.page], at, -1),
    holds: true,
  };
}

module.exports = ways;
