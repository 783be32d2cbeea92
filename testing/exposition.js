'use strict';

// Reads metrics in the text formats of OpenMetrics 1.0 and Prometheus 0.0.4, more strictly than collectors
// do: every deviation from the format is an error.

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)( \\S+)?$`);
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"(?:,|$)/;
const NUMBER = /^(?:[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?|[+-]Inf|NaN)$/i;

/** The suffixes that the names of samples may have, by the type of their family. */
const SUFFIXES = {
  openmetrics: {
    counter: ['_total', '_created'],
    gauge: [''],
    info: ['_info'],
    stateset: [''],
    unknown: [''],
    histogram: ['_bucket', '_sum', '_count', '_created'],
    summary: ['', '_sum', '_count', '_created'],
  },
  prometheus: {
    counter: [''],
    gauge: [''],
    untyped: [''],
    histogram: ['_bucket', '_sum', '_count'],
    summary: ['', '_sum', '_count'],
  },
};

/**
 * @typedef {{ name: string, labels: Record<string, string>, value: number }} Sample
 * @typedef {{ name: string, type: string, help: string, samples: Sample[] }} Family
 */

/**
 * @param {string} text
 * @param {'openmetrics' | 'prometheus'} format
 * @returns {Map<string, Family>} the families by their names
 */
function readExposition(text, format) {
  /** @type {Map<string, Family>} */
  const families = new Map();
  const suffixes = SUFFIXES[format];
  const end = format === 'openmetrics' ? '# EOF\n' : '';
  if (!text.endsWith(`\n${end}`)) throw new Error(`the end is ${JSON.stringify(text.slice(-20))}`);
  /** @type {Family | undefined} */
  let family;
  const seen = new Set();
  for (const line of text.slice(0, text.length - end.length - 1).split('\n')) {
    const wrong = (/** @type {string} */ why) => new Error(`${why}: ${line}`);
    const [, keyword, name, rest] = /^# (HELP|TYPE|UNIT) (\S+)(?: (.*))?$/.exec(line) ?? [];
    if (keyword !== undefined) {
      if (family?.name !== name) {
        if (families.has(name)) throw wrong('the family is interrupted');
        family = { name, type: '', help: '', samples: [] };
        families.set(name, family);
      }
      if (family.samples.length > 0) throw wrong('it is described behind its samples');
      if (keyword === 'TYPE') {
        if (!(rest in suffixes) || family.type !== '') {
          throw wrong('the type is not known, or is there twice');
        }
        family.type = rest;
      }
      if (keyword === 'HELP') family.help = rest;
      continue;
    }
    const [, sample, inner, value, time] = SAMPLE.exec(line) ?? [];
    if (sample === undefined || !NUMBER.test(value) || time !== undefined) throw wrong('this is no sample');
    if (family === undefined || family.type === '') throw wrong('it has no type');
    if (!suffixes[family.type].some((suffix) => sample === family.name + suffix)) {
      throw wrong('it is of no family');
    }
    const labels = readLabels(inner ?? '', wrong);
    const key = `${sample} ${JSON.stringify(Object.entries(labels).sort())}`;
    if (seen.has(key)) throw wrong('it is there twice');
    seen.add(key);
    const number = Number(value.replace('Inf', 'Infinity'));
    if (family.type === 'counter' && !(number >= 0)) throw wrong('a counter is not negative');
    family.samples.push({ name: sample, labels, value: number });
  }
  for (const { type, samples, name } of families.values()) {
    if (samples.length === 0) throw new Error(`the family ${name} has no samples`);
    if (type === 'histogram') checkHistogram(name, samples);
  }
  return families;
}

/**
 * @param {string} text
 * @param {(why: string) => Error} wrong
 */
function readLabels(text, wrong) {
  /** @type {Record<string, string>} */
  const labels = {};
  for (let rest = text; rest !== '';) {
    const match = LABEL.exec(rest);
    if (match === null || (match[0].endsWith(',') && match[0].length === rest.length)) {
      throw wrong('a label is wrong');
    }
    const [{ length }, name, value] = match;
    if (name in labels) throw wrong('a label is there twice');
    labels[name] = value.replaceAll(/\\(.)/g, (_, letter) => (letter === 'n' ? '\n' : letter));
    rest = rest.slice(length);
  }
  return labels;
}

/**
 * @param {string} name
 * @param {Sample[]} samples
 */
function checkHistogram(name, samples) {
  /** @type {Map<string, Sample[]>} */
  const groups = new Map();
  for (const sample of samples) {
    const { le: _, ...others } = sample.labels;
    const key = JSON.stringify(Object.entries(others).sort());
    groups.set(key, [...(groups.get(key) ?? []), sample]);
  }
  for (const group of groups.values()) {
    const buckets = group.filter((sample) => sample.name.endsWith('_bucket'));
    const count = group.find((sample) => sample.name.endsWith('_count'));
    const limits = buckets.map(({ labels }) => Number(labels.le.replace('Inf', 'Infinity')));
    const rises = (/** @type {number[]} */ list, /** @type {number} */ least) =>
      list.every((value, index) => index === 0 || value - list[index - 1] >= least);
    const values = buckets.map(({ value }) => value);
    if (!rises(limits, Number.MIN_VALUE) || !rises(values, 0)) {
      throw new Error(`the buckets of ${name} do not rise`);
    }
    if (limits.at(-1) !== Infinity || values.at(-1) !== count?.value) {
      throw new Error(`${name} has another count`);
    }
  }
}

/**
 * @param {Map<string, Family>} families
 * @param {string} name of a sample
 * @param {Record<string, string>} [labels] labels that it must have
 * @returns {number | undefined} its value; undefined if there is no such sample
 */
function valueOf(families, name, labels = {}) {
  const all = [...families.values()]
    .flatMap(({ samples }) => samples)
    .filter((sample) => sample.name === name);
  const found = all.filter((sample) =>
    Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
  );
  if (found.length > 1) {
    throw new Error(`there are ${found.length} samples of ${name} with ${JSON.stringify(labels)}`);
  }
  return found[0]?.value;
}

module.exports = { readExposition, valueOf };
