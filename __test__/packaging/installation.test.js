'use strict';

// Incomplete installations are reported by one clear error, and where there is no native part at all, the built-in
// is used.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { inFolder, install, run } = require('../helpers/installed.js');
const { isBuiltin, OURS } = require('../../testing/subject.js');

const ADDON = fs.readdirSync(OURS).find((name) => /^rcluster\..*\.node$/.test(name));

/**
 * Installs the package in a folder of its own, changes something there, and loads it.
 * @param {object} options
 * @param {(folder: string) => void} [options.change]
 * @param {string} [options.before] code that runs before the package is loaded
 * @param {string[]} [options.execArgv]
 * @param {string} [options.after] code that gets the module as `cluster`
 */
function load({ change = () => {}, before = '', execArgv = [], after = '' }) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-installation-'));
  try {
    for (const name of ['index.js', 'register.js', 'binding.js', 'lib', 'package.json']) {
      fs.cpSync(path.join(OURS, name), path.join(folder, name), { recursive: true });
    }
    fs.symlinkSync(path.join(OURS, ADDON), path.join(folder, ADDON));
    change(folder);
    const program = path.join(folder, 'program.js');
    fs.writeFileSync(
      program,
      `${before}
       let cluster;
       try {
         cluster = require('./index.js');
       } catch (error) {
         const { code, message, cause } = error;
         console.log(JSON.stringify({ code, message, caused: cause instanceof Error }));
         process.exit(3);
       }
       ${after}`,
    );
    const { status, stdout, stderr } = spawnSync(process.execPath, [...execArgv, program], {
      cwd: folder,
      encoding: 'utf8',
    });
    return { status, stdout, stderr, error: status === 3 ? JSON.parse(stdout) : null };
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

/** @param {ReturnType<typeof load>} loaded @param {RegExp} message @param {boolean} [caused] */
function fails({ status, stderr, error }, message, caused = true) {
  assert.strictEqual(status, 3, stderr);
  assert.strictEqual(error.code, 'ERR_RCLUSTER_BINDING');
  assert.match(error.message, message);
  assert.strictEqual(error.caused, caused);
}

const skip = isBuiltin && 'it is about the package';

test('a complete installation loads', { skip }, () => {
  const { status, stdout, stderr } = load({ after: 'console.log(cluster.isPrimary)' });
  assert.deepStrictEqual([status, stdout, stderr], [0, 'true\n', '']);
});

test('a second copy of the package in the same process is warned of', { skip }, () =>
  inFolder((folder) => {
    const copies = ['first', 'second'].map((name) => install(folder, name));
    const program = `
      process.on('warning', ({ code, message }) => console.log(JSON.stringify({ code, message })));
      require('first');
      require('first');
      require('second');`;
    const { found } = run(['-e', program], { cwd: folder });
    assert.strictEqual(found.code, 'RCLUSTER_COPIES');
    assert.ok(
      copies.every((copy) => found.message.includes(copy)),
      found.message,
    );
  }),
);

test('a checkout that was not built', { skip }, () => {
  fails(
    load({ change: (folder) => fs.rmSync(path.join(folder, 'binding.js')) }),
    /has not been built.*npm run build/,
  );
});

test('a missing binary', { skip }, () => {
  const name = ADDON.slice('rcluster.'.length, -'.node'.length);
  fails(
    load({ change: (folder) => fs.rmSync(path.join(folder, ADDON)) }),
    new RegExp(`binary for ${name} is missing or broken.*optional dependency rcluster-${name}`),
  );
});

test('the command without its executable', { skip }, () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-installation-'));
  try {
    for (const name of ['bin', 'lib', 'package.json']) {
      fs.cpSync(path.join(OURS, name), path.join(folder, name), { recursive: true });
    }
    const program = path.join(folder, 'bin', 'rcluster.js');
    const { status, stdout, stderr } = spawnSync(process.execPath, [program, 'status'], { encoding: 'utf8' });
    assert.deepStrictEqual([status, stdout], [1, '']);
    assert.match(stderr, /^rcluster: .*has no executable for.*--omit=optional.*\n$/);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test('a broken binary', { skip }, () => {
  const change = (folder) => {
    fs.rmSync(path.join(folder, ADDON));
    fs.writeFileSync(path.join(folder, ADDON), 'not a library');
  };
  fails(load({ change }), /is missing or broken/);
});

test('a binary of another version', { skip }, () => {
  const change = (folder) => {
    const file = path.join(folder, 'package.json');
    const manifest = JSON.parse(fs.readFileSync(file, 'utf8'));
    fs.writeFileSync(file, JSON.stringify({ ...manifest, version: '99.0.1' }));
  };
  const { version } = JSON.parse(fs.readFileSync(path.join(OURS, 'package.json'), 'utf8'));
  fails(
    load({ change }),
    new RegExp(`built from version ${version.replaceAll('.', '\\.')} and this is version 99\\.0\\.1`),
    false,
  );
});

test('a binary from before versions were compared', { skip }, () => {
  const change = (folder) => fs.writeFileSync(path.join(folder, 'binding.js'), 'exports.Primary = class {};');
  fails(load({ change }), /built from an older version/, false);
});

test('another C library than the binary is for', { skip }, () => {
  // This process claims to run on musl. The installed binary is for glibc.
  const before = 'process.report.getReport = () => ({ header: {}, sharedObjects: [] });';
  // The generated loader may detect the C library in its own way, so that the binary may load nevertheless.
  const musl = load({ before, change: (folder) => fs.rmSync(path.join(folder, ADDON)) });
  fails(musl, /binary for linux-\w+-musl is missing or broken.*copied.*from glibc to musl/s);
});

test('a C library that is too old', { skip }, () => {
  const message = "libc.so.6: version `GLIBC_2.99' not found (required by rcluster.node)";
  const change = (folder) => {
    const code = `throw new Error('Cannot find native binding.', { cause: new Error(${JSON.stringify(message)}) });`;
    fs.writeFileSync(path.join(folder, 'binding.js'), code);
  };
  fails(load({ change }), /needs GLIBC_2\.99 and this system's C library is older/);
});

test('a processor without a published binary', { skip }, () => {
  const before = "Object.defineProperty(process, 'arch', { value: 'riscv64' });";
  fails(load({ before }), /No binary is published for linux-riscv64-\w+/);
});

const permission =
  Number.parseInt(process.versions.node, 10) >= 24 ? '--permission' : '--experimental-permission';

test('a process that may not load addons', { skip }, () => {
  fails(
    load({ execArgv: [permission, '--allow-fs-read=*', '--no-warnings'] }),
    /may not load native addons.*--allow-addons/,
  );
});

test('a process that loads no addons at all', { skip }, () => {
  fails(load({ execArgv: ['--no-addons'] }), /because of --no-addons: start it without/);
});

test('a bundle', { skip }, () => {
  // As bundlers produce it: the code in another file, with the modules of ours that it needs, and no native
  // part beside it.
  const change = (folder) => {
    const code = fs.readFileSync(path.join(folder, 'lib/load-binding.js'), 'utf8');
    const bundled = code.replaceAll("require('./", "require('./lib/");
    fs.writeFileSync(path.join(folder, 'index.js'), `${bundled}\nloadBinding();`);
  };
  fails(load({ change }), /inside a bundle.*--external:rcluster/s, false);
});

test('where there is no native part, the built-in is used, with one warning', { skip }, () => {
  for (const platform of ['darwin', 'win32']) {
    const { status, stdout, stderr } = load({
      before: `Object.defineProperty(process, 'platform', { value: '${platform}' });`,
      change: (folder) => fs.rmSync(path.join(folder, ADDON)),
      after: `
        require('./register.js');
        console.log(cluster === require('node:cluster'), cluster.availableParallelism() > 0);
        if (cluster.isPrimary) cluster.fork().on('exit', (code) => console.log('exit', code));
        else process.exit(7);`,
    });
    assert.strictEqual(status, 0, stderr);
    assert.strictEqual(stdout, 'true true\ntrue true\nexit 7\n');
    assert.strictEqual(stderr.match(/RCLUSTER_FALLBACK/g)?.length, 1, stderr);
    assert.match(stderr, new RegExp(`native on Linux only; on ${platform} it uses the built-in`));
  }
});
