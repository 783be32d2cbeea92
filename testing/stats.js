'use strict';

/** @typedef {{ median: number, min: number, max: number }} Summary */

/**
 * The smallest value such that at least `percent` of all values do not exceed it (nearest rank, without
 * interpolation).
 * @param {readonly number[]} values
 * @param {number} percent
 */
function percentile(values, percent) {
  if (values.length === 0) return NaN;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
}

/** @param {readonly number[]} values */
function median(values) {
  if (values.length === 0) return NaN;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * @param {readonly number[]} values
 * @returns {Summary}
 */
function summarise(values) {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** @param {readonly number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

module.exports = { percentile, median, summarise, sum };
