'use strict';

/** nginx's stream module and HAProxy in TCP mode, in front of the same workers, with configurations of our own. */

const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { setTimeout: delay } = require('node:timers/promises');

const MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so';

/** @typedef {{ pid: number | undefined, port: number, address: string }} Backend */
/** @typedef {{ pids: () => number[], port: number, stop: () => void }} Proxy */

/** What must still be installed, or null. */
function missing() {
  const lacking = [];
  if (spawnSync('nginx', ['-v']).error || !fs.existsSync(MODULE)) lacking.push('nginx libnginx-mod-stream');
  if (spawnSync('haproxy', ['-v']).error) lacking.push('haproxy');
  return lacking.length === 0 ? null : `apt-get install ${lacking.join(' ')}`;
}

/** @returns {Promise<number>} a port that was free a moment ago */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = /** @type {net.AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });
}

/** @param {number} port */
async function listening(port) {
  for (let attempt = 0; attempt < 200; attempt++) {
    const connected = await new Promise((resolve) => {
      const socket = net.connect(port, '127.0.0.1');
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
    if (connected) return;
    await delay(25);
  }
  throw new Error(`nobody listens on port ${port}`);
}

/** @param {number} pid */
function childrenOf(pid) {
  return fs
    .readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number);
}

/**
 * @param {string} directory
 * @param {string} name
 * @param {readonly Backend[]} backends
 * @returns {Promise<Proxy>}
 */
async function startNginx(directory, name, backends) {
  const port = await freePort();
  const servers = backends.map(({ port, address }) =>
    port > 0 ? `server 127.0.0.1:${port};` : `server unix:${address};`,
  );
  const file = path.join(directory, `${name}.conf`);
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  fs.writeFileSync(
    file,
    `load_module ${MODULE};\n${user}\ndaemon off;\nworker_processes auto;\npid ${directory}/${name}.pid;\n` +
      `error_log ${directory}/${name}.log;\nevents { worker_connections 4096; }\n` +
      `stream { upstream workers { ${servers.join(' ')} }\n` +
      `server { listen 127.0.0.1:${port} backlog=511; proxy_pass workers; } }\n`,
  );
  const child = spawn('nginx', ['-c', file, '-p', directory], { stdio: ['ignore', 'ignore', 'inherit'] });
  await listening(port);
  const pid = /** @type {number} */ (child.pid);
  return { port, pids: () => [pid, ...childrenOf(pid)], stop: () => child.kill('SIGTERM') };
}

/**
 * @param {string} directory
 * @param {string} name
 * @param {readonly Backend[]} backends
 * @returns {Promise<Proxy>}
 */
async function startHaproxy(directory, name, backends) {
  const port = await freePort();
  const servers = backends.map(({ port, address }, index) =>
    port > 0 ? `server s${index} 127.0.0.1:${port}` : `server s${index} unix@${address}`,
  );
  const file = path.join(directory, `${name}.cfg`);
  fs.writeFileSync(
    file,
    'global\n  maxconn 4096\ndefaults\n  mode tcp\n  option splice-auto\n  timeout connect 5s\n' +
      '  timeout client 60s\n  timeout server 60s\n' +
      `frontend clients\n  bind 127.0.0.1:${port} backlog 511\n  default_backend workers\n` +
      `backend workers\n  balance roundrobin\n  ${servers.join('\n  ')}\n`,
  );
  const child = spawn('haproxy', ['-f', file, '-db', '-q'], { stdio: ['ignore', 'ignore', 'inherit'] });
  await listening(port);
  const pid = /** @type {number} */ (child.pid);
  return { port, pids: () => [pid], stop: () => child.kill('SIGTERM') };
}

module.exports = { missing, startNginx, startHaproxy };
