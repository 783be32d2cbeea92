'use strict';

/**
 * The suites of `npm run bench`, in this order; a script each, which runs alone just as well. `full` are together to
 * take less than 20 minutes, `quick` less than 4, which is enough to see that everything works, and for nothing else.
 * @type {readonly { name: string, full: string[], quick: string[] }[]}
 */
const suites = [
  {
    name: 'run',
    full: ['--rounds', '5', '--duration', '4', '--warmup', '1'],
    quick: ['--rounds', '1', '--duration', '1', '--warmup', '1'],
  },
  {
    name: 'policies',
    full: ['--rounds', '3', '--duration', '3', '--warmup', '1'],
    quick: ['--rounds', '1', '--duration', '1', '--warmup', '1'],
  },
  {
    name: 'passing',
    full: ['--rounds', '5', '--duration', '2'],
    quick: ['--rounds', '1', '--duration', '1'],
  },
  {
    name: 'matrix',
    full: ['--rounds', '3', '--duration', '2', '--full', '1'],
    quick: ['--rounds', '1', '--duration', '1', '--full', '1'],
  },
  { name: 'burst', full: ['--rounds', '3'], quick: ['--rounds', '1'] },
  {
    name: 'hostage',
    full: ['--rounds', '3', '--duration', '5'],
    quick: ['--rounds', '1', '--duration', '2'],
  },
  {
    name: 'mixed',
    full: ['--rounds', '3', '--duration', '5'],
    quick: ['--rounds', '1', '--duration', '2'],
  },
  { name: 'messages', full: ['--rounds', '9'], quick: ['--rounds', '1'] },
  {
    name: 'forward',
    full: ['--rounds', '3', '--duration', '1'],
    quick: ['--rounds', '1', '--duration', '1', '--whole', '64'],
  },
];

module.exports = { suites };
