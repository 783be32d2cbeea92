'use strict';

/** docs/benchmarks.md, from the results of the suites. A pure function of the results. */

const { describe } = require('./report');
const { markdownTable } = require('../../testing/tables.js');
const { judge } = require('./targets');

/**
 * @typedef {ReturnType<typeof import('./report').circumstances>} Machine
 * @typedef {{ machine: Machine, options: { rounds: number }, section: import('./section').Section }} Result what a
 *   suite has written
 * @typedef {{ name: string, result: Result | undefined }} Suite without a result if it was not measured
 */

/**
 * @param {Machine} machine of the run that writes the page
 * @param {readonly Suite[]} suites
 * @returns {string}
 */
function writePage(machine, suites) {
  const measured = suites.flatMap(({ name, result }) => (result ? [{ name, ...result }] : []));
  const hasty = measured.filter(({ options }) => options.rounds === 1).map(({ name }) => `\`${name}\``);
  const missing = suites.filter(({ result }) => !result).map(({ name }) => `\`${name}\``);
  return (
    [
      '# Benchmarks',
      'Written by `npm run bench`. Below each section is the command that measured it. The programs of each suite take ' +
        'turns, so that other load on the machine affects all of them alike. Compare figures within a table. ' +
        'Across tables, machines or days only ratios are meaningful.',
      `${describe(machine)}. Load average before: ${machine.loadAverage.map((load) => load.toFixed(2)).join(', ')}.`,
      ...(hasty.length > 0
        ? [
            `**Not reliable**: ${hasty.join(', ')} had a single short round. This shows that the suite works; its ` +
              'figures are mostly noise.',
          ]
        : []),
      ...(missing.length > 0 ? [`Not measured: ${missing.join(', ')}.`] : []),
      '![Requests per second and CPU time of every policy; CPU time by workers and listeners](benchmarks.svg)',
      ...measured.map((one) => part(one, machine)),
      '## Where rcluster is not better',
      'With keep-alive there are few connections to pass, so there is little to gain over the built-in. If workers accept by ' +
        'themselves (`SCHED_NONE`, `kernel`), the primary spends nothing on a connection, and passing cannot be cheaper. ' +
        'The bare loop only passes connections and knows nothing about its receivers: it is the lower bound for the cost of ' +
        'passing. All load comes over the loopback interface of one machine, whose cores clients and servers share.',
      behind(measured),
      '## Targets',
      'The targets of the project, and the measured values.',
      bars(measured),
      '',
    ]
      .join('\n\n')
      .trimEnd() + '\n'
  );
}

/** @param {readonly (Result & { name: string })[]} measured */
function bars(measured) {
  const rows = measured.flatMap(({ name, section }) =>
    section.targets.map((target) => {
      const { verdict, name: what, bound, value } = judge(target);
      return [`${name}: ${what}`, bound, value, verdict];
    }),
  );
  return markdownTable(['', 'target', 'measured', ''], rows);
}

/** @param {readonly (Result & { name: string })[]} measured */
function behind(measured) {
  const sentences = measured.flatMap(({ section }) => section.behind ?? []);
  if (sentences.length === 0) return 'In this run, no alternative was better by more than 3 %.';
  const list = sentences.map((sentence) => `- ${sentence}`).join('\n');
  return `In this run, the alternative was better by more than 3 % in these comparisons. Each figure is the median of the ratios of all rounds:\n\n${list}`;
}

/**
 * @param {Result & { name: string }} result
 * @param {Machine} ofThePage
 */
function part({ section, machine }, ofThePage) {
  const { title, about, tables, lacking = [] } = section;
  const day = machine.date.slice(0, 10);
  const when = day === ofThePage.date.slice(0, 10) ? '' : `, ${day}`;
  return [
    `## ${title}`,
    about,
    ...lacking.map((what) => `Not measured: ${what}.`),
    ...tables.map(({ title, header, rows }) => {
      const table = markdownTable(header, rows);
      return title ? `**${title}**\n\n${table}` : table;
    }),
    `\`${machine.command}\`${when}`,
  ].join('\n\n');
}

module.exports = { writePage };
