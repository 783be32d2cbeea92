'use strict';

// The adapters can be loaded by require and by import, and fail with a clear error if their package is not
// installed.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, describe, test } = require('node:test');
const { isBuiltin, OURS } = require('../../testing/subject.js');

const skip = isBuiltin && 'the adapters are those of this package';

/** Each adapter, what it exports, and whether it needs a package to run. */
const ADAPTERS = {
  'express-session': { name: 'SessionStore', peer: true },
  'express-rate-limit': { name: 'RateLimitStore', peer: false },
  'fastify-rate-limit': { name: 'RateLimitStore', peer: false },
  keyv: { name: 'KeyvShared', peer: false },
  'prom-client': { name: 'ClusterRegistry', peer: true },
  'rate-limiter-flexible': { name: 'RateLimiterShared', peer: true },
  'socket.io': { name: 'createAdapter', peer: true },
};

describe('adapters', { skip }, () => {
  const manifest = JSON.parse(fs.readFileSync(path.join(OURS, 'package.json'), 'utf8'));

  /** A project with this package, and no other. */
  const project = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-peers-'));
  const installed = path.join(project, 'node_modules', 'rcluster');
  after(() => fs.rmSync(project, { recursive: true }));
  fs.mkdirSync(installed, { recursive: true });
  for (const name of [...manifest.files, 'package.json']) {
    const from = path.join(OURS, name);
    if (/^(lib|.*\.m?js|package\.json)$/.test(name)) {
      fs.cpSync(from, path.join(installed, name), { recursive: true });
    }
  }

  /** @param {string} code @param {string[]} [options] */
  const run = (code, options = []) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [...options, '-e', code], {
      cwd: project,
      encoding: 'utf8',
    });
    assert.strictEqual(status, 0, stderr);
    return JSON.parse(stdout);
  };

  test('are exported by the package', () => {
    const subpaths = Object.keys(manifest.exports).map((name) => name.slice(2));
    const others = ['', 'control', 'register', 'package.json'];
    assert.deepStrictEqual(
      subpaths.filter((name) => !others.includes(name)).toSorted(),
      Object.keys(ADAPTERS).toSorted(),
    );
    for (const name of Object.keys(ADAPTERS)) {
      const { types } = manifest.exports[`./${name}`];
      assert.deepStrictEqual(manifest.typesVersions['*'][name], [types]);
    }
    for (const name of Object.keys(manifest.peerDependencies)) {
      assert.strictEqual(manifest.peerDependenciesMeta[name].optional, true, name);
      assert.notStrictEqual(manifest.devDependencies[name], undefined, name);
    }
    assert.strictEqual(manifest.dependencies, undefined);
  });

  for (const [subpath, { name, peer }] of Object.entries(ADAPTERS)) {
    test(`${subpath} is found by require and by import`, async () => {
      const required = require(`rcluster/${subpath}`);
      assert.deepStrictEqual(Object.keys(required), [name]);
      assert.strictEqual((await import(`rcluster/${subpath}`))[name], required[name]);
    });

    test(`${subpath} ${peer ? 'says that it is missing' : 'is loaded without'} its package`, () => {
      const tried = `
        const tell = (error) => ({ code: error.code, message: error.message, caused: error.cause?.code });`;
      const byRequire = run(`${tried}
        try { console.log(JSON.stringify(Object.keys(require('rcluster/${subpath}')))); }
        catch (error) { console.log(JSON.stringify(tell(error))); }`);
      const byImport = run(
        `${tried}
        const found = await import('rcluster/${subpath}').then((module) => ['${name}' in module && '${name}'], tell);
        console.log(JSON.stringify(found));`,
        ['--input-type=module'],
      );
      const missing = {
        code: 'ERR_RCLUSTER_PEER',
        message: `rcluster/${subpath} needs the package ${subpath}, which is not installed: npm install ${subpath}`,
        caused: 'MODULE_NOT_FOUND',
      };
      for (const found of [byRequire, byImport]) assert.deepStrictEqual(found, peer ? missing : [name]);
    });
  }

  test('rethrow errors of their package', () => {
    const broken = path.join(project, 'node_modules', 'prom-client');
    fs.mkdirSync(broken);
    fs.writeFileSync(path.join(broken, 'index.js'), "require('prom-client-part');\n");
    const code = run(`
      try { require('rcluster/prom-client'); }
      catch ({ code }) { console.log(JSON.stringify(code)); }`);
    fs.rmSync(broken, { recursive: true });
    assert.strictEqual(code, 'MODULE_NOT_FOUND');
  });
});
