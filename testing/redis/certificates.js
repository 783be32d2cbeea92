'use strict';

const { spawnSync } = require('node:child_process');
const path = require('node:path');

/** @param {string[]} args */
function openssl(args) {
  const { status, stderr, error } = spawnSync('openssl', args, { encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error(`openssl ${args.join(' ')}: ${stderr}`);
}

/**
 * Creates a certificate authority, and certificates of a server on the loopback address and of a client, valid for a day.
 * @param {string} directory the directory for the files
 */
function createCertificates(directory) {
  const file = (/** @type {string} */ name) => path.join(directory, name);
  const ca = file('ca.crt');
  const caKey = file('ca.key');
  const kind = '-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1'.split(' ');
  const create = (/** @type {string} */ subject, /** @type {string[]} */ args) =>
    openssl(['req', ...kind, '-subj', `/CN=${subject}`, ...args]);
  create('rcluster tests', ['-keyout', caKey, '-out', ca]);
  const signed = (/** @type {string} */ name, /** @type {string} */ usage) => {
    const cert = file(`${name}.crt`);
    const key = file(`${name}.key`);
    const extensions = [
      'subjectAltName=IP:127.0.0.1,DNS:localhost',
      'basicConstraints=critical,CA:FALSE',
      `extendedKeyUsage=${usage}`,
    ];
    const added = extensions.flatMap((extension) => ['-addext', extension]);
    create(name, ['-CA', ca, '-CAkey', caKey, '-keyout', key, '-out', cert, ...added]);
    return { cert, key };
  };
  const { cert, key } = signed('server', 'serverAuth,clientAuth');
  const client = signed('client', 'clientAuth');
  return { ca, cert, key, client };
}

module.exports = { createCertificates };
