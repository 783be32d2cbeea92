'use strict';

// A client always gets the same worker, and later to its replacement.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');
const { exchange } = require('../../testing/clients.js');
const { until } = require('../../testing/processes.js');

const addresses = Array.from({ length: 40 }, (_, n) => `127.0.7.${n + 1}`);

const askFrom = async (app, localAddress) => {
  const { outcome, text } = await exchange({ ...app.target, localAddress }, 'hello');
  assert.strictEqual(outcome, 'answered');
  return Number.parseInt(text, 10);
};

test('by address, also after a worker was replaced', () =>
  withApp(
    { env: { WORKERS: '4', REFORK: '1', SCHEDULING: '{"policy":"sticky","sticky":{"patience":60000}}' } },
    async (app) => {
      const homes = new Map();
      for (const address of addresses) homes.set(address, await askFrom(app, address));
      assert.strictEqual(new Set(homes.values()).size, 4, 'everybody has clients');
      for (const address of addresses) assert.strictEqual(await askFrom(app, address), homes.get(address));

      const [{ id: dead, pid }] = app.workers;
      process.kill(pid, 'SIGKILL');
      await app.marker('exit');
      const { id: successor } = await app.marker('listening');
      for (const address of addresses) {
        const home = homes.get(address);
        assert.strictEqual(await askFrom(app, address), home === dead ? successor : home);
      }
    },
  ));

test('a client whose worker is blocked is served by another, always the same one, and then by its own again', () =>
  withApp(
    { env: { WORKERS: '3', SCHEDULING: '{"policy":"sticky","sticky":{"patience":30}}' } },
    async (app) => {
      const [address] = addresses;
      const home = await askFrom(app, address);
      const released = path.join(app.directory, 'released');
      app.tell('tell', { id: home, command: 'block', until: released });
      await app.marker('worker blocked');
      // On a busy machine another worker may also lack CPU for long enough to be passed over once.
      let second = 0;
      let inARow = 0;
      await until('one of the others serves it time after time', async () => {
        const answer = await askFrom(app, address);
        assert.notStrictEqual(answer, home);
        inARow = answer === second ? inARow + 1 : 1;
        second = answer;
        return inARow === 4;
      });
      fs.writeFileSync(released, '');
      let last;
      // The next client makes its event loop turn at the latest.
      for (let count = 0; count < 1000 && last !== home; count++) last = await askFrom(app, address);
      assert.strictEqual(last, home);
    },
  ));
