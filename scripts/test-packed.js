'use strict';

// Packs rcluster as for a release and tests it as a user would: installed into an empty project without Rust,
// started, queried and stopped with each version of Node. This is done with the example that `npm start`
// runs, and with the one in the README in each way to load rcluster.

const assert = require('node:assert/strict');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const { setTimeout: pause } = require('node:timers/promises');

const { freePorts } = require('../testing/ports.js');
const { nodes } = require('./nodes.js');
const { pack } = require('./pack.js');
const platform = require('./platform.js');

// Far more than any step takes: it only limits a hang.
const PATIENCE = 60_000;

/** A project that has no access to the sources of rcluster. */
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
  const { url, count } = await announced(app.stdout);
  assert(count > 0, 'the app says how many workers it has');
  const pid = /** @type {number} */ (app.pid);
  const answered = new Set();
  for (const end = Date.now() + PATIENCE; answered.size < count;) {
    assert(Date.now() < end, 'each of the workers answers');
    answered.add(Number(/process (\d+)/.exec(await get(url))?.[1]));
  }
  const workers = childrenOf(pid);
  assert.deepEqual([...answered].toSorted(), workers.toSorted(), 'its children are who answers');
  for (const process of [pid, ...workers]) {
    const maps = fs.readFileSync(`/proc/${process}/maps`, 'utf8');
    assert(maps.includes(path.basename(platform.addon())), `process ${process} has loaded the native part`);
  }

  app.kill('SIGTERM');
  assert.deepEqual(await exit, [0, null], 'SIGTERM ends the app, with code 0');
  for (const worker of workers) assert(!isAlive(worker), `worker ${worker} is gone`);
  return workers.length;
}

/**
 * The app's output once it listens.
 * @param {import('node:stream').Readable} output
 */
async function announced(output) {
  for await (const line of readline.createInterface({ input: output })) {
    const match = /(http:\S+).*\((\d+) workers\)/.exec(line);
    if (match) {
      // The rest is not needed, but must not fill the pipe.
      output.resume();
      return { url: match[1], count: Number(match[2]) };
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

/**
 * The children of all its threads: the control thread starts the workers of a supervised cluster.
 * @param {number} pid
 */
function childrenOf(pid) {
  return fs
    .readdirSync(`/proc/${pid}/task`)
    .flatMap((thread) => fs.readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' '))
    .filter((child) => child !== '')
    .map(Number);
}

/**
 * The ways to load rcluster, each in a version of the README's example.
 * @returns {{ way: string, options: string[], file: string, code: string, needs?: string }[]}
 */
function ways() {
  const readme = fs.readFileSync(path.join(platform.root, 'README.md'), 'utf8');
  const example = /^```js\n(.*?)^```$/ms.exec(readme)?.[1].replace('8000', 'Number(process.env.PORT)') ?? '';
  assert(
    example.includes("require('rcluster')") && example.includes('process.env.PORT'),
    'the example is found',
  );
  const builtin = example.replace("require('rcluster')", "require('node:cluster')");
  /** @param {string} code @param {string} clause */
  const asModule = (code, clause) =>
    code
      .replace(/^const cluster = require\((.*?)\);.*$/m, `import ${clause} from $1;`)
      .replace(/^const http = require\((.*?)\);$/m, 'import http from $1;');
  const named = asModule(example, 'cluster, { supervise, isPrimary }')
    .replaceAll('cluster.isPrimary', 'isPrimary')
    .replaceAll('cluster.supervise()', 'supervise()');
  assert(
    named.includes("import cluster, { supervise, isPrimary } from 'rcluster';"),
    'the module is written',
  );
  const typed = asModule(builtin, 'cluster').replace('response)', 'response: http.ServerResponse)');
  assert(typed.includes("from 'node:cluster'") && typed.includes('response: '), 'the types are written');
  const register = 'rcluster/register';
  return [
    { way: "require('rcluster')", options: [], file: 'readme.cjs', code: example },
    { way: "import from 'rcluster'", options: [], file: 'readme.mjs', code: named },
    { way: `-r ${register}`, options: ['-r', register], file: 'builtin.cjs', code: builtin },
    {
      way: `--import ${register}`,
      options: ['--import', register],
      file: 'builtin.mjs',
      code: asModule(builtin, 'cluster'),
    },
    {
      way: `TypeScript, --import ${register}`,
      options: ['--no-warnings', '--import', register],
      file: 'builtin.mts',
      code: typed,
      needs: 'process.features.typescript',
    },
  ];
}

/**
 * @param {string} node
 * @param {string} expression
 */
function evaluate(node, expression) {
  const { stdout } = spawnSync(node, ['-p', `Boolean(${expression})`], { encoding: 'utf8' });
  return stdout.trim() === 'true';
}

/**
 * @param {Project} project
 * @param {string} node
 * @param {ReturnType<typeof ways>[number]} way
 */
async function tryWay(project, node, { options, file, code }) {
  fs.writeFileSync(path.join(project.folder, file), code);
  const [port] = await freePorts(1);
  const app = spawn(node, [...options, file], {
    cwd: project.folder,
    env: { ...project.env, PORT: String(port) },
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: PATIENCE,
    killSignal: 'SIGKILL',
  });
  const exit = once(app, 'exit');
  const pid = /** @type {number} */ (app.pid);
  const count = os.availableParallelism();
  const answered = new Set();
  for (const end = Date.now() + PATIENCE; answered.size < count && isAlive(pid);) {
    assert(Date.now() < end, `${file}: each of the workers answers`);
    try {
      answered.add(await get(`http://127.0.0.1:${port}`));
    } catch (error) {
      // It does not listen yet.
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ECONNREFUSED') throw error;
    }
  }
  assert.match([...answered].join(''), /^(worker \d+\n)+$/, `${file}: workers answer`);
  const workers = childrenOf(pid);
  for (const process of [pid, ...workers]) {
    const maps = fs.readFileSync(`/proc/${process}/maps`, 'utf8');
    assert(maps.includes(path.basename(platform.addon())), `${file}: process ${process} has the native part`);
  }
  app.kill('SIGTERM');
  assert.deepEqual(await exit, [0, null], `${file}: SIGTERM ends it, with code 0`);
  for (const end = Date.now() + PATIENCE; workers.some(isAlive); await pause(10)) {
    assert(Date.now() < end, `${file}: no worker is left behind`);
  }
}

/**
 * Checks the published files for their required contents, and for traces of the machine that built them.
 * @param {string[]} packages
 */
function inspect(packages) {
  const [main, part] = packages;
  const files = packages.map((file) => run('tar', ['-tzf', file]).split('\n'));
  for (const list of files) assert(list.includes('package/LICENSE'), 'the licence is in the package');
  assert(
    files[1].includes('package/THIRD-PARTY-NOTICES.md'),
    'so are those of what is linked into the binary',
  );

  const [manifest, partManifest] = packages.map((file) =>
    JSON.parse(run('tar', ['-xzOf', file, 'package/package.json'])),
  );
  for (const { repository, homepage, bugs } of [manifest, partManifest]) {
    assert(repository?.url && homepage && bugs?.url, 'the manifest says where the project is');
  }
  assert.equal(manifest.scripts, undefined, 'nothing is run at installation');
  assert.equal(manifest.optionalDependencies?.[partManifest.name], partManifest.version);
  assert.equal(Object.keys(manifest.optionalDependencies).length, manifest.napi.targets.length);

  const binary = fs.readFileSync(platform.addon(), 'latin1');
  for (const folder of new Set([os.homedir(), platform.root])) {
    const at = binary.indexOf(`${folder}${path.sep}`);
    assert.equal(at, -1, `the binary names a folder of its build: ${binary.slice(at, at + 100)}`);
  }

  for (const [tool, ...options] of [
    ['publint', '--strict', main],
    ['attw', main],
  ]) {
    const bin = path.join(platform.root, 'node_modules', '.bin', tool);
    const { status, stdout, stderr, error } = spawnSync(bin, options, { encoding: 'utf8' });
    assert.ifError(error ?? null);
    assert.equal(status, 0, `${tool} is content with the package:\n${stdout}\n${stderr}`);
  }
  assert(part.includes(platform.triple()));
}

/**
 * @param {string} program
 * @param {string[]} options
 */
function run(program, options) {
  const { status, stdout, error } = spawnSync(program, options, { encoding: 'utf8', maxBuffer: 2 ** 26 });
  assert.ifError(error ?? null);
  assert.equal(status, 0, `${program} ${options.join(' ')}`);
  return stdout.trim();
}

/** @param {Project} project @param {string} node */
function tryWithoutBinary(project, node) {
  const { status, stderr } = spawnSync(node, ['-e', "require('rcluster')"], {
    cwd: project.folder,
    env: project.env,
    encoding: 'utf8',
  });
  assert.notEqual(status, 0, 'it does not load without its native part');
  assert.match(stderr, /ERR_RCLUSTER_BINDING/);
  assert.match(stderr, new RegExp(`optional dependency rcluster-${platform.triple()}`));
}

async function main() {
  const programs = nodes();
  const project = new Project();
  try {
    for (const tool of ['cargo', 'rustc', 'cc']) {
      assert(!fs.existsSync(path.join(project.env.PATH, tool)), `no ${tool} on the project's PATH`);
    }
    const packages = pack(path.join(platform.root, 'dist'));
    inspect(packages);
    console.log('The packages are complete, and say nothing of the machine that built them.');
    project.install(packages.slice(0, 1));
    for (const node of programs) tryWithoutBinary(project, node);
    console.log('Without the platform package: told in one error.');
    project.install(packages);
    for (const node of programs) {
      const version = spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim();
      const workers = await tryApp(project, node);
      console.log(`Node ${version}: installed without Rust, answered by ${workers} workers, stopped.`);
      for (const way of ways()) {
        if (way.needs && !evaluate(node, way.needs)) continue;
        await tryWay(project, node, way);
        console.log(`Node ${version}: ${way.way}`);
      }
    }
  } finally {
    project.remove();
  }
}

main();
