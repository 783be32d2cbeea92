'use strict';

// The records of the workers, compared with the contents of the store.

const fs = require('node:fs');
const path = require('node:path');

/** The records of a worker, one letter for each, in a file of its own, which outlives the worker. */
const NOTE = { SENT: 's', ACKNOWLEDGED: 'a', ADDING: 't', ADDED: 'T' };

/**
 * @param {{ cluster: any, store: any, folder: string, wrong: string[] }} run
 */
async function account({ store, folder, wrong }) {
  const sum = { s: 0, a: 0, t: 0, T: 0 };
  for (const file of fs.readdirSync(folder)) {
    const text = fs.readFileSync(path.join(folder, file), 'utf8');
    if (file.endsWith('.wrong')) {
      wrong.push(...text.trimEnd().split('\n'));
    } else {
      for (const letter of text) sum[/** @type {keyof sum} */ (letter)] += 1;
    }
  }
  const counted = store.get('count') ?? 0;
  console.log(`${sum.a} acknowledged <= ${counted} counted <= ${sum.s} sent`);
  if (!(sum.a <= counted && counted <= sum.s)) wrong.push('increments are lost, or were made twice');
  const tallied = store.tally('tally').value;
  console.log(`${sum.T} added <= ${tallied} in the tally <= ${sum.t} begun`);
  if (!(sum.T <= tallied && tallied <= sum.t)) wrong.push('the tally has lost something, or has too much');
}

module.exports = { NOTE, account };
