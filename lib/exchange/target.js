'use strict';

const { JSON, Number, Object } = require('../globals');
const { invalidType, invalidValue, outOfRange } = require('../shared/errors');
const { checkName } = require('../locks/check');

/** The native side has the same numbers. */
const TO = {
  WORKER: 1,
  SLOT: 2,
  ANY: 3,
  ALL: 4,
  PRIMARY: 5,
  LEADER: 6,
  EVERYWHERE: 7,
  LEADER_ANYWHERE: 8,
};

const MOST = 2 ** 32 - 1;

/**
 * A target in the form of the native side.
 * @typedef {{ kind: number, number: number, leader: string }} Target
 */

/**
 * @param {unknown} target
 * @returns {Target}
 */
function checkTarget(target) {
  switch (target) {
    case 'any':
      return { kind: TO.ANY, number: 0, leader: '' };
    case 'all':
      return { kind: TO.ALL, number: 0, leader: '' };
    case 'primary':
      return { kind: TO.PRIMARY, number: 0, leader: '' };
    default:
  }
  if (typeof target === 'number') {
    return { kind: TO.WORKER, number: whole(target, 'target', 1), leader: '' };
  }
  if (typeof target === 'string') {
    throw invalidValue(
      'target',
      "must be the id of a worker, { slot }, { leader }, 'any', 'all' or 'primary'",
      target,
    );
  }
  if (target === null || typeof target !== 'object') {
    throw invalidType('target', 'number, string or object', target);
  }
  const keys = Object.keys(target);
  const { slot, leader } = /** @type {any} */ (target);
  if (keys.length === 1 && keys[0] === 'slot') {
    return { kind: TO.SLOT, number: whole(slot, 'target.slot', 0), leader: '' };
  }
  if (keys.length === 1 && keys[0] === 'leader') {
    return { kind: TO.LEADER, number: 0, leader: checkName(leader, 'target.leader') };
  }
  throw invalidValue('target', 'must have either slot or leader, and nothing else', target);
}

/**
 * @param {unknown} target
 * @param {boolean} all whether the target may be on any machine
 * @returns {Target}
 */
function checkTargetOf(target, all) {
  const to = checkTarget(target);
  if (!all) return to;
  switch (to.kind) {
    case TO.ALL:
      return { ...to, kind: TO.EVERYWHERE };
    case TO.LEADER:
      return { ...to, kind: TO.LEADER_ANYWHERE };
    default:
      throw invalidValue('target', "must be 'all' or { leader } with the scope 'all'", target);
  }
}

/**
 * @param {unknown} value
 * @param {string} name
 * @param {number} least
 */
function whole(value, name, least) {
  if (typeof value !== 'number') throw invalidType(name, 'number', value);
  if (!Number.isInteger(value) || value < least || value > MOST) {
    throw outOfRange(name, `an integer from ${least} to ${MOST}`, value);
  }
  return value;
}

/**
 * A target, for error messages.
 * @param {Target} target
 */
function describeTarget({ kind, number, leader }) {
  switch (kind) {
    case TO.ANY:
      return 'any worker';
    case TO.ALL:
    case TO.EVERYWHERE:
      return 'the workers';
    case TO.PRIMARY:
      return 'the primary';
    case TO.WORKER:
      return `worker ${number}`;
    case TO.SLOT:
      return `the worker in slot ${number}`;
    case TO.LEADER_ANYWHERE:
      return `leader ${JSON.stringify(leader)} on any machine`;
    default:
      return `leader ${JSON.stringify(leader)}`;
  }
}

module.exports = { TO, checkTargetOf, describeTarget };
