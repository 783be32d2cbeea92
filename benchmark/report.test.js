'use strict';

// The page, the chart and the figures in the README that `npm run bench` writes, from invented figures; nothing is measured.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { drawCharts } = require('./lib/chart.js');
const { writePage } = require('./lib/page.js');
const { withFigures } = require('./lib/readme.js');
const { suites } = require('./lib/suites.js');

const charts = [
  {
    kind: 'bars',
    title: 'Requests < & >',
    unit: 'requests/s',
    bars: [
      { name: 'built-in "round robin"', value: 2759 },
      { name: 'rcluster & co', value: 5705.4, own: true },
      { name: 'not measured', value: NaN },
    ],
  },
  {
    kind: 'lines',
    title: 'CPU by workers',
    x: 'workers',
    y: 'µs',
    ticks: [1, 2, 4],
    series: [
      { name: 'bare loop', values: [10, 11, 12.5] },
      { name: 'rcluster', values: [11, NaN, 13] },
    ],
  },
];

/**
 * Parses XML as far as necessary: tags are closed in order, attributes are quoted, and everything is escaped.
 * @param {string} xml
 * @returns {string[]} the texts
 */
function readXml(xml) {
  const open = [];
  const texts = [];
  let rest = xml.trim();
  while (rest) {
    const tag = /^<(\/?)([a-z]+)((?: [a-zA-Z][\w-]*="[^"<&]*")*)(\/?)>/.exec(rest);
    if (tag) {
      const [whole, closing, name, , single] = tag;
      if (closing) assert.strictEqual(open.pop(), name);
      else if (!single) open.push(name);
      rest = rest.slice(whole.length);
      if (open.length === 0) assert.strictEqual(rest, '', 'something stands behind the root');
      continue;
    }
    const [content] = /^(?:[^<&]|&(?:amp|lt|gt|quot);)+/.exec(rest) ?? [];
    assert.ok(content, `no XML: ${rest.slice(0, 80)}`);
    if (content.trim()) texts.push(content.trim());
    rest = rest.slice(content.length);
  }
  assert.deepStrictEqual(open, []);
  return texts;
}

test('the chart is well-formed and names everything that was measured', () => {
  const svg = drawCharts('All & sundry', charts);
  const texts = readXml(svg);
  for (const name of [
    'All &amp; sundry',
    'Requests &lt; &amp; &gt;',
    'requests/s',
    'built-in &quot;round robin&quot;',
    'rcluster &amp; co',
    '5705',
    'CPU by workers',
    'workers',
    'µs',
    'bare loop',
    'rcluster',
  ]) {
    assert.ok(texts.includes(name), `no ${name} in the chart`);
  }
  assert.ok(!svg.includes('NaN'));
  assert.strictEqual(svg.match(/<polyline/g)?.length, 2);
  assert.strictEqual(svg.match(/<circle/g)?.length, 5, 'a point for each figure');
});

test('a chart without figures is valid', () => {
  readXml(drawCharts('nothing', []));
  const svg = drawCharts('nothing', [
    { ...charts[0], bars: [] },
    { ...charts[1], series: [] },
  ]);
  readXml(svg);
  assert.ok(!svg.includes('Infinity') && !svg.includes('NaN'));
});

const machine = {
  date: '2026-01-02T03:04:05.000Z',
  command: 'node benchmark/bench.js',
  cpu: 'a CPU',
  cores: 2,
  kernel: 'Linux',
  node: 'v20',
  memoryGiB: 4,
  loadAverage: [0.5, 0.25, 0],
};

test('the page reports what was measured, met, missed and not measured', () => {
  const section = {
    title: 'A suite',
    about: 'What it measures.',
    tables: [
      {
        title: 'A table',
        header: ['', 'µs'],
        rows: [
          ['rcluster', '1.5'],
          ['other', 'NaN'],
        ],
      },
    ],
    targets: [
      { name: 'met', value: 1, atMost: 2 },
      { name: 'missed', value: 1, atLeast: 2 },
      // As it is read from a file.
      { name: 'unknown', value: null, atMost: 2 },
    ],
    behind: ['In that it is slower.'],
    lacking: ['a proxy'],
  };
  const page = writePage(machine, [
    {
      name: 'one',
      result: { machine: { ...machine, command: 'node benchmark/one.js' }, options: { rounds: 1 }, section },
    },
    { name: 'other', result: undefined },
  ]);
  for (const line of [
    /^## A suite$/m,
    /^\| rcluster +\| +1\.5 \|$/m,
    /^\| other +\| +– \|$/m,
    /^\| one: met +\| +≤ 2 \| +1 \| PASS \|$/m,
    /^\| one: missed +\| +≥ 2 \| +1 \| MISS \|$/m,
    /^\| one: unknown +\| +≤ 2 \| +– \| +n\/a \|$/m,
    /^- In that it is slower\.$/m,
    /^Not measured: a proxy\.$/m,
    /^Not measured: `other`\.$/m,
    /^a CPU, 2 cores, Linux, Node v20, 2026-01-02, `node benchmark\/bench\.js`\. Load average before: 0\.50/m,
    /^\*\*Not reliable\*\*: `one` had a single short round/m,
    /^`node benchmark\/one\.js`$/m,
  ]) {
    assert.match(page, line);
  }
});

test('the README gets its figures from the suites that have been measured', () => {
  const readme = [
    'above',
    '<!-- figures:begin -->\nold figures\n<!-- figures:end -->',
    'between',
    '<!-- bench:begin -->\nold tables\n<!-- bench:end -->',
    'below',
  ].join('\n');
  const result = (header, rows) => ({
    machine,
    options: { rounds: 3 },
    section: { title: '', about: '', tables: [{ title: 'A table', header, rows }], targets: [] },
  });
  const run = result(
    ['', 'requests/s', 'CPU primary'],
    [
      ['built-in round robin', '1000', '99.0'],
      ['rcluster', '2000', '9.5'],
    ],
  );
  const mixed = result(
    ['', 'short p99'],
    [
      ['built-in round robin', '80.0'],
      ['rcluster round-robin', '40.0'],
      ['rcluster least-loaded', '5.0'],
    ],
  );
  const suitesWith = (withMixed) => [
    { name: 'run', result: run },
    { name: 'mixed', result: withMixed ? mixed : undefined },
  ];
  const whole = withFigures(readme, suitesWith(true));
  for (const line of [
    /^above\n<!-- figures:begin -->\n/,
    /^\| Requests per second, a new connection for each +\| +1000 \| +\*\*2000\*\* \|$/m,
    /^\| CPU time of the primary per connection +\| +99\.0 µs \| +\*\*9\.5 µs\*\* \|$/m,
    /^\| p99 latency of short requests .+ \| +80\.0 ms \| +\*\*5\.0 ms\*\* \|$/m,
    /\n<!-- figures:end -->\nbetween\n<!-- bench:begin -->\n\*\*A table\*\*\n/,
    /^\| rcluster +\| +2000 \| +9\.5 \|$/m,
    /\n<!-- bench:end -->\nbelow$/,
  ]) {
    assert.match(whole, line);
  }
  assert.ok(!whole.includes('old'));

  const partly = withFigures(readme, suitesWith(false));
  assert.ok(partly.includes('old figures') && !partly.includes('old tables'));
  assert.strictEqual(withFigures(readme, [{ name: 'run', result: undefined }]), readme);
  assert.throws(() => withFigures('no marks', suitesWith(true)), /has no <!-- bench:begin -->/);
});

test('every benchmark is a suite that `npm run bench` runs', () => {
  const scripts = fs
    .readdirSync(__dirname)
    .filter((name) => name.endsWith('.js') && !name.endsWith('.test.js') && name !== 'bench.js');
  assert.deepStrictEqual(scripts.sort(), suites.map(({ name }) => `${name}.js`).sort());
});

for (const { name, full, quick } of suites) {
  test(`${name} exists and accepts the options that it is run with`, () => {
    const script = path.join(__dirname, `${name}.js`);
    for (const args of [full, quick]) {
      const { status, stderr } = spawnSync(process.execPath, [script, ...args, '--check', '--help'], {
        encoding: 'utf8',
      });
      assert.strictEqual(status, 0, stderr);
    }
  });
}
