'use strict';

const { Array, Math, Object, Reflect } = require('./globals');
const { invalidValue } = require('./errors');

// Validates the names of options: a misspelled one would otherwise silently leave its option at the default.

/**
 * The edit distance of two words, in which swapping neighbouring letters counts as one edit.
 * @param {string} one
 * @param {string} other
 * @returns {number}
 */
function distance(one, other) {
  /** @type {number[][]} by the lengths of the compared prefixes */
  const rows = [Array.from({ length: other.length + 1 }, (_, length) => length)];
  for (let row = 1; row <= one.length; row++) {
    rows[row] = [row];
    for (let column = 1; column <= other.length; column++) {
      const same = one[row - 1] === other[column - 1];
      let least = Math.min(
        rows[row - 1][column] + 1,
        rows[row][column - 1] + 1,
        rows[row - 1][column - 1] + (same ? 0 : 1),
      );
      const swapped =
        row > 1 && column > 1 && one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1];
      if (swapped) least = Math.min(least, rows[row - 2][column - 2] + 1);
      rows[row][column] = least;
    }
  }
  return rows[one.length][other.length];
}

/** The longest word that is compared, because the time grows with the square of the length. */
const LONGEST = 64;

/**
 * The known word with the fewest wrong letters. Case, dashes, underscores and spaces do not count.
 * @param {string} word
 * @param {readonly string[]} known
 * @param {(candidate: string) => number} limit The most wrong letters.
 * @returns {string | undefined}
 */
function closest(word, known, limit) {
  if (word.length > LONGEST) return undefined;
  const plain = simplified(word);
  let best;
  let least = Infinity;
  for (const candidate of known) {
    const wrong = distance(plain, simplified(candidate));
    if (wrong <= limit(candidate) && wrong < least) {
      best = candidate;
      least = wrong;
    }
  }
  return best;
}

/** @param {string} word */
function simplified(word) {
  return word.toLowerCase().replaceAll(/[-_\s]/g, '');
}

/**
 * The known word that was probably meant: at most a third of its letters is wrong, or the given word is a
 * prefix or suffix of it.
 * @param {string} word
 * @param {readonly string[]} known
 * @returns {string | undefined}
 */
function nearest(word, known) {
  const best = closest(word, known, ({ length }) => Math.max(1, Math.floor(length / 3)));
  const plain = simplified(word);
  if (best !== undefined || plain.length < 4) return best;
  return known.find((candidate) => {
    const other = simplified(candidate);
    return other.startsWith(plain) || other.endsWith(plain);
  });
}

/**
 * Whether a value can hold options: an array, a Map, a date or a function has no options to read, and would
 * be taken for all defaults.
 * @param {unknown} value
 * @returns {value is Record<string, any>}
 */
function isOptions(value) {
  if (typeof value !== 'object' || value === null) return false;
  // The second is the namespace of `import * as options`.
  return ['[object Object]', '[object Module]'].includes(Reflect.apply(Object.prototype.toString, value, []));
}

/**
 * Refuses an object with an unknown key, and suggests the one that was probably meant.
 * @param {object} options
 * @param {readonly string[]} known
 * @param {(key: string) => string} subject Names the key in the error.
 * @param {(key: string) => string | undefined} [elsewhere] The full name of a key that belongs to something else.
 * @throws {TypeError} ERR_INVALID_ARG_VALUE
 */
function refuseUnknownKeys(options, known, subject, elsewhere = () => undefined) {
  const key = Object.keys(options).find((name) => !known.includes(name));
  if (key === undefined) return;
  const meant = elsewhere(key) ?? nearest(key, known);
  const end = meant === undefined ? `Known are ${known.join(', ')}` : `Did you mean "${meant}"?`;
  throw invalidValue(`${subject(key)} does not exist. ${end}`);
}

/**
 * A function that gives the full name of a key that exactly one of the groups has, for keys that are given a level too
 * high.
 * @param {Record<string, readonly string[]>} groups The keys of options that are objects themselves.
 * @returns {(key: string) => string | undefined}
 */
function nameInGroup(groups) {
  return (key) => {
    const parents = Object.keys(groups).filter((name) => groups[name].includes(key));
    return parents.length === 1 ? `${parents[0]}.${key}` : undefined;
  };
}

module.exports = { closest, isOptions, nameInGroup, nearest, refuseUnknownKeys };
