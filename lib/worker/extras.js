'use strict';

const { randomBytes } = require('node:crypto');
const { EXTRAS, addExtras } = require('../extras');

/** The slot of this worker, once it is linked to its primary. @type {(() => number) | undefined} */
let readSlot;

/** @param {() => number} slot */
function linked(slot) {
  readSlot = slot;
}

/**
 * An identifier that nobody guesses, with the slot of this worker in front: the primary knows the form.
 */
function stickyId() {
  if (readSlot === undefined) throw new Error('stickyId() leads to a worker of a cluster, and this is none');
  return `s${readSlot()}~${randomBytes(15).toString('base64url')}`;
}

/**
 * @template {object} T
 * @param {T} cluster the worker-shaped cluster object
 */
function addWorkerExtras(cluster) {
  return addExtras(cluster, { ...EXTRAS, stickyId });
}

module.exports = { addWorkerExtras, linked };
