'use strict';

const { Buffer, JSON, Number, Object, TypeError } = require('../globals');
const { inspect } = require('node:util');

const { isOptions, nameInGroup, refuseUnknownKeys } = require('../option-keys');
const { POLICIES } = require('./policies');

// The option `scheduling` of `setupPrimary()`: validated here, so that a mistake is reported at once with its
// name, and completed for the native part, which decides.

/** The names that an app may use. A hook is given as the function itself. */
const NAMES = POLICIES.map(([, , name]) => name).filter((name) => name !== 'hook');

/** @typedef {import('../../index').ScheduleHook} ScheduleHook */

/** The upper limit of durations here, in ms. */
const A_DAY = 86_400_000;

/** The form of the name of a cookie, a header or a parameter. */
const TOKEN = /^[\w!#$%'*+.^`|~-]{1,256}$/;

/** The longest response body in bytes, which can be written without blocking. */
const MAX_BODY = 8192;

/**
 * @param {string} code
 * @param {string} name
 * @param {string} wanted
 * @param {unknown} value
 */
function invalid(code, name, wanted, value) {
  const error = new TypeError(
    `The option '${name}' must be ${wanted}. Received ${inspect(value, { depth: 0 })}`,
  );
  return Object.assign(error, { code });
}

/**
 * @param {string} name
 * @param {string} wanted
 * @param {unknown} value
 */
function wrongType(name, wanted, value) {
  return invalid('ERR_INVALID_ARG_TYPE', name, wanted, value);
}

/**
 * @param {string} name
 * @param {string} wanted
 * @param {unknown} value
 */
function wrongValue(name, wanted, value) {
  return invalid('ERR_INVALID_ARG_VALUE', name, wanted, value);
}

/**
 * @param {string} name
 * @param {any} value
 * @param {readonly string[]} known
 * @param {Record<string, readonly string[]>} [groups] The keys of options that are objects themselves.
 */
function checkKeys(name, value, known, groups = {}) {
  if (!isOptions(value)) throw wrongType(name, 'an object', value);
  refuseUnknownKeys(value, known, (key) => `The option '${name}.${key}'`, nameInGroup(groups));
}

/**
 * @param {string} name
 * @param {any} value
 * @param {number} least
 * @param {number} most
 */
function wholeNumber(name, value, least, most) {
  if (typeof value !== 'number') throw wrongType(name, 'a number', value);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw wrongValue(name, `a whole number from ${least} to ${most}`, value);
  }
  return value;
}

/**
 * @param {string} name
 * @param {any} action
 */
function readAction(name, action) {
  if (action === 'wait' || action === 'reset') return { kind: action };
  if (typeof action === 'string') throw wrongValue(name, "'wait', 'reset' or an object", action);
  if (!isOptions(action)) throw wrongType(name, "'wait', 'reset' or an object", action);
  checkKeys(name, action, ['status', 'retryAfter', 'body']);
  const { status = 503, retryAfter, body = '' } = action;
  if (typeof body !== 'string') throw wrongType(`${name}.body`, 'a string', body);
  if (Buffer.byteLength(body) > MAX_BODY) {
    throw wrongValue(`${name}.body`, `at most ${MAX_BODY} bytes long`, body);
  }
  return {
    kind: 'respond',
    status: wholeNumber(`${name}.status`, status, 400, 599),
    retryAfter:
      retryAfter === undefined ? null : wholeNumber(`${name}.retryAfter`, retryAfter, 0, A_DAY / 1000),
    body,
  };
}

/**
 * @param {string} name
 * @param {any} overload
 */
function readOverload(name, overload) {
  checkKeys(name, overload, GROUPS.overload);
  const { queue = 128, deadline, action = 'wait' } = overload;
  const read = {
    queue: wholeNumber(`${name}.queue`, queue, action === 'wait' ? 1 : 0, 65_536),
    deadline: deadline === undefined ? null : wholeNumber(`${name}.deadline`, deadline, 1, A_DAY),
    action: readAction(`${name}.action`, action),
  };
  // Connections in the backlog have no deadline.
  if (read.deadline !== null && action === 'wait') {
    throw wrongValue(`${name}.deadline`, "left out unless 'action' says what to do then", deadline);
  }
  return read;
}

const PLAN = ['policy', 'slowStart', 'sticky', 'hook', 'overload'];

/** The options that are objects themselves. */
const GROUPS = {
  sticky: ['patience', 'by', 'name', 'proxyProtocol', 'timeout'],
  hook: ['timeout', 'patience'],
  overload: ['queue', 'deadline', 'action'],
};

/**
 * @param {string} name
 * @param {any} options
 * @param {readonly string[]} more Further keys that are allowed.
 * @param {string | ScheduleHook} policyByDefault
 * @param {ScheduleHook[]} hooks The hooks found so far.
 */
function readPlan(name, options, more, policyByDefault, hooks) {
  if (typeof options === 'string' || typeof options === 'function') options = { policy: options };
  if (!isOptions(options)) throw wrongType(name, 'a string, a function or an object', options);
  checkKeys(name, options, [...PLAN, ...more], GROUPS);
  const { policy: wanted = policyByDefault, slowStart, sticky, hook, overload } = options;
  const policy = readPolicy(`${name}.policy`, wanted);
  const weighted = ['round-robin', 'least-connections', 'least-loaded'].includes(policy);
  if (slowStart !== undefined && !weighted) {
    throw wrongValue(`${name}.slowStart`, `left out with the policy '${policy}'`, slowStart);
  }
  if (sticky !== undefined && policy !== 'sticky') {
    throw wrongValue(`${name}.sticky`, `left out with the policy '${policy}'`, sticky);
  }
  if (hook !== undefined && policy !== 'hook') {
    throw wrongValue(`${name}.hook`, `left out with the policy '${policy}'`, hook);
  }
  if (overload !== undefined && (policy === 'none' || policy === 'kernel')) {
    throw wrongValue(`${name}.overload`, `left out with the policy '${policy}'`, overload);
  }
  return {
    policy,
    ...(slowStart !== undefined && { slowStart: wholeNumber(`${name}.slowStart`, slowStart, 0, A_DAY) }),
    ...(sticky !== undefined && readSticky(`${name}.sticky`, sticky)),
    ...(policy === 'hook' && { ...readHook(`${name}.hook`, hook), hook: numberOf(wanted, hooks) }),
    ...(overload !== undefined && { overload: readOverload(`${name}.overload`, overload) }),
  };
}

/**
 * @param {string} name
 * @param {unknown} policy
 * @returns {string} Its name.
 */
function readPolicy(name, policy) {
  if (typeof policy === 'function') return 'hook';
  if (typeof policy !== 'string') throw wrongType(name, 'a string or a function', policy);
  if (!(/** @type {readonly string[]} */ (NAMES).includes(policy))) {
    throw wrongValue(name, `a function or one of ${NAMES.join(', ')}`, policy);
  }
  return policy;
}

/**
 * @param {string} name
 * @param {any} hook
 */
function readHook(name, hook = {}) {
  checkKeys(name, hook, GROUPS.hook);
  const { timeout = 100, patience = 250 } = hook;
  return {
    hookTimeout: wholeNumber(`${name}.timeout`, timeout, 1, A_DAY),
    patience: wholeNumber(`${name}.patience`, patience, 0, A_DAY),
  };
}

/**
 * @param {ScheduleHook} hook
 * @param {ScheduleHook[]} hooks
 */
function numberOf(hook, hooks) {
  const known = hooks.indexOf(hook);
  return known >= 0 ? known : hooks.push(hook) - 1;
}

/**
 * @param {string} name
 * @param {any} sticky
 */
function readSticky(name, sticky) {
  checkKeys(name, sticky, GROUPS.sticky);
  const { patience = 250, by = 'address', proxyProtocol = false, timeout = 100 } = sticky;
  if (typeof by !== 'string') throw wrongType(`${name}.by`, 'a string', by);
  if (!['address', 'cookie', 'header', 'query'].includes(by)) {
    throw wrongValue(`${name}.by`, 'one of address, cookie, header, query', by);
  }
  if (by === 'address' && sticky.name !== undefined) {
    throw wrongValue(`${name}.name`, "left out with 'by: address'", sticky.name);
  }
  if (by !== 'address' && typeof sticky.name !== 'string') {
    throw wrongType(`${name}.name`, `the name of the ${by}`, sticky.name);
  }
  if (by !== 'address' && !TOKEN.test(sticky.name)) {
    throw wrongValue(`${name}.name`, 'made of letters, digits and the like', sticky.name);
  }
  if (typeof proxyProtocol !== 'boolean') {
    throw wrongType(`${name}.proxyProtocol`, 'a boolean', proxyProtocol);
  }
  return {
    patience: wholeNumber(`${name}.patience`, patience, 0, A_DAY),
    preread: { by, ...(by !== 'address' && { name: sticky.name }), proxyProtocol },
    prereadTimeout: wholeNumber(`${name}.timeout`, timeout, 1, A_DAY),
  };
}

/**
 * @param {string} name
 * @param {any} listeners
 * @param {string | ScheduleHook} policyByDefault
 * @param {ScheduleHook[]} hooks
 * @param {(path: string) => string} absolute
 */
function readListeners(name, listeners, policyByDefault, hooks, absolute) {
  if (!isOptions(listeners)) throw wrongType(name, 'an object', listeners);
  return Object.fromEntries(
    Object.entries(listeners).map(([where, options]) => [
      // A path is resolved in the primary's directory; workers send theirs already absolute.
      /^\d+$/.test(where) ? where : absolute(where),
      readPlan(`${name}['${where}']`, options, [], policyByDefault, hooks),
    ]),
  );
}

/**
 * The scheduling: the plans for the native part, and the hooks to which their numbers refer.
 * @typedef {{ plans: { default: { policy: string, hook?: number }, listeners: Record<string, object> }, hooks: ScheduleHook[] }} Schedule
 */

/**
 * @param {unknown} scheduling The option.
 * @param {string | ScheduleHook} policyByDefault The policy if the option names none.
 * @param {(path: string) => string} absolute Resolves the path of a listener.
 * @returns {Schedule}
 * @throws {TypeError} ERR_INVALID_ARG_TYPE or ERR_INVALID_ARG_VALUE, with the name of the invalid option.
 */
function readScheduling(scheduling, policyByDefault, absolute) {
  /** @type {ScheduleHook[]} */
  const hooks = [];
  const plan = readPlan('scheduling', scheduling, ['listeners'], policyByDefault, hooks);
  const { listeners = {}, policy = policyByDefault } = isOptions(scheduling)
    ? scheduling
    : { policy: scheduling };
  const byListener = readListeners('scheduling.listeners', listeners, policy, hooks, absolute);
  return { plans: { default: plan, listeners: byListener }, hooks };
}

/**
 * @param {Schedule} one
 * @param {Schedule} other
 */
function isSameSchedule(one, other) {
  return (
    JSON.stringify(one.plans) === JSON.stringify(other.plans) &&
    one.hooks.length === other.hooks.length &&
    one.hooks.every((hook, number) => hook === other.hooks[number])
  );
}

module.exports = { isSameSchedule, readScheduling, wrongType };
