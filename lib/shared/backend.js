'use strict';

// The option backend: the server on which the values of a store live. See types/shared.d.ts.

const { Array, Buffer, Map, Math, Number, decodeURIComponent } = require('../globals');
const errors = require('../errors');
const { invalidType, outOfRange } = require('./errors');
const { members } = require('./members');

const PORT = 6379;
const SENTINEL_PORT = 26379;

/** The schemes of a TCP URL, and whether each of them uses TLS. */
const TCP = new Map([
  ['redis:', false],
  ['rediss:', true],
  ['valkey:', false],
  ['valkeys:', true],
]);

const SOCKET = ['redis+unix:', 'valkey+unix:', 'unix:'];

/** The user of such a URL. Node's URL does not support a user without a host. */
const SOCKET_USER = /^((?:(?:redis|valkey)\+)?unix:\/\/)([^@/]*)@(?=\/)/i;

/** URLs with several addresses: sentinels or the nodes of a Redis Cluster. */
const SEVERAL =
  /^(rediss?|valkeys?)\+(sentinel|cluster):\/\/(?:([^@/]*)@)?([^/?#]+)(?:\/([^/?#]*))?(?:\/([^/?#]*))?$/;

/** How such a URL begins. */
const MULTIPLE = /^(?:rediss?|valkeys?)\+(?:sentinel|cluster):/;

/** The longest time that a write may wait, in ms. */
const MAX_WAIT = 86_400_000;

/**
 * An error without the received value, which may contain a password.
 * @param {string} what
 */
function refusal(what) {
  return errors.invalidValue(`The argument 'options.backend' ${what}`);
}

/**
 * @param {unknown} backend
 * @param {unknown} offline
 * @returns {object | undefined} in the form that the native side expects
 */
function checkBackend(backend, offline) {
  const { wait } = members(offline, ['wait'], 'options.offline');
  if (wait !== undefined) {
    if (typeof wait !== 'number') throw invalidType('options.offline.wait', 'number', wait);
    if (!(wait >= 0 && wait <= MAX_WAIT)) throw outOfRange('options.offline.wait', '0 to a day in ms', wait);
  }
  if (backend === undefined) {
    if (offline !== undefined) {
      throw errors.invalidValue("The argument 'options.offline' is for a store with a backend");
    }
    return undefined;
  }
  if (typeof backend !== 'string' && (typeof backend !== 'object' || backend === null)) {
    throw invalidType('options.backend', 'string or object', backend);
  }
  const checked = typeof backend === 'string' ? fromUrl(backend) : fromObject(backend);
  return wait === undefined ? checked : { ...checked, wait: Math.ceil(wait) };
}

/**
 * @param {string} text
 * @returns {Record<string, any>}
 */
function fromUrl(text) {
  const several = SEVERAL.exec(text);
  if (several !== null) return fromSeveral(several);
  if (MULTIPLE.test(text)) {
    throw refusal(
      "must be like 'redis+sentinel://host:port,host:port/name' or 'redis+cluster://host:port,host:port'",
    );
  }
  const [start, scheme = '', user = ''] = SOCKET_USER.exec(text) ?? [''];
  if (start !== '') return { ...fromUrl(`${scheme}${text.slice(start.length)}`), ...fromUser(user) };
  const { URL } = require('node:url');
  if (!URL.canParse(text)) throw refusal("must be a URL such as 'redis://host:6379'");
  const url = new URL(text);
  const isSocket = SOCKET.includes(url.protocol);
  if (!isSocket && !TCP.has(url.protocol)) {
    const known = 'redis://, rediss://, redis+unix://, redis+sentinel:// or redis+cluster://';
    throw refusal(`must be a URL that begins with ${known}, and not with ${url.protocol}`);
  }
  if (url.hash !== '') throw refusal('must be a URL without a fragment');
  const { username, password } = url;
  const found = {
    username: username === '' ? undefined : decoded(username),
    password: password === '' ? undefined : decoded(password),
  };
  const query = [...url.searchParams.keys()];
  if (isSocket) {
    if (query.some((name) => name !== 'db')) throw refusal("may have the parameter 'db' and no other one");
    const path = decoded(url.pathname);
    if (path === '' || url.host !== '') throw refusal('must have the path of a socket, redis+unix:///path');
    return { ...found, servers: { socket: path }, database: database(url.searchParams.get('db') ?? '') };
  }
  if (query.length > 0) throw refusal('must be a URL without parameters');
  return {
    ...found,
    servers: { single: { host: hostOf(url.hostname), port: url.port === '' ? PORT : Number(url.port) } },
    database: database(url.pathname.replace(/^\//, '')),
    tls: TCP.get(url.protocol) ? {} : undefined,
  };
}

/**
 * Parsed by hand, because Node's URL does not support lists of addresses.
 * @param {RegExpExecArray} parts
 * @returns {Record<string, any>}
 */
function fromSeveral([, scheme, kind, user = '', hosts, ...path]) {
  const isSentinel = kind === 'sentinel';
  const name = isSentinel ? decoded(path.shift() ?? '') : undefined;
  if (name === '') throw refusal('must have the name of the primary behind the sentinels');
  if (path.filter((it) => it !== undefined).length > 1) throw refusal('has too many parts');
  const list = addresses(hosts.split(','), isSentinel ? SENTINEL_PORT : PORT);
  return {
    ...fromUser(user),
    servers: isSentinel ? { sentinel: { sentinels: list, name } } : { cluster: list },
    database: database(path[0] ?? ''),
    tls: TCP.get(`${scheme}:`) ? {} : undefined,
  };
}

/** @param {string} text the part of a URL before the @ */
function fromUser(text) {
  const [username, ...password] = text.split(':');
  return {
    username: username === '' ? undefined : decoded(username),
    password: password.length === 0 ? undefined : decoded(password.join(':')),
  };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    throw refusal('has a % that is followed by no number');
  }
}

/** @param {string} host */
function hostOf(host) {
  if (host === '') return 'localhost';
  return decoded(host.replace(/^\[(.*)\]$/, '$1'));
}

/** @param {string} text */
function database(text) {
  if (text === '') return 0;
  if (!/^\d{1,6}$/.test(text)) throw refusal('must have the number of a database behind the host');
  return Number(text);
}

/** @param {unknown} backend */
function fromObject(backend) {
  const names = ['url', 'nodes', 'sentinels', 'name', 'username', 'password', 'database', 'tls', 'prefix'];
  const given = members(backend, names, 'options.backend');
  const { url, nodes, sentinels, name, tls } = given;
  if ([url, nodes, sentinels].filter((it) => it !== undefined).length !== 1) {
    throw refusal('must have one of url, nodes and sentinels');
  }
  for (const field of ['url', 'name', 'username', 'password', 'prefix']) {
    if (given[field] !== undefined && typeof given[field] !== 'string') {
      throw refusal(`must have a string as ${field}`);
    }
  }
  if ((name !== undefined) !== (sentinels !== undefined)) {
    throw refusal('must have the name of the primary together with sentinels');
  }
  const number = given.database;
  if (number !== undefined && !(Number.isInteger(number) && number >= 0 && number < 1_000_000)) {
    throw refusal('must have the number of a database, 0 or more');
  }
  /** @type {Record<string, any>} */
  let base;
  if (url !== undefined) base = fromUrl(url);
  else if (nodes !== undefined) base = { servers: { cluster: addresses(nodes, PORT) } };
  else base = { servers: { sentinel: { sentinels: addresses(sentinels, SENTINEL_PORT), name } } };
  for (const field of ['username', 'password', 'database', 'prefix']) {
    base[field] = given[field] ?? base[field];
  }
  if (tls !== undefined) base.tls = checkTls(tls);
  return base;
}

/**
 * @param {unknown} list
 * @param {number} defaultPort
 */
function addresses(list, defaultPort) {
  const isList = Array.isArray(list) && list.length > 0;
  if (!isList) throw refusal("must have a list of 'host:port'");
  return list.map((text) => {
    const [, bracketed, host, port] =
      (typeof text === 'string' && /^(?:\[([^\]]+)\]|([^:[\]/@]+))(?::(\d{1,5}))?$/.exec(text)) || [];
    const name = bracketed ?? host;
    if (name === undefined) throw refusal("must have a list of 'host:port'");
    const number = port === undefined ? defaultPort : Number(port);
    if (number === 0 || number > 65_535) throw refusal('has a port that there is not');
    return { host: name, port: number };
  });
}

/** @param {unknown} tls */
function checkTls(tls) {
  if (tls === true) return {};
  if (tls === false) return undefined;
  const { ca, cert, key } = members(tls, ['ca', 'cert', 'key'], 'options.backend.tls');
  if ((cert === undefined) !== (key === undefined)) throw refusal('must have tls.cert together with tls.key');
  return {
    ca: pem('ca', ca, 'CERTIFICATE'),
    cert: pem('cert', cert, 'CERTIFICATE'),
    key: pem('key', key, 'PRIVATE KEY'),
  };
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {string} label the end of its first line; blocks with other labels are skipped when the text is read
 */
function pem(name, value, label) {
  if (value === undefined) return undefined;
  if (typeof value !== 'string' && !Buffer.isBuffer(value)) {
    throw refusal(`must have tls.${name} as a string or a Buffer in PEM`);
  }
  const text = value.toString();
  if (!text.includes(`${label}-----`)) throw refusal(`must have a ${label} in PEM as tls.${name}`);
  return text;
}

module.exports = { checkBackend };
