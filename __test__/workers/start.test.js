'use strict';

// Workers start, whatever has happened to the files, the directory and the options of the primary, and
// find the same environment as with the built-in.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin, OURS } = require('../../testing/subject.js');
const { LIMIT, inFolder, install, run } = require('../helpers/installed.js');

const skip = isBuiltin && 'it is about the package';

/** Code of the workers below: reports facts about the worker, and about a process that it has started. */
const LOOK = `
  const look = () => ({
    execArgv: process.execArgv,
    options: process.env.NODE_OPTIONS,
    preloaded: process._preload_modules,
    args: process.argv.slice(2),
    variables: Object.keys(process.env).filter((name) => name.startsWith('RCLUSTER_')),
  });`;

const CHANGES = {
  'the release is removed': ({ base, next }) => {
    next();
    fs.rmSync(path.join(base, 'releases/1'), { recursive: true });
  },
  'the release is removed, and the next one has another version': ({ base, next }) => {
    const manifest = path.join(next(), 'package.json');
    const content = JSON.parse(fs.readFileSync(manifest, 'utf8'));
    fs.writeFileSync(manifest, JSON.stringify({ ...content, version: '99.0.1' }));
    fs.rmSync(path.join(base, 'releases/1'), { recursive: true });
  },
  'the release is removed, and the next one is without the package': ({ base, next }) => {
    fs.rmSync(next(), { recursive: true });
    fs.rmSync(path.join(base, 'releases/1'), { recursive: true });
  },
  'the package is updated in place': ({ base }) => {
    const installed = path.join(base, 'releases/1/node_modules/rcluster');
    fs.renameSync(installed, `${installed}.old`);
    fs.cpSync(`${installed}.old`, installed, { recursive: true });
    fs.rmSync(`${installed}.old`, { recursive: true });
    fs.writeFileSync(path.join(installed, 'lib/worker/preload.js'), 'throw new Error("another version");');
  },
};

for (const [name, change] of Object.entries(CHANGES)) {
  for (const how of ['fork', 'reload']) {
    test(`${name}, ${how}`, { skip }, () =>
      inFolder((base) => {
        const release = path.join(base, 'releases/1');
        install(release);
        const app = `
          const cluster = require('node:cluster');
          ${LOOK}
          if (cluster.isPrimary) {
            const fs = require('node:fs'), path = require('node:path');
            const base = ${JSON.stringify(base)};
            const next = () => {
              fs.cpSync(base + '/releases/1', base + '/releases/2', { recursive: true });
              fs.unlinkSync(base + '/current');
              fs.symlinkSync('releases/2', base + '/current');
              return base + '/releases/2/node_modules/rcluster';
            };
            cluster.setupPrimary({ exec: base + '/current/app.js', cwd: base + '/current' });
            const looks = [];
            let isOver = false;
            // A worker tells before it listens, but by a channel of its own.
            const end = () => {
              if (!isOver || looks.length < 2) return;
              console.log(JSON.stringify(looks));
              process.exit();
            };
            const over = () => {
              isOver = true;
              end();
            };
            cluster.on('message', (worker, look) => {
              looks.push(look);
              end();
            });
            const supervisor = ${how === 'reload'} ? cluster.supervise({ workers: 1 }) : void cluster.fork();
            cluster.once('listening', () => {
              (${change})({ base, next });
              if (supervisor) supervisor.reload().then(over);
              else cluster.fork().once('listening', over);
            });
          } else {
            process.send(look(), () => require('node:http').createServer().listen(0, '127.0.0.1'));
          }`;
        fs.writeFileSync(path.join(release, 'app.js'), app);
        fs.symlinkSync('releases/1', path.join(base, 'current'));
        const preload = path.join(base, 'current/node_modules/rcluster/register.js');
        const temporary = path.join(base, 'tmp');
        fs.mkdirSync(temporary);
        const { found } = run(['-r', preload, path.join(base, 'current/app.js')], {
          cwd: base,
          env: { TMPDIR: temporary },
        });
        assert.strictEqual(found.length, 2);
        const [{ execArgv, ...first }, { execArgv: later, ...second }] = found;
        assert.deepStrictEqual(second, first);
        // The worker's own child processes must not load a file that is gone.
        assert.deepStrictEqual(execArgv, ['-r', preload]);
        assert.deepStrictEqual(later, fs.existsSync(preload) ? ['-r', preload] : []);
        assert.deepStrictEqual(fs.readdirSync(temporary), [], 'the copy is removed with the primary');
      }),
    );
  }
}

test('an app that has its own copy of the package, of another version, knows its slot', { skip }, () =>
  inFolder((folder) => {
    const other = install(folder);
    const app = `
      const cluster = require('node:cluster');
      if (cluster.isPrimary) cluster.fork().on('message', (id) => console.log(JSON.stringify(id)));
      else process.send(require('rcluster').stickyId().split('~')[0], () => process.disconnect());`;
    fs.writeFileSync(path.join(folder, 'app.js'), app);
    assert.notStrictEqual(other, OURS);
    assert.strictEqual(run(['-r', path.join(OURS, 'register.js'), 'app.js'], { cwd: folder }).found, 's0');
  }),
);

const BY_NAME = [
  ['-r', 'rcluster/register'],
  ['--require', 'rcluster/register'],
  ['--require=rcluster/register'],
  ['--import', 'rcluster/register'],
  ['--import=rcluster/register'],
  ['-r', './node_modules/rcluster/register.js'],
  ['-r', 'other-name/register'],
];

for (const options of BY_NAME) {
  for (const where of ['arguments', 'NODE_OPTIONS']) {
    test(`${options.join(' ')} in ${where}, and other directories`, { skip }, () =>
      inFolder((folder) => {
        for (const name of ['rcluster', 'other-name']) {
          fs.mkdirSync(path.join(folder, 'node_modules'), { recursive: true });
          fs.symlinkSync(OURS, path.join(folder, 'node_modules', name));
        }
        const app = `
          const cluster = require('node:cluster');
          const { execFileSync, fork } = require('node:child_process');
          if (process.argv[2] === 'child') process.send(typeof cluster.supervise);
          else if (cluster.isPrimary) {
            process.chdir('/');
            cluster.fork().on('message', (found) => {
              cluster.setupPrimary({ cwd: ${JSON.stringify(os.tmpdir())} });
              cluster.fork().on('message', (other) => {
                fork(__filename, ['child']).on('message', (own) => console.log(JSON.stringify([found, other, own])));
              });
            });
          } else {
            // A process that a worker starts has the app's options, whatever its directory.
            fork(__filename, ['child'], { cwd: '/proc' }).on('message', (found) => {
              process.send(found, () => process.disconnect());
            });
          }`;
        fs.writeFileSync(path.join(folder, 'app.js'), app);
        const [args, env] = where === 'arguments' ? [options, {}] : [[], { NODE_OPTIONS: options.join(' ') }];
        const { found } = run([...args, 'app.js'], { cwd: folder, env });
        assert.deepStrictEqual(found, ['function', 'function', 'function']);
      }),
    );
  }
}

test('the preloads of the app are loaded first, in order', { skip }, () =>
  inFolder((folder) => {
    const preload = (/** @type {string} */ name) => {
      const file = path.join(folder, `${name} "1".js`);
      fs.writeFileSync(
        file,
        `(globalThis.order ??= []).push([${JSON.stringify(name)}, seen()]);
        function seen() { return Object.keys(require.cache).filter((file) => file.includes('seam')).length; }`,
      );
      return file;
    };
    const [first, second, third] = ['first', 'second', 'third'].map(preload);
    const app = `
      const cluster = require(${JSON.stringify(OURS)});
      if (cluster.isPrimary) {
        cluster.setupPrimary({ execArgv: ['--require', ${JSON.stringify(second)}, '-r', ${JSON.stringify(third)}] });
        cluster.fork().on('message', (found) => console.log(JSON.stringify(found)));
      } else process.send([globalThis.order, process.execArgv, process.env.NODE_OPTIONS], () => process.disconnect());`;
    fs.writeFileSync(path.join(folder, 'app.js'), app);
    const text = `--require "${first.replaceAll('"', '\\"')}" --no-warnings`;
    const { found } = run([path.join(folder, 'app.js')], { env: { NODE_OPTIONS: text } });
    const [order, execArgv, options] = found;
    assert.deepStrictEqual(order, [
      ['first', 0],
      ['second', 0],
      ['third', 0],
    ]);
    assert.deepStrictEqual(execArgv, ['--require', second, '-r', third]);
    assert.strictEqual(options, text);
  }),
);

test('a loader without which the package cannot be found', { skip }, () =>
  inFolder((folder) => {
    // Like loaders that find packages in archives: only the loader can resolve the paths of this package.
    const hidden = path.join(folder, 'archive.zip', 'rcluster');
    const loader = path.join(folder, 'loader.js');
    fs.writeFileSync(
      loader,
      `const Module = require('node:module');
       const resolve = Module._resolveFilename;
       const hidden = ${JSON.stringify(hidden)};
       Module._resolveFilename = function (request, ...others) {
         const within = request.startsWith(hidden) ? ${JSON.stringify(OURS)} + request.slice(hidden.length) : request;
         return Reflect.apply(resolve, this, [within, ...others]);
       };`,
    );
    const app = `
      const path = require('node:path');
      const seam = require(${JSON.stringify(path.join(OURS, 'lib/seam/options.js'))});
      const { workerOptions } = seam;
      // The primary has such a path as well.
      seam.workerOptions = (options, text, preload, inText) =>
        workerOptions(options, text, preload.replace(${JSON.stringify(OURS)}, ${JSON.stringify(hidden)}), inText);
      const cluster = require(${JSON.stringify(OURS)});
      if (cluster.isPrimary) cluster.fork().on('message', (found) => console.log(JSON.stringify(found)));
      else process.send(typeof cluster.worker.retire, () => process.disconnect());`;
    fs.writeFileSync(path.join(folder, 'app.js'), app);
    assert.strictEqual(run(['-r', loader, path.join(folder, 'app.js')]).found, 'function');
  }),
);

for (const [primary, worker] of [
  [['--preserve-symlinks'], []],
  [[], ['--preserve-symlinks']],
  [
    ['--preserve-symlinks', '--preserve-symlinks-main'],
    ['--preserve-symlinks', '--preserve-symlinks-main'],
  ],
]) {
  test(`links are kept: primary [${primary}], worker [${worker}]`, { skip }, () =>
    inFolder((folder) => {
      fs.symlinkSync(OURS, path.join(folder, 'link'));
      const app = `
        const cluster = require(${JSON.stringify(path.join(folder, 'link', 'index.js'))});
        const { fork } = require('node:child_process');
        ${LOOK}
        if (process.argv[2] === 'child') process.send(look());
        else if (cluster.isPrimary) {
          cluster.setupPrimary({ execArgv: ${JSON.stringify(worker)} });
          cluster.fork().on('message', (found) => console.log(JSON.stringify(found)));
        } else {
          fork(__filename, ['child']).on('message', (child) => {
            process.send([look(), { ...child, args: [] }], () => process.disconnect());
          });
        }`;
      fs.writeFileSync(path.join(folder, 'app.js'), app);
      const { found } = run([...primary, path.join(folder, 'app.js')]);
      const clean = { execArgv: worker, preloaded: [], args: [], variables: [] };
      assert.deepStrictEqual(found, [clean, clean]);
    }),
  );
}

test('under --watch the primary gets only the files of the app', { skip }, () =>
  inFolder((folder) => {
    fs.writeFileSync(path.join(folder, 'part.js'), '');
    const app = `
      const cluster = require(${JSON.stringify(OURS)});
      if (cluster.isPrimary) {
        const reports = [];
        const child = cluster.fork({ WATCH_REPORT_DEPENDENCIES: '1' });
        child.on('message', (message) => {
          if (message !== 'end') return reports.push(...message['watch:require']);
          console.log(JSON.stringify(reports.filter(Boolean)));
          child.disconnect();
        });
      } else {
        require('./part.js');
        process.send('end');
      }`;
    fs.writeFileSync(path.join(folder, 'app.js'), app);
    const { found } = run([path.join(folder, 'app.js')]);
    // The app loads the package itself, so these files are expected.
    const others = found.filter((/** @type {string} */ file) => /lib.(worker|seam)/.test(file));
    const asked = others.filter(
      (/** @type {string} */ file) => !file.endsWith(path.join('worker', 'extras.js')),
    );
    assert.deepStrictEqual(asked, []);
    assert.ok(found.includes(path.join(folder, 'part.js')), found.join());
  }),
);

for (const [given, expected] of [
  ['INSTANCE', { INSTANCE: 'slot', NODE_APP_INSTANCE: 'of the primary' }],
  [false, { INSTANCE: 'of the primary', NODE_APP_INSTANCE: 'of the primary' }],
  ['NODE_APP_INSTANCE', { INSTANCE: 'of the primary', NODE_APP_INSTANCE: 'slot' }],
  [undefined, { INSTANCE: 'of the primary', NODE_APP_INSTANCE: 'of the primary' }],
]) {
  test(`instanceVar ${given}: a worker, its replacement, and a standby that is promoted`, { skip }, () =>
    inFolder((folder) => {
      const app = `
        const cluster = require(${JSON.stringify(OURS)});
        const variables = () => ({ INSTANCE: process.env.INSTANCE, NODE_APP_INSTANCE: process.env.NODE_APP_INSTANCE });
        if (cluster.isPrimary) {
          cluster.supervise({ workers: 1, standby: 1, instanceVar: ${JSON.stringify(given)}, backoff: { initial: 0 } });
          const found = [];
          cluster.on('message', (worker, message) => {
            found.push(message);
            if (found.length === 1) worker.process.kill('SIGKILL');
            else { console.log(JSON.stringify(found)); process.exit(); }
          });
        } else {
          const tell = () => process.send(variables());
          require('node:net').createServer().listen(0, '127.0.0.1', () => {
            if (cluster.worker.slot === undefined) cluster.worker.once('promote', tell);
            else setImmediate(tell);
          });
        }`;
      fs.writeFileSync(path.join(folder, 'app.js'), app);
      const env = { INSTANCE: 'of the primary', NODE_APP_INSTANCE: 'of the primary' };
      const { found } = run([path.join(folder, 'app.js')], { env });
      const slot = Object.fromEntries(
        Object.entries(expected).map(([name, value]) => [name, value === 'slot' ? '0' : value]),
      );
      assert.deepStrictEqual(found, [slot, slot]);
    }),
  );
}

const permission =
  Number.parseInt(process.versions.node, 10) >= 24 ? '--permission' : '--experimental-permission';

test('the permission model needs only processes and addons', { skip }, () =>
  inFolder((folder) => {
    const app = `
      const cluster = require(${JSON.stringify(OURS)});
      if (cluster.isPrimary) {
        const worker = cluster.fork();
        worker.on('message', (found) => {
          worker.on('exit', (code) => console.log(JSON.stringify([found, code])));
          worker.send('end');
        });
      } else {
        process.on('message', () => process.disconnect());
        process.send(1 + 1);
      }`;
    fs.writeFileSync(path.join(folder, 'app.js'), app);
    const allowed = ['--allow-fs-read=*', '--allow-child-process', '--allow-addons'];
    const { found } = run(['--no-warnings', permission, ...allowed, path.join(folder, 'app.js')]);
    assert.deepStrictEqual(found, [2, 0]);
  }),
);

test('a fork that fails after its process has started leaves no process behind', { skip }, () =>
  inFolder((folder) => {
    const app = `
      const cluster = require(${JSON.stringify(OURS)});
      const fs = require('node:fs');
      if (cluster.isPrimary) {
        const children = () => fs.readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8').trim();
        const descriptors = () => fs.readdirSync('/proc/self/fd').length;
        cluster.fork().once('online', () => {
          const [alive, open] = [children(), descriptors()];
          const pipe = Object.getPrototypeOf(new (require('node:net').Socket)({ fd: 1, manualStart: true })._handle ?? {});
          const found = [];
          for (const fault of [() => { throw new Error('a fault'); }, () => -9]) {
            const { open: original } = pipe;
            pipe.open = fault;
            try {
              cluster.fork();
            } catch ({ message }) {
              found.push(message);
            }
            pipe.open = original;
          }
          const wait = () => {
            if (children() !== alive || descriptors() > open) return setTimeout(wait, 10);
            console.error(JSON.stringify(found));
            process.exit();
          };
          wait();
        });
      }`;
    fs.writeFileSync(path.join(folder, 'app.js'), app);
    const { status, stderr } = spawnSync(process.execPath, [path.join(folder, 'app.js')], {
      encoding: 'utf8',
      timeout: LIMIT,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    assert.strictEqual(status, 0, stderr);
    assert.deepStrictEqual(JSON.parse(stderr), ['a fault', 'spawn EBADF']);
  }),
);

test('with a file size limit of 0, the error of fork() says so', { skip }, () =>
  inFolder((folder) => {
    const app = `
      const cluster = require(${JSON.stringify(OURS)});
      if (cluster.isPrimary) {
        try {
          cluster.fork();
        } catch ({ code, cause }) {
          console.log(JSON.stringify([code, cause.message]));
        }
      }`;
    fs.writeFileSync(path.join(folder, 'app.js'), app);
    const { found } = run(
      ['-c', 'ulimit -f 0 && exec "$0" "$@"', process.execPath, path.join(folder, 'app.js')],
      {
        program: 'sh',
      },
    );
    assert.strictEqual(found[0], 'EFBIG');
    assert.match(found[1], /making a scoreboard/);
  }),
);

test('a worker has no handles that the app has not requested', { skip }, () =>
  inFolder((folder) => {
    const app = `
      const cluster = require(${JSON.stringify(OURS)});
      const net = require('node:net');
      if (cluster.isPrimary) {
        const worker = cluster.fork();
        worker.on('listening', ({ port, addressType }) => {
          if (addressType === 4) net.connect(port, '127.0.0.1').resume();
        });
        worker.on('message', (found) => { console.log(JSON.stringify(found)); worker.disconnect(); });
      } else {
        let sockets = 0;
        const handles = [];
        // When a socket is destroyed, Node reads process.stderr, which would create its handle then.
        void process.stderr;
        require('node:diagnostics_channel').subscribe('udp.socket', () => sockets++);
        require('node:async_hooks').createHook({ init: (id, type) => handles.push(type) }).enable();
        const tell = () => process.send([sockets, handles.filter((type) => /^(TCP|PIPE|UDP)WRAP$/.test(type))]);
        const server = net.createServer((socket) => {
          socket.end();
          server.close();
          const udp = require('node:dgram').createSocket('udp4').bind(0, '127.0.0.1', () => udp.close(tell));
        }).listen(0, '127.0.0.1');
      }`;
    fs.writeFileSync(path.join(folder, 'app.js'), app);
    // The connection, the app's UDP socket, and the socket that replaces its handle.
    const { found } = run([path.join(folder, 'app.js')]);
    assert.deepStrictEqual(found, [1, ['TCPWRAP', 'UDPWRAP', 'UDPWRAP']]);
  }),
);

for (const input of ['-e', '-p', 'stdin']) {
  test(`a program from ${input} forks a file`, { skip }, () =>
    inFolder((folder) => {
      const file = path.join(folder, 'worker.mjs');
      fs.writeFileSync(
        file,
        `import cluster from 'node:cluster';
         process.send([cluster.isWorker, typeof cluster.worker.retire], () => process.disconnect());`,
      );
      const program = `
        const cluster = require(${JSON.stringify(OURS)});
        cluster.setupPrimary({ exec: ${JSON.stringify(file)}, execArgv: [] });
        void cluster.fork().on('message', (found) => console.log(JSON.stringify(found)));`;
      const options = input === 'stdin' ? { input: program } : {};
      const { stdout, status, stderr } = spawnSync(
        process.execPath,
        input === 'stdin' ? ['-'] : [input, program],
        { encoding: 'utf8', timeout: LIMIT, ...options },
      );
      assert.strictEqual(status, 0, stderr);
      assert.match(stdout, /\[true,"function"\]/);
    }),
  );
}

const noBuilder =
  skip || (Number.parseInt(process.versions.node, 10) < 26 && 'this Node cannot build one by itself');

for (const [title, extension] of [
  ['takes options from NODE_OPTIONS', 'env'],
  ['takes no options', 'none'],
]) {
  test(`a single executable that ${title}`, { skip: noBuilder }, () =>
    inFolder((folder) => {
      const main = path.join(folder, 'main.js');
      const load = `require('node:module').createRequire(${JSON.stringify(main)})(${JSON.stringify(OURS)})`;
      fs.writeFileSync(
        main,
        `const cluster = ${extension === 'env'} && require('node:cluster').isWorker ? require('node:cluster') : ${load};
         ${LOOK}
         if (cluster.isPrimary) {
           const worker = cluster.fork();
           let found;
           worker.on('message', (message) => { found = message; });
           worker.on('listening', ({ port }) => {
             require('node:http').get({ port, host: '127.0.0.1', agent: false }, () => {
               console.log(JSON.stringify([found, process.argv.slice(2)]));
               process.exit();
             });
           });
           worker.on('exit', (code) => process.exit(code || 9));
         } else {
           process.send(look());
           require('node:http').createServer((request, response) => response.end()).listen(0, '127.0.0.1');
         }`,
      );
      const config = path.join(folder, 'sea.json');
      const output = path.join(folder, 'app');
      fs.writeFileSync(
        config,
        JSON.stringify({ main, output, disableExperimentalSEAWarning: true, execArgvExtension: extension }),
      );
      const built = spawnSync(process.execPath, ['--build-sea', config], { encoding: 'utf8' });
      assert.strictEqual(built.status, 0, built.stderr);
      const { found } = run(['word'], { program: output, cwd: folder });
      const [worker, args] = found;
      assert.deepStrictEqual(args, ['word']);
      assert.deepStrictEqual(worker.execArgv, []);
      assert.deepStrictEqual(worker.preloaded, []);
      assert.deepStrictEqual(worker.variables, []);
      assert.strictEqual(worker.options, undefined);
      assert.deepStrictEqual(
        worker.args.filter((/** @type {string} */ arg) => arg.includes('preload')),
        [],
      );
    }),
  );
}
