'use strict';

// A worker does wild things to its link to the primary. It may come to harm itself; the primary and the others do not.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('./helpers/subject.js');
const { exchange } = require('./helpers/clients.js');
const { isAlive, until } = require('./helpers/processes.js');
const { withFixture } = require('./helpers/run-fixture.js');

const WAYS = [
  'garbage on the control socket',
  'half a frame on the control socket',
  'wrong frames on the control socket',
  'long frames on the control socket',
  'garbage on the connection channel',
  'the control socket closed',
  'the connection channel closed',
  'zeroes on the scoreboard',
  'ones on the scoreboard',
  'garbage on the scoreboard',
  'the scoreboard cut off',
];

for (const name of WAYS) {
  test(name, { skip: isBuiltin && 'the built-in has no such link' }, () => withFixture('saboteur.js', {}, async (fixture) => {
    const workers = [await fixture.marker('listening'), await fixture.marker('listening')];
    const [honest, saboteur] = [1, 2].map((id) => workers.find((worker) => worker.id === id));
    const target = { port: honest.port, host: honest.address };

    fixture.tell('sabotage', { id: saboteur.id, name });
    await fixture.marker('sabotaged');
    const during = await Promise.all(Array.from({ length: 50 }, () => exchange(target)));
    // A client that the saboteur had been given may have come to grief with it; the honest one answers its own.
    for (const { outcome } of during) assert.ok(['answered', 'closed'].includes(outcome), outcome);
    await until('the honest one answers', async () => (await exchange(target)).text === String(honest.id));

    // Without the saboteur all is as before, and a new worker takes part.
    fixture.tell('kill', saboteur.id);
    assert.strictEqual((await fixture.marker('exit')).id, saboteur.id);
    fixture.tell('fork');
    const fresh = await fixture.marker('listening');
    assert.strictEqual(fresh.port, honest.port);
    for (const { id } of [honest, fresh]) {
      await until(`worker ${id} answers`, async () => {
        const { outcome, text } = await exchange(target);
        assert.strictEqual(outcome, 'answered');
        return text === String(id);
      });
    }
    assert.ok(isAlive(honest.pid));
  }));
}
