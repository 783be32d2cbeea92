'use strict';

// The primary learns where the JavaScript of a worker is blocked, from that worker.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { until } = require('../../testing/processes.js');
const { withFixture } = require('../helpers/run-fixture.js');

const skip = isBuiltin && 'the built-in cannot ask';

/** The first line of the stack for each way to hang, and a line that must follow. */
const STACKS = {
  'an endless loop': [/^ {4}at .*spin \(.*hung\.js:14:\d+\)$/],
  'a deep call chain': [/^ {4}at .*descend \(.*hung\.js:19:\d+\)$/, /\bdescend \(.*hung\.js:18:\d+\)$/],
  'an endless regular expression': [/^ {4}at .*(test|match|exec)\b/, /match \(.*hung\.js:24:\d+\)$/],
  'an endless chain of promises': [/^ {4}at .*follow \(.*hung\.js:28:\d+\)$/],
  // Not where the function begins.
  'an endless Atomics.wait': [/wait\b(?!.*hung\.js:35:)/, /\bwait \(.*hung\.js:36:\d+\)$/],
  'a constructor in a script without a file': [/^ {4}at new Müller \(evalmachine/, /^ {4}at outer \(/],
};

/**
 * @param {string} way
 * @param {(fixture: InstanceType<typeof import('../../testing/fixture.js').Fixture>) => Promise<void>} body
 */
const withHung = (way, body) =>
  withFixture('supervision/hung.js', {}, async (fixture) => {
    await fixture.marker('online');
    fixture.tell('hang', way);
    await fixture.marker('hanging');
    await body(fixture);
    fixture.tell('kill');
    assert.deepStrictEqual(await fixture.marker('exit'), { code: null, signal: 'SIGKILL' });
  });

for (const [way, [innermost, ...others]] of Object.entries(STACKS)) {
  test(`a worker in ${way}`, { skip }, () =>
    withHung(way, async (fixture) => {
      // Before it is blocked, the stack may show earlier code.
      const lines = await until('it is blocked', async () => {
        fixture.tell('ask');
        const { stack, reason } = await fixture.marker('stack');
        assert.strictEqual(reason, null);
        return innermost.test(stack.split('\n')[0]) && stack.split('\n');
      });
      for (const other of others) {
        assert.ok(
          lines.some((line) => other.test(line)),
          lines.join('\n'),
        );
      }
      assert.ok(lines.every((line) => /^ {4}at \S/.test(line)));
      assert.ok(lines.length <= 100);
    }),
  );
}

test('a worker in a system call does not answer, and the wait is limited', { skip }, () =>
  withHung('waiting in the system', async (fixture) => {
    // Before the system call, it may still answer.
    let reason = null;
    while (reason === null) {
      fixture.tell('ask');
      ({ reason } = await fixture.marker('stack'));
    }
    assert.match(reason, /is not running JavaScript/);
  }),
);

test('two requests at once get two answers', { skip }, () =>
  withHung('an endless loop', async (fixture) => {
    fixture.tell('askTwice');
    for (let count = 0; count < 2; count++) {
      const { stack } = await fixture.marker('stack');
      assert.match(stack, /^ {4}at /);
    }
  }),
);

test('a worker that does not exist, and one that has died', { skip }, () =>
  withFixture('supervision/hung.js', {}, async (fixture) => {
    await fixture.marker('online');
    fixture.tell('ask', 17);
    assert.match((await fixture.marker('stack')).reason, /no such worker/);
    fixture.tell('kill');
    await fixture.marker('exit');
    fixture.tell('ask');
    assert.match((await fixture.marker('stack')).reason, /no such worker/);
  }),
);
