'use strict';

/**
 * Stops a supervised application under load of new and kept connections, again and again, as service managers do.
 *
 *   node __test__/supervision/group-stop/run.js --rounds 50
 *   node __test__/supervision/group-stop/run.js --rounds 10 --order 'workers first' --takes 300
 *
 * Ends with code 1 if a request was cut, or if the application did not exit with 0.
 */

const { parseArgs } = require('node:util');
const { ORDERS, stopUnderLoad } = require('./scenario.js');

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '50' },
    order: { type: 'string', default: 'group' },
    takes: { type: 'string', default: '1000' },
    clients: { type: 'string', default: '12' },
  },
});

async function main() {
  if (!(values.order in ORDERS)) throw new Error(`--order: one of ${Object.keys(ORDERS).join(', ')}`);
  let [answered, cut, failed] = [0, 0, 0];
  for (let round = 1; round <= Number(values.rounds); round++) {
    const result = await stopUnderLoad({
      order: values.order,
      takes: Number(values.takes),
      clients: Number(values.clients),
    });
    answered += result.answered;
    cut += result.cut.length;
    if (result.code !== 0) failed++;
    process.stdout.write(`${round}: ${JSON.stringify(result)}\n`);
  }
  process.stdout.write(`${answered} requests answered, ${cut} cut; ${failed} exits other than 0\n`);
  if (cut > 0 || failed > 0) process.exitCode = 1;
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
