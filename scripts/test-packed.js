'use strict';

// Packs rcluster as for a release and tries it as its user would: installed into an empty project where
// no Rust is to be found, with each Node version, started, asked, and stopped.

const assert = require('node:assert/strict');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');

const { nodes } = require('./nodes.js');
const { pack } = require('./pack.js');
const platform = require('./platform.js');

// Far more than any step takes: it only keeps a hang from being endless.
const PATIENCE = 60_000;

/** The files and environment of a project that knows nothing of where rcluster comes from. */
class Project {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-packed-'));
  app = path.join(this.folder, 'app.js');
  env = {
    HOME: this.folder,
    PATH: path.join(this.folder, 'bin'),
    PORT: '0',
    npm_config_update_notifier: 'false',
  };

  constructor() {
    fs.mkdirSync(this.env.PATH);
    for (const program of ['node', 'npm']) {
      const file = platform.which(program);
      assert(file, `${program} is on the PATH`);
      fs.symlinkSync(fs.realpathSync(file), path.join(this.env.PATH, program));
    }
    fs.writeFileSync(path.join(this.folder, 'package.json'), '{ "private": true }\n');
    fs.copyFileSync(path.join(platform.root, 'examples', 'http.js'), this.app);
  }

  /** @param {string[]} packages */
  install(packages) {
    const { status, error } = spawnSync(
      'npm',
      ['install', '--offline', '--no-audit', '--no-fund', ...packages],
      {
        cwd: this.folder,
        env: this.env,
        stdio: 'inherit',
      },
    );
    assert.ifError(error ?? null);
    assert.equal(status, 0, 'npm install');
  }

  remove() {
    fs.rmSync(this.folder, { recursive: true });
  }
}

/**
 * @param {Project} project
 * @param {string} node
 */
async function tryApp(project, node) {
  const app = spawn(node, [project.app], {
    cwd: project.folder,
    env: project.env,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: PATIENCE,
    killSignal: 'SIGKILL',
  });
  const exit = once(app, 'exit');
  const { url, workers } = await announced(app.stdout);
  assert(workers.length > 0, 'the app names its workers');
  for (const pid of [app.pid, ...workers]) {
    const maps = fs.readFileSync(`/proc/${pid}/maps`, 'utf8');
    assert(maps.includes(path.basename(platform.addon())), `process ${pid} has loaded the native part`);
  }

  const answered = new Set();
  for (let request = 0; request < 10 * workers.length; request++) {
    answered.add(Number(/process (\d+)/.exec(await get(url))?.[1]));
  }
  assert.deepEqual([...answered].toSorted(), workers.toSorted(), 'each of the workers answers');

  app.kill('SIGTERM');
  assert.deepEqual(await exit, [0, null], 'SIGTERM ends the app, with code 0');
  for (const pid of workers) assert(!isAlive(pid), `worker ${pid} is gone`);
  return workers.length;
}

/**
 * What the app says of itself once all of its workers listen.
 * @param {import('node:stream').Readable} output
 */
async function announced(output) {
  for await (const line of readline.createInterface({ input: output })) {
    const match = /(http:\S+).*\(\d+ workers: ([\d, ]+)\)/.exec(line);
    if (match) {
      // The rest is of no interest, but it must not fill the pipe.
      output.resume();
      return { url: match[1], workers: match[2].split(', ').map(Number) };
    }
  }
  throw new Error('the app ended before it listened');
}

/**
 * One request on a connection of its own.
 * @param {string} url
 * @returns {Promise<string>}
 */
async function get(url) {
  const request = http.get(url, { agent: false, timeout: PATIENCE });
  request.on('timeout', () => request.destroy(new Error('no answer')));
  const [response] = await once(request, 'response');
  let body = '';
  for await (const part of response.setEncoding('utf8')) body += part;
  return body;
}

/** @param {number} pid */
function isAlive(pid) {
  return fs.existsSync(`/proc/${pid}`);
}

async function main() {
  const programs = nodes();
  const project = new Project();
  try {
    for (const tool of ['cargo', 'rustc', 'cc']) {
      assert(!fs.existsSync(path.join(project.env.PATH, tool)), `no ${tool} on the project's PATH`);
    }
    project.install(pack(path.join(platform.root, 'dist')));
    for (const node of programs) {
      const version = spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim();
      const workers = await tryApp(project, node);
      console.log(`Node ${version}: installed without Rust, answered by ${workers} workers, stopped.`);
    }
  } finally {
    project.remove();
  }
}

main();
