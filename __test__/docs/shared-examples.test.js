'use strict';

// The examples of shared state do what their head comments say, in two workers, and stop with all their
// processes.

const assert = require('node:assert');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { once } = require('node:events');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { get } = require('../../testing/clients.js');
const { freePorts } = require('../../testing/ports.js');
const { until } = require('../../testing/processes.js');
const { withCommand } = require('../helpers/programs.js');

const EXAMPLES = path.join(__dirname, '..', '..', 'examples');

const skip = isBuiltin && 'the examples are those of this package';

/**
 * @param {string} name of a file in examples/
 * @param {(ask: (path?: string, headers?: object) => ReturnType<typeof get>, target: object) => Promise<void>} body
 * @param {Record<string, string>} [more] additional environment variables
 */
async function withExample(name, body, more = {}) {
  const [port] = await freePorts(1);
  const env = { ...process.env, ...more, PORT: String(port) };
  await withCommand([process.execPath, path.join(EXAMPLES, name)], { env }, async ({ pid, exit }) => {
    const target = { port, host: '127.0.0.1' };
    const ask = (url = '/', headers = {}) => get({ ...target, path: url, headers });
    await until('it answers', () => ask('/').catch(() => undefined));
    await body(ask, target);
    process.kill(pid, 'SIGTERM');
    assert.deepStrictEqual(await exit, [0, null]);
  });
}

/**
 * Asks until both workers have answered.
 * @param {() => ReturnType<typeof get>} ask
 */
async function untilBothAnswer(ask) {
  const workers = new Set();
  await until('both workers answer', async () => {
    const { body } = await ask();
    return workers.add(/by worker (\d+)\n$/.exec(body)[1]).size === 2;
  });
}

/** @param {number} length @param {() => Promise<T>} ask @template T */
const many = (length, ask) => Promise.all(Array.from({ length }, ask));

test('single-flight.js creates one report for all', { skip }, () =>
  withExample('single-flight.js', async (ask) => {
    const tellers = new Set();
    // Each time, some requests reach the other worker.
    await until('both workers have told it', async () => {
      for (const { body } of await many(20, () => ask())) {
        const [, number, , teller] = /^report (\d+), made by process (\d+), sent by process (\d+)\n$/.exec(
          body,
        );
        assert.strictEqual(number, '1');
        tellers.add(teller);
      }
      return tellers.size === 2;
    });
  }),
);

test('session.js has the session in both workers, until the logout', { skip }, () =>
  withExample('session.js', async (ask) => {
    assert.match((await ask()).body, /^nobody, by worker /);
    const { headers } = await ask('/login?name=ada');
    const cookie = headers['set-cookie'][0].split(';')[0];
    await untilBothAnswer(async () => {
      const answer = await ask('/', { cookie });
      assert.match(answer.body, /^ada, /);
      return answer;
    });
    await ask('/logout', { cookie });
    for (const { body } of await many(10, () => ask('/', { cookie }))) assert.match(body, /^nobody/);
  }),
);

test('rate-limit.js lets ten requests pass', { skip }, () =>
  withExample('rate-limit.js', async (ask) => {
    const answers = await many(30, () => ask());
    // At least one request was needed to check that it answers.
    const passed = answers.filter(({ status }) => status === 200);
    assert(passed.length < 10, `${passed.length} have passed`);
    assert(answers.every(({ status }) => status === 200 || status === 429));
    assert.strictEqual((await ask()).status, 429);
  }),
);

test('config.js changes all workers together', { skip }, async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-config-'));
  const file = path.join(folder, 'config.json');
  const write = (/** @type {string} */ text) => {
    fs.writeFileSync(`${file}.new`, text);
    fs.renameSync(`${file}.new`, file);
  };
  write('{ "greeting": "one" }');
  const body = async (/** @type {any} */ ask) => {
    const everywhere = async (/** @type {string} */ greeting) => {
      const answers = await many(20, () => ask());
      const said = answers.map(({ body: text }) => /^(.*), by worker (\d+)\n$/.exec(text).slice(1));
      return said.every(([text]) => text === greeting) && new Set(said.map(([, id]) => id)).size === 2;
    };
    await until('all say what the file says', () => everywhere('one'));
    write('{ "greeting": "two" }');
    await until('all say what it says now', () => everywhere('two'));
    write('{ "greeting": ');
    write('{ "greeting": "three" }');
    await until('all say what it says at the end', () => everywhere('three'));
  };
  try {
    await withExample('config.js', body, { CONFIG: file });
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test('leader.js has one leader, and another one after that is killed', { skip }, () =>
  withExample('leader.js', async (ask) => {
    const state = async () => {
      const { body } = await ask();
      const [, pid, seconds] = /^worker \w+ \(pid (\w+)\) leads; (\d+) seconds/.exec(body);
      return pid === 'undefined' ? undefined : { pid: Number(pid), seconds: Number(seconds) };
    };
    const leaders = new Set();
    let counted = 0;
    for (let round = 0; round < 3; round++) {
      const { pid, seconds } = await until('another one leads and counts', async () => {
        const now = await state();
        return now !== undefined && !leaders.has(now.pid) && now.seconds > counted && now;
      });
      leaders.add(pid);
      counted = seconds;
      process.kill(pid, 'SIGKILL');
    }
    // The last killed worker may not have been replaced yet.
    await until('somebody leads', async () => {
      const now = await state();
      return now !== undefined && !leaders.has(now.pid);
    });
  }),
);

test('counters.js shows each client the counts of all workers', { skip }, () =>
  withExample('counters.js', async (ask, target) => {
    await untilBothAnswer(() => ask('/b'));
    const streams = await many(4, async () => {
      const request = http.get({ ...target, path: '/live', agent: false });
      const [response] = await once(request, 'response');
      const stream = { text: '', request };
      response.setEncoding('utf8').on('data', (/** @type {string} */ chunk) => (stream.text += chunk));
      response.on('error', () => {});
      return stream;
    });
    await many(40, () => ask('/a'));
    for (const stream of streams) {
      await until('it has the newest count', () => stream.text.includes('{"path":"/a","count":40}'));
      const counts = [...stream.text.matchAll(/"path":"\/a","count":(\d+)/g)].map(([, count]) =>
        Number(count),
      );
      assert.deepStrictEqual(
        counts,
        [...new Set(counts)].toSorted((one, two) => one - two),
      );
    }
    for (const { request } of streams) request.destroy();
  }),
);

test('source.js loads in one worker for all', { skip }, () =>
  withExample('source.js', async (ask) => {
    const state = async () => {
      const { body } = await ask();
      const [, who, worker] = /loaded \d+ ms ago by (this|another) worker, .* worker (\d+)\n$/.exec(body);
      return { here: who === 'this', worker };
    };
    const loaders = new Set();
    const others = new Set();
    await until('one loads, and the others say so', async () => {
      const { here, worker } = await state();
      (here ? loaders : others).add(worker);
      return loaders.size === 1 && others.size === 2;
    });
    assert(![...loaders].some((worker) => others.has(worker)));
  }),
);

test('polling.js loads in each worker separately', { skip }, () =>
  withExample('polling.js', async (ask) => {
    const workers = new Set();
    await until('all three have loaded', async () => {
      const { body } = await ask();
      return workers.add(/by worker (\d+) for itself\n$/.exec(body)[1]).size === 3;
    });
  }),
);
