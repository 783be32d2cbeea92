'use strict';

// Workers that are not Node.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const { test } = require('node:test');
const { withForward } = require('../helpers/forward.js');
const { until, isAlive } = require('../../testing/processes.js');

const SERVER = `
import http.server, os, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.getpid()} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
`;

const SETTINGS = JSON.stringify({ execPath: 'python3', execArgv: ['-c'], exec: SERVER, args: [] });

test(
  'servers in Python take turns, die and are told to leave',
  { skip: spawnSync('python3', ['--version']).error !== undefined && 'there is no python3' },
  () =>
    withForward({}, { SETTINGS, WORKERS: '2' }, async (app) => {
      const pids = new Set();
      await until('both have answered', async () => {
        pids.add((await app.get('/a')).split(' ')[0]);
        return pids.size === 2;
      });
      const [first, second] = [...pids].map(Number);
      process.kill(first, 'SIGKILL');
      const { id, signal } = await app.marker('exit');
      assert.strictEqual(signal, 'SIGKILL');
      for (let i = 0; i < 6; i++) assert.strictEqual(await app.get(`/${i}`), `${second} /${i}`);
      const other = 3 - id;
      app.tell('disconnect', other);
      assert.deepStrictEqual(await app.marker('exit'), { id: other, code: null, signal: 'SIGTERM' });
      assert.strictEqual(isAlive(second), false);
      assert.deepStrictEqual((await app.report()).workers, []);
    }),
);

test(
  'a program does not outlive the primary',
  { skip: spawnSync('python3', ['--version']).error !== undefined && 'there is no python3' },
  () =>
    withForward({}, { SETTINGS, WORKERS: '1' }, async (app) => {
      const pid = Number((await app.get('/')).split(' ')[0]);
      app.child.kill('SIGKILL');
      await app.exited;
      await until('the worker is gone', () => !isAlive(pid));
    }),
);
