'use strict';

const { textTable } = require('../../testing/tables.js');
const { FATES } = require('./ledger.js');

/** The number of unexplained clients that are shown in full. */
const SHOWN = 3;

/** @param {Awaited<ReturnType<typeof import('./scenario').runFaults>>} result */
function report(result) {
  const { total, byFault, sorts, details, leaks, miscounted, remarks, figures } = result;
  const { repeated, backlogs, unaccounted, ownNetwork } = result;
  const cells = (/** @type {Record<string, number>} */ counts) => FATES.map((fate) => `${counts[fate]}`);
  const rows = Object.entries(byFault).map(([fault, counts]) => [fault, `${counts.times}`, ...cells(counts)]);
  /** @type {Map<string, number>} */
  const often = new Map();
  for (const remark of remarks) {
    const kind = remark.replace(/"pid":\d+/, '"pid":…');
    often.set(kind, (often.get(kind) ?? 0) + 1);
  }
  return [
    textTable(['clients there during', 'times', ...FATES], [...rows, ['all', '', ...cells(total)]]),
    ...sorts,
    ...[...often].map(([remark, times]) => `${times} × ${remark}`),
    `figures: ${JSON.stringify(figures)}`,
    `backlogs: ${backlogs.late} clients late, ${backlogs.overflows} overflows and ${backlogs.drops} drops by the kernel's count` +
      ` (${ownNetwork ? "the run's own network" : 'others use the network, too'})`,
    ...repeated.slice(0, SHOWN).map((it) => `executed twice: ${JSON.stringify(it)}`),
    ...details.slice(0, SHOWN).map((it) => `unaccounted: ${JSON.stringify(it)}`),
    ...miscounted.map((text) => `miscounted: ${text}`),
    ...leaks.map((leak) => `left behind: ${leak}`),
    `${unaccounted.length} unaccounted, ${repeated.length} executed twice`,
  ].join('\n');
}

module.exports = { report };
