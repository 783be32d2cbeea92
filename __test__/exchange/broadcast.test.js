'use strict';

// cluster.BroadcastChannel between processes: order, counted loss, and which processes a slow reader affects.

const assert = require('node:assert');
const { describe, test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the channels of the built-in end at the process';

const asker = (fixture) => (command, id, of) => {
  fixture.tell(command, { id, of });
  return fixture.marker(id === 0 ? 'done' : `done ${id}`);
};

/** A cluster whose workers have all opened the channel. */
const withChannel = (options, body) =>
  withFixture('exchange.js', { env: options }, async (fixture) => {
    const ask = asker(fixture);
    const workers = [];
    while (workers.length < Number(options.COUNT)) workers.push(await fixture.marker('online'));
    for (const { id } of workers) await ask('open', id, 'channel');
    await body({ fixture, ask, workers });
  });

describe('a channel', { skip }, () => {
  for (const WAY of ['fork', 'supervise']) {
    test(`reaches the other processes, with workers of ${WAY}()`, () =>
      withChannel({ WAY, COUNT: '3' }, async ({ ask, workers }) => {
        const ids = [0, ...workers.map(({ id }) => id)];
        await ask('open', 0, 'channel');
        for (const id of ids) await ask('post', id, ['channel', `first of ${id}`, { id }, `last of ${id}`]);
        for (const id of ids) {
          for (const other of ids.filter((it) => it !== id)) {
            const list = await ask('hears', id, ['channel', `last of ${other}`]);
            const from = list.indexOf(`first of ${other}`);
            assert.deepStrictEqual(list[list.indexOf(`last of ${other}`) - 1], { id: other });
            assert(from >= 0 && from < list.indexOf(`last of ${other}`), 'in order, from the beginning');
          }
          const own = (await ask('heard', id, 'channel')).filter((it) => `${it}`.endsWith(`of ${id}`));
          assert.deepStrictEqual(own, [], 'it does not hear itself');
        }
      }));
  }

  test('loses no message to processes that read, and counts the messages that others lose', () =>
    withChannel({ COUNT: '3' }, async ({ fixture, ask, workers: [sender, reader, blocked] }) => {
      const COUNT = 1000;
      const BYTES = 16 * 1024;
      fixture.tell('block', { id: blocked.id, of: 'go on' });
      await fixture.marker(`blocks ${blocked.id}`);
      await ask('handle', reader.id, ['reached']);
      await ask('flood', sender.id, ['channel', COUNT, BYTES, reader.id]);
      await ask('hears', reader.id, ['channel', 'end']);
      const read = await ask('flooded', reader.id, 'channel');
      assert.deepStrictEqual(read, { count: COUNT + 1, inOrder: true, lag: 0 });
      await ask('set', sender.id, 'go on');
      await fixture.marker(`done ${blocked.id}`);
      let lost;
      do lost = await ask('flooded', blocked.id, 'channel');
      while (lost.count + lost.lag < COUNT + 1);
      assert.strictEqual(lost.count + lost.lag, COUNT + 1);
      assert(lost.lag > 0 && lost.inOrder);
      // It receives further messages.
      await ask('post', sender.id, ['channel', 'afterwards']);
      await ask('hears', blocked.id, ['channel', 'afterwards']);
    }));

  test('works while the JavaScript of the primary is blocked, and when workers die', () =>
    withChannel({ COUNT: '3' }, async ({ fixture, ask, workers: [one, two, three] }) => {
      await ask('setThen', two.id, ['channel', 'meanwhile', 'go on']);
      fixture.tell('postThen', { id: one.id, of: ['channel', 'meanwhile'] });
      fixture.tell('blockAndSay', { id: 0, of: 'go on' });
      process.kill(three.pid, 'SIGKILL');
      // A message received meanwhile has released the primary.
      await fixture.marker('done');
      await fixture.marker(`exit ${three.id}`);
      await ask('post', one.id, ['channel', 'x']);
      await ask('hears', two.id, ['channel', 'x']);
    }));
});
