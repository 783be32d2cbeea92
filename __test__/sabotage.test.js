'use strict';

// A worker does wild things to its link to the primary. It may come to harm itself; the primary and the others do not.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('./helpers/subject.js');
const { exchange } = require('./helpers/clients.js');
const { isAlive, until } = require('./helpers/processes.js');
const { withFixture } = require('./helpers/run-fixture.js');

/** What is done, and whether the primary has to notice and to cut that worker off. */
const WAYS = {
  'garbage on the control socket': true,
  'half a frame on the control socket': true,
  'wrong frames on the control socket': true,
  'garbage on the control socket, and the process stopped': true,
  'long frames on the control socket': true,
  'garbage on the connection channel': true,
  'the control socket closed': false,
  'the connection channel closed': false,
  'zeroes on the scoreboard': false,
  'ones on the scoreboard': false,
  'garbage on the scoreboard': false,
  'the scoreboard cut off': false,
};

for (const [name, noticed] of Object.entries(WAYS)) {
  test(name, { skip: isBuiltin && 'the built-in has no such link' }, () =>
    withFixture('saboteur.js', {}, async (fixture) => {
      const workers = [await fixture.marker('listening'), await fixture.marker('listening')];
      const [honest, saboteur] = [1, 2].map((id) => workers.find((worker) => worker.id === id));
      const target = { port: honest.port, host: honest.address };

      fixture.tell('sabotage', { id: saboteur.id, name });
      await fixture.marker('sabotaged');
      const during = await Promise.all(Array.from({ length: 50 }, () => exchange(target)));
      // A client that the saboteur had been given may have come to grief with it; the honest one answers its own.
      for (const { outcome } of during) assert.ok(['answered', 'closed'].includes(outcome), outcome);
      await until('the honest one answers', async () => (await exchange(target)).text === String(honest.id));
      if (noticed) assert.match(await fixture.marker('warning'), new RegExp(`\\b${saboteur.id}\\b`));
      else fixture.tell('kill', saboteur.id);
      const { id, code } = await fixture.marker('exit');
      assert.strictEqual(id, saboteur.id);
      assert.notStrictEqual(code, 1, 'the sabotage itself has failed');

      // Without the saboteur all is as before, and a new worker takes part.
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
    }),
  );
}
