'use strict';

/**
 * The suites of `npm run bench`, in order; each is a script that also runs alone. With `full` they take less
 * than half an hour together; with `quick` less than 7 minutes, which is enough only to check that everything
 * works.
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
    name: 'blocked',
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
  {
    name: 'blocked-primary',
    full: ['--rounds', '5', '--block', '3'],
    quick: ['--rounds', '1', '--block', '1'],
  },
  {
    name: 'kill',
    full: ['--rounds', '3', '--duration', '8'],
    quick: ['--rounds', '1', '--duration', '2'],
  },
  { name: 'supervision', full: [], quick: ['--only', 'hang'] },
  {
    name: 'spawn',
    full: ['--rounds', '3'],
    quick: ['--rounds', '1', '--forks', '3', '--heap', '128'],
  },
  {
    name: 'idle',
    full: ['--rounds', '3'],
    quick: ['--rounds', '1', '--seconds', '1', '--processes', '3'],
  },
  {
    name: 'forks',
    full: ['--forks', '2000'],
    quick: ['--forks', '50', '--warmup', '10'],
  },
  {
    name: 'soak',
    full: ['--connections', '200000'],
    quick: ['--connections', '2000', '--warmup', '500'],
  },
  {
    name: 'cli',
    full: ['--rounds', '5'],
    quick: ['--rounds', '1', '--repeat', '3', '--seconds', '1'],
  },
  {
    name: 'exchange',
    full: ['--rounds', '7'],
    quick: ['--rounds', '1', '--requests', '200', '--messages', '100'],
  },
  { name: 'scrapes', full: [], quick: ['--workers', '4', '--scrapes', '50'] },
  { name: 'logs', full: ['--rounds', '3'], quick: ['--rounds', '1', '--seconds', '1'] },
  { name: 'redis', full: [], quick: ['--rounds', '1', '--gets', '10000', '--trips', '20', '--sets', '4000'] },
  { name: 'shared', full: ['--rounds', '15'], quick: ['--rounds', '1', '--keys', '20000'] },
];

module.exports = { suites };
