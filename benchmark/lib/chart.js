'use strict';

/**
 * Charts as SVG, in one picture: bars for figures by name, lines for figures by number. A pure function of the figures.
 *
 * The picture has a background of its own and follows the reader's preference for light or dark, so that it can be read
 * on any page.
 */

/**
 * @typedef {{ kind: 'bars', title: string, unit: string, bars: { name: string, value: number, own?: boolean }[] }} Bars
 * @typedef {{ kind: 'lines', title: string, x: string, y: string, ticks: number[],
 *   series: { name: string, values: number[] }[] }} Lines
 * @typedef {Bars | Lines} Chart
 */

const WIDTH = 860;
const MARGIN = 24;
const TITLE = 34;
/** Of a chart with bars. */
const LABELS = 210;
const VALUES = 80;
const BAR = 24;
/** Of a chart with lines. */
const PLOT = 200;
const AXIS = 56;
/** Of the series, in light and in dark. rcluster is the second one. */
const COLOURS = [
  ['#6e7781', '#9198a1'],
  ['#0969da', '#4493f8'],
  ['#bc4c00', '#f0883e'],
  ['#8250df', '#ab7df8'],
];

/** @param {0 | 1} mode light or dark */
function style(mode) {
  const of = (/** @type {string[]} */ ...colours) => colours[mode];
  const series = COLOURS.map(
    (colours, n) => `.fill.c${n} { fill: ${colours[mode]} } .line.c${n} { stroke: ${colours[mode]} }`,
  );
  return [
    `text { fill: ${of('#1f2328', '#f0f6fc')} }`,
    `.faint { fill: ${of('#59636e', '#9198a1')} }`,
    `.page { fill: ${of('#ffffff', '#0d1117')}; stroke: ${of('#d1d9e0', '#3d444d')} }`,
    `.grid { stroke: ${of('#d1d9e0', '#3d444d')} }`,
    `.axis { stroke: ${of('#59636e', '#9198a1')} }`,
    ...series,
  ].join('\n');
}

const STYLE = `
text { font: 13px system-ui, sans-serif }
.title { font-size: 15px; font-weight: 600 }
.line { fill: none; stroke-width: 2 }
${style(0)}
@media (prefers-color-scheme: dark) {
${style(1)}
}
`;

/**
 * @param {string} title of the picture, for those who cannot see it
 * @param {readonly Chart[]} charts from top to bottom
 * @returns {string}
 */
function drawCharts(title, charts) {
  let top = MARGIN;
  const parts = charts.map((chart) => {
    const drawn = chart.kind === 'bars' ? drawBars(chart) : drawLines(chart);
    const part = `<g transform="translate(${MARGIN} ${top})">\n${drawn.svg}\n</g>`;
    top += drawn.height + MARGIN;
    return part;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top}" width="${WIDTH}" height="${top}" role="img">`,
    `<title>${escape(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="page" x="0.5" y="0.5" width="${WIDTH - 1}" height="${top - 1}" rx="6"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

/** @param {Bars} chart */
function drawBars({ title, unit, bars }) {
  const known = bars.filter(({ value }) => Number.isFinite(value));
  const { step, end } = scale(Math.max(...known.map(({ value }) => value), 0));
  const room = WIDTH - 2 * MARGIN - LABELS - VALUES;
  const at = (/** @type {number} */ value) => round(LABELS + (value / end) * room);
  const bottom = TITLE + known.length * BAR + 4;
  const svg = [text(0, 14, title, 'title')];
  for (let value = 0; value <= end + step / 2; value += step) {
    svg.push(line(at(value), TITLE - 6, at(value), bottom, value === 0 ? 'axis' : 'grid'));
    svg.push(text(at(value), bottom + 18, figure(value), 'faint', 'middle'));
  }
  svg.push(text(LABELS + room / 2, bottom + 36, unit, 'faint', 'middle'));
  for (const [index, { name, value, own }] of known.entries()) {
    const y = TITLE + index * BAR;
    svg.push(text(LABELS - 8, y + 14, name, '', 'end'));
    const width = round(at(value) - LABELS);
    svg.push(
      `<rect class="fill ${own ? 'c1' : 'c0'}" x="${LABELS}" y="${y + 2}" width="${width}" height="${BAR - 8}"/>`,
    );
    svg.push(text(at(value) + 6, y + 14, figure(value)));
  }
  return { svg: svg.join('\n'), height: bottom + 40 };
}

/** @param {Lines} chart */
function drawLines({ title, x, y, ticks, series }) {
  const all = series.flatMap(({ values }) => values).filter(Number.isFinite);
  const { step, end } = scale(Math.max(...all, 0));
  const right = WIDTH - 2 * MARGIN - VALUES - 60;
  // Each tick as far from the last one: they are powers.
  const across = (/** @type {number} */ index) =>
    round(AXIS + 20 + (index * (right - AXIS - 40)) / Math.max(1, ticks.length - 1));
  const bottom = TITLE + PLOT;
  const up = (/** @type {number} */ value) => round(bottom - (value / end) * PLOT);
  const svg = [text(0, 14, title, 'title')];
  for (let value = 0; value <= end + step / 2; value += step) {
    svg.push(line(AXIS, up(value), right, up(value), value === 0 ? 'axis' : 'grid'));
    svg.push(text(AXIS - 8, up(value) + 4, figure(value), 'faint', 'end'));
  }
  for (const [index, tick] of ticks.entries()) {
    svg.push(text(across(index), bottom + 18, figure(tick), 'faint', 'middle'));
  }
  svg.push(text((AXIS + right) / 2, bottom + 36, x, 'faint', 'middle'));
  svg.push(text(0, TITLE + PLOT / 2, y, 'faint'));
  for (const [order, { name, values }] of series.entries()) {
    const colour = `c${order % COLOURS.length}`;
    const points = values.flatMap((value, i) => (Number.isFinite(value) ? [[across(i), up(value)]] : []));
    svg.push(
      `<polyline class="line ${colour}" points="${points.map((point) => point.join(',')).join(' ')}"/>`,
    );
    svg.push(...points.map(([cx, cy]) => `<circle class="fill ${colour}" cx="${cx}" cy="${cy}" r="3"/>`));
    const legend = TITLE + 8 + order * 22;
    svg.push(`<rect class="fill ${colour}" x="${right + 16}" y="${legend - 9}" width="12" height="12"/>`);
    svg.push(text(right + 34, legend + 2, name));
  }
  return { svg: svg.join('\n'), height: bottom + 40 };
}

/**
 * Four or five round steps that reach the greatest value.
 * @param {number} greatest
 */
function scale(greatest) {
  if (!(greatest > 0)) return { step: 1, end: 1 };
  const rough = greatest / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * /** @type {number} */ ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough));
  return { step, end: step * Math.ceil(greatest / step) };
}

/** @param {number} value */
function figure(value) {
  if (value >= 100) return String(Math.round(value));
  return String(Number(value.toPrecision(3)));
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}

/** @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 @param {string} kind */
function line(x1, y1, x2, y2, kind) {
  return `<line class="${kind}" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`;
}

/** @param {number} x @param {number} y @param {string} content @param {string} kind */
function text(x, y, content, kind = '', anchor = 'start') {
  return `<text class="${kind}" x="${x}" y="${y}" text-anchor="${anchor}">${escape(content)}</text>`;
}

/** @param {string} content */
function escape(content) {
  return content
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

module.exports = { drawCharts };
