'use strict';

// Prepares text of the application for the native part, which accepts only well-formed Unicode.

const { Error } = require('./globals');
const { inspect, types } = require('node:util');

/** The longest reason of a retirement, in UTF-16 units. */
const MAX_REASON = 64;

/** A surrogate without its other half. */
const LONE = /\p{Surrogate}/gu;

/**
 * The beginning of a text, well-formed and without a truncated character.
 *
 * @param {string} text
 * @param {number} length the most UTF-16 units
 */
function beginning(text, length) {
  const part = text.slice(0, length);
  const last = part.charCodeAt(length - 1);
  const cutsPair = text.length > length && last >= 0xd800 && last <= 0xdbff;
  return (cutsPair ? part.slice(0, -1) : part).replace(LONE, '\ufffd');
}

/**
 * Calls functions until one returns a string. The values that they read may be anything, so each may throw.
 *
 * @param {...(() => unknown)} attempts
 * @returns {string | undefined}
 */
function firstText(...attempts) {
  for (const attempt of attempts) {
    try {
      const text = attempt();
      if (typeof text === 'string') return text;
    } catch {
      // The value's own code has failed. The next attempt relies less on it.
    }
  }
  return undefined;
}

/** @param {unknown} value */
function isError(value) {
  try {
    return types.isNativeError(value) || value instanceof Error;
  } catch {
    return false;
  }
}

/**
 * The text of util.inspect() for a value, or as much as possible for a value whose own code throws.
 *
 * @param {unknown} value
 */
function describe(value) {
  const text = firstText(
    () => inspect(value),
    () => inspect(value, { customInspect: false }),
    () => /** @type {any} */ (value).stack,
    () => /** @type {any} */ (value).message,
  );
  return text ?? `[${typeof value} that cannot be inspected]`;
}

/**
 * The stack of an error, or a description of any other value.
 *
 * @param {unknown} value
 */
function stackOf(value) {
  const stack = isError(value) ? firstText(() => /** @type {any} */ (value).stack) : undefined;
  return stack ?? describe(value);
}

/**
 * A thrown value in one line: its message, and the location at the top of its stack.
 *
 * @param {unknown} value
 */
function summaryOf(value) {
  const lines = stackOf(value).split('\n');
  if (!isError(value)) return lines[0];
  const said = firstText(() => `${/** @type {any} */ (value).name}: ${/** @type {any} */ (value).message}`);
  // The stack of a SyntaxError begins with the location in the file, others with the message, which may end like one.
  const place =
    /:\d+$/.test(lines[0]) && !lines[0].startsWith(`${said?.split('\n')[0]}`)
      ? `at ${lines[0]}`
      : lines.find((line) => /^\s+at /.test(line))?.trim();
  const [line] = (said ?? lines[0]).split('\n');
  return place === undefined ? line : `${line}, ${place}`;
}

module.exports = { MAX_REASON, beginning, describe, isError, stackOf, summaryOf };
