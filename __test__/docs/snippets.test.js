'use strict';

// The code in README.md and docs/ works as a reader expects: programs start, serve, and end with 0 after
// SIGTERM; commands succeed. helpers/snippets.js describes how each block is tested.

const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, test } = require('node:test');

const { get } = require('../../testing/clients.js');
const { freePorts } = require('../../testing/ports.js');
const { isAlive, until } = require('../../testing/processes.js');
const { withCommand } = require('../helpers/programs.js');
const {
  ROOT,
  aroundPrimary,
  aroundWorker,
  declarations,
  examplesOf,
  pages,
  portsOf,
  snippetsOf,
  withPorts,
} = require('../helpers/snippets.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the documentation is that of this package';

/** The packages of docs/adapters.md. */
const PACKAGES = [
  'express',
  'express-rate-limit',
  'express-session',
  'fastify',
  '@fastify',
  'keyv',
  'prom-client',
  'socket.io',
];

/** A project in which this package is installed, as a reader would install it. */
const project = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-docs-'));
fs.mkdirSync(path.join(project, 'node_modules'));
fs.symlinkSync(ROOT, path.join(project, 'node_modules', 'rcluster'));
for (const name of PACKAGES) {
  fs.symlinkSync(path.join(ROOT, 'node_modules', name), path.join(project, 'node_modules', name));
}
after(() => fs.rmSync(project, { recursive: true }));

const { PORT: _, ...inherited } = process.env;
const env = { ...inherited, PATH: `${path.dirname(process.execPath)}:${process.env.PATH}` };

/** @param {string} text @returns {Promise<Map<string, number>>} a free port for each that is named */
async function portsFor(text) {
  const names = [...new Set(['8000', ...portsOf(text)])];
  const ports = await freePorts(names.length);
  return new Map(names.map((name, index) => [name, ports[index]]));
}

/**
 * Runs a program that serves until the body is done, and then ends it as a service manager would.
 * @param {string[]} command
 * @param {number} port on which it serves
 * @param {(output: () => string) => Promise<void>} [body]
 */
function withServer(command, port, body = async () => {}) {
  return withCommand(command, { cwd: project, env }, async ({ pid, exit, output }) => {
    await until('it answers', async () => {
      assert(isAlive(pid), 'it runs');
      return (await get({ port, host: '127.0.0.1' }).catch(() => undefined))?.status === 200;
    });
    await body(output);
    process.kill(pid, 'SIGTERM');
    assert.deepStrictEqual(await exit, [0, null], 'SIGTERM ends it, with code 0');
  });
}

/** @param {string} name @param {string} code @returns {string} */
function write(name, code) {
  const file = path.join(project, name);
  fs.writeFileSync(file, code);
  return file;
}

/** @param {string} file @param {string} code */
function checkSyntax(file, code) {
  const isModule = /^import /m.test(code);
  const whole = isModule ? code : `async () => {\n${code}\n}`;
  const checked = spawnSync(
    process.execPath,
    ['--check', write(file + (isModule ? '.mjs' : '.cjs'), whole)],
    {
      encoding: 'utf8',
    },
  );
  assert.strictEqual(checked.status, 0, checked.stderr);
}

/** @param {import('../helpers/snippets.js').Snippet} snippet */
async function tryProgram({ kind, code, line }) {
  const ports = await portsFor(code);
  const port = /** @type {number} */ (ports.get('8000'));
  const own = withPorts(code, ports);
  const whole =
    kind === 'primary' ? aroundPrimary(own, port) : kind === 'worker' ? aroundWorker(own, port) : own;
  // A forwarding program is tested at its first address.
  const asked = ports.get(/forward: .*?port: (\d+)/s.exec(code)?.[1] ?? '8000') ?? port;
  await withServer([process.execPath, write(`snippet-${line}.js`, whole)], asked);
}

/**
 * Runs the commands of a page: those between one `sh app` and the next while that program serves.
 * @param {import('../helpers/snippets.js').Snippet[]} snippets
 */
async function trySession(snippets) {
  const ports = await portsFor(snippets.map(({ code }) => code).join('\n'));
  const port = /** @type {number} */ (ports.get('8000'));
  const steps = snippets.map((snippet) => ({ ...snippet, code: withPorts(snippet.code, ports) }));
  for (const [index, step] of steps.entries()) {
    if (step.kind.includes('.')) write(step.kind, step.code);
    if (step.language !== 'sh' || step.kind !== 'app') continue;
    const next = steps.findIndex(({ kind }, later) => later > index && kind === 'app');
    const during = steps.slice(index + 1, next < 0 ? undefined : next);
    await withServer(['bash', '-c', `exec ${step.code}`], port, async (output) => {
      for (const { kind, code, line } of during) {
        if (kind === 'run' || kind === 'fails') await tryCommands({ kind, code, line }, output);
      }
    });
  }
}

/**
 * @param {{ kind: string, code: string, line: number }} commands
 * @param {() => string} output of the program
 */
async function tryCommands({ kind, code, line }, output) {
  const shell = spawn('bash', ['-e', '-u', '-o', 'pipefail', '-c', code], {
    cwd: project,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk) => (said += chunk));
  }
  const [status] = await once(shell, 'close');
  assert.strictEqual(status === 0, kind === 'run', `line ${line}: ${code}${said}\n${output()}`);
}

for (const page of pages()) {
  const snippets = snippetsOf(page);
  const isSession = snippets.some(({ language, kind }) => language === 'sh' && kind === 'app');
  if (isSession) test(`${page}: its commands, in their order`, { skip }, () => trySession(snippets));

  for (const snippet of snippets) {
    const { language, kind, code, line } = snippet;
    const name = `${page}:${line} ${language} ${kind}`;
    if (language === 'sh') {
      test(`${name}: syntax`, { skip }, () => {
        const checked = spawnSync('bash', ['-n', '-c', code], { encoding: 'utf8' });
        assert.strictEqual(checked.status, 0, checked.stderr);
      });
      assert(['', 'app', 'run', 'fails'].includes(kind), name);
    } else if (kind === 'fragment') {
      test(`${name}: syntax`, { skip }, () => checkSyntax(`fragment-${line}`, code));
    } else if (kind.includes('.')) {
      assert(isSession, `${name}: nothing runs this file`);
    } else {
      assert(['', 'primary', 'worker'].includes(kind), name);
      test(name, { skip }, () => tryProgram(snippet));
    }
  }
}

for (const file of declarations()) {
  for (const { code, line } of examplesOf(file)) {
    test(`${file}:${line}: syntax`, { skip }, () => checkSyntax(`${path.basename(file)}-${line}`, code));
  }
}

test('there is code in the documentation', { skip }, () => {
  const all = pages().flatMap(snippetsOf);
  assert(all.filter(({ language, kind }) => language === 'js' && kind !== 'fragment').length > 10);
});
