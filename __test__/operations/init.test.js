'use strict';

// `rcluster init` writes files for systemd, Docker and Kubernetes; docs/deployment.md shows the same.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const yaml = require('js-yaml');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no command';
const ROOT = path.join(__dirname, '..', '..');
const COMMAND = path.join(ROOT, 'bin', 'rcluster.js');

/** @param {string[]} args */
function init(...args) {
  return spawnSync(process.execPath, [COMMAND, 'init', ...args], { encoding: 'utf8' });
}

/** @param {string[]} args @param {(files: Record<string, string>, directory: string) => void} body */
function withFiles(args, body) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-init-'));
  try {
    const { status, stdout, stderr } = init(...args, '--output', directory);
    assert.strictEqual(status, 0, stderr);
    const names = fs.readdirSync(directory);
    assert.deepStrictEqual(
      stdout.trim().split('\n').sort(),
      names.map((name) => path.join(directory, name)).sort(),
    );
    body(
      Object.fromEntries(names.map((name) => [name, fs.readFileSync(path.join(directory, name), 'utf8')])),
      directory,
    );
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/**
 * Checks that `start` accepts the command line, with a program that exists.
 * @param {string[]} words
 */
function assertStarts(words) {
  const args = words.slice(words.indexOf('start'));
  args[args.length - 1] = __filename;
  const { status, stderr, stdout } = spawnSync(require('../../lib/cli/executable').findExecutable(), args, {
    env: { ...process.env, RCLUSTER_SHIM: '1' },
    encoding: 'utf8',
  });
  assert.strictEqual(status, 100, stderr);
  return JSON.parse(stdout).options;
}

const hasVerify = spawnSync('systemd-analyze', ['--version']).status === 0;

test('systemd accepts the unit', { skip: skip || (!hasVerify && 'there is no systemd-analyze') }, () =>
  withFiles(
    ['systemd', '--name', 'shop', '--node', fs.realpathSync(process.execPath)],
    (files, directory) => {
      assert.deepStrictEqual(Object.keys(files), ['shop.service']);
      const { status, stderr } = spawnSync(
        'systemd-analyze',
        ['verify', '--man=no', path.join(directory, 'shop.service')],
        { encoding: 'utf8' },
      );
      const about = stderr.split('\n').filter((line) => line.includes('shop.service'));
      assert.deepStrictEqual([status, about], [0, []]);
    },
  ),
);

test('the unit starts the command with its options', { skip }, () => {
  const { stdout } = init('systemd', '--port', '8080', '--app', 'dist/server.js', '--directory', '/opt/shop');
  const fields = stdout
    .split('\n')
    .filter((line) => /^\w+=/.test(line))
    .map(
      (line) =>
        /** @type {[string, string]} */ ([
          line.slice(0, line.indexOf('=')),
          line.slice(line.indexOf('=') + 1),
        ]),
    );
  const unit = Object.fromEntries(fields);
  assert.match(unit.ExecStart, /^\/usr\/bin\/node .* dist\/server\.js$/);
  assert.deepStrictEqual(
    [unit.Type, unit.WorkingDirectory, unit.WatchdogSec, Number(unit.FileDescriptorStoreMax) > 0],
    ['notify', '/opt/shop', '10', true],
  );
  assert.ok(stdout.includes('Environment=PORT=8080\n'));
  const options = assertStarts(unit.ExecStart.replaceAll('%%', '%').split(' '));
  assert.deepStrictEqual(options.recycle, { memory: '80%' });
});

test('the compose file and the image start the command', { skip }, () =>
  withFiles(['docker', '--name', 'shop', '--port', '8080'], (files) => {
    assert.deepStrictEqual(Object.keys(files).sort(), ['.dockerignore', 'Dockerfile', 'compose.yaml']);
    const command = /^CMD (\[.*\])$/m.exec(files.Dockerfile);
    assertStarts(JSON.parse(/** @type {RegExpExecArray} */ (command)[1]));
    const { services } = /** @type {any} */ (yaml.load(files['compose.yaml']));
    assert.deepStrictEqual(Object.keys(services), ['shop']);
    assert.deepStrictEqual(services.shop.ports, ['8080:8080']);
  }),
);

test('the manifests have probes on the port of the metrics', { skip }, () => {
  const { stdout } = init('k8s', '--name', 'shop', '--port', '8080');
  const documents = /** @type {any[]} */ (yaml.loadAll(stdout));
  assert.deepStrictEqual(
    documents.map(({ kind, metadata }) => [kind, metadata.name]),
    [
      ['Deployment', 'shop'],
      ['Service', 'shop'],
    ],
  );
  const [container] = documents[0].spec.template.spec.containers;
  const ports = Object.fromEntries(
    container.ports.map((/** @type {any} */ { name, containerPort }) => [name, containerPort]),
  );
  const probes = ['startupProbe', 'readinessProbe', 'livenessProbe'].map((probe) => container[probe].httpGet);
  assert.deepStrictEqual(probes, [
    { path: '/startupz', port: 'metrics' },
    { path: '/readyz', port: 'metrics' },
    { path: '/livez', port: 'metrics' },
  ]);
  const options = assertStarts([...container.command, ...container.args]);
  assert.ok(options.metrics.endsWith(`:${ports.metrics}`));
  const { terminationGracePeriodSeconds: grace } = documents[0].spec.template.spec;
  assert.ok(options.shutdownDelay + 8000 + 1000 < grace * 1000);
});

test('nothing is overwritten', { skip }, () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-init-'));
  fs.writeFileSync(path.join(directory, 'compose.yaml'), 'mine');
  const { status, stderr } = init('docker', '--output', directory);
  assert.strictEqual(status, 1);
  assert.match(stderr, /compose\.yaml exists already/);
  assert.deepStrictEqual(fs.readdirSync(directory), ['compose.yaml'], 'not even the others');
  assert.strictEqual(fs.readFileSync(path.join(directory, 'compose.yaml'), 'utf8'), 'mine');
  const made = path.join(directory, 'a', 'b');
  assert.strictEqual(init('kubernetes', '--output', made).stdout, `${path.join(made, 'kubernetes.yaml')}\n`);
  fs.rmSync(directory, { recursive: true });
  const impossible = init('docker', '--output', path.join(__filename, 'a'));
  assert.deepStrictEqual([impossible.status, /cannot create/.test(impossible.stderr)], [1, true]);
  for (const wrong of [
    ['--name', 'A b'],
    ['--app', 'x y'],
    ['--port', '0'],
    ['--node', '$(id)'],
  ]) {
    assert.strictEqual(init('systemd', ...wrong).status, 2, wrong.join(' '));
  }
});

test('docs/deployment.md shows the written files', { skip }, () => {
  const text = fs.readFileSync(path.join(ROOT, 'docs', 'deployment.md'), 'utf8');
  for (const kind of ['systemd', 'docker', 'k8s']) {
    withFiles([kind], (files) => {
      for (const [name, content] of Object.entries(files)) {
        if (name === '.dockerignore') continue;
        assert.ok(text.includes(`\n${content}\`\`\`\n`), `${name} is shown as it is`);
      }
    });
  }
});
