'use strict';

// The parts of supervision without the native part, each with simulated workers.

const assert = require('node:assert');
const { EventEmitter } = require('node:events');
const { test } = require('node:test');
const { Cluster } = require('../../lib/fallback/cluster.js');
const { Reload } = require('../../lib/fallback/reload.js');
const { Budget, Failures, StartUp } = require('../../lib/fallback/restarts.js');
const { Run } = require('../../lib/fallback/run.js');
const { Scale } = require('../../lib/fallback/scale.js');
const { monotonic } = require('../../lib/globals.js');

const OPTIONS = /** @type {any} */ ({
  ready: 'explicit',
  readyTimeout: 60_000,
  killTimeout: 60_000,
  drainTimeout: 60_000,
  backoff: { initial: 1, max: 1, factor: 1, jitter: 0, immediate: 0, resetAfter: 1 },
  restartIntensity: { max: 10, period: 1000 },
});

/** A cluster whose workers become ready by `ready()`, and end by `end()`. */
function createCluster(slots = 2) {
  /** @type {any[]} */
  const told = [];
  const cluster = new Cluster(
    () => fakeWorker(cluster.members.size),
    (message) => told.push(message),
    {
      onReady() {},
      onLate() {},
      onRetire() {},
      onDrainTimeout() {},
      onExit: (member) => cluster.members.delete(member),
    },
  );
  cluster.options = OPTIONS;
  for (let slot = 0; slot < slots; slot++) {
    cluster.setSlot(slot);
    cluster.start(slot, 'start');
    ready(cluster, slot);
  }
  told.length = 0;
  const answers = () => told.filter(({ type }) => type === 'answer').map((it) => [it.request, it.failure]);
  const events = () => told.filter(({ type }) => type === 'event').map((it) => [it.name, it.facts.phase]);
  return { cluster, answers, events };
}

/** @param {number} id */
function fakeWorker(id) {
  const child = Object.assign(new EventEmitter(), { kill: () => true, pid: 1 });
  const worker = { id, process: child, isConnected: () => false, isDead: () => false };
  return /** @type {any} */ (Object.assign(new EventEmitter(), worker));
}

/**
 * The new worker of a slot takes it over.
 * @param {InstanceType<typeof Cluster>} cluster
 * @param {number} slot
 */
function ready(cluster, slot) {
  const member = cluster.at(slot, 'successor') ?? cluster.at(slot, 'current');
  assert.ok(member);
  const old = cluster.at(slot, 'current');
  if (old !== undefined && old !== member) end(old);
  member.place = 'current';
  member.stage = 'ready';
  cluster.slots[slot].reloaded = member.generation;
}

/** @param {InstanceType<typeof import('../../lib/fallback/member.js').Member>} member */
function end(member) {
  member.worker?.process.emit('exit', 0, null);
}

/** Ends all workers, and with them their timers. @param {InstanceType<typeof Cluster>} cluster */
function endAll({ members }) {
  for (const member of members) end(member);
  assert.strictEqual(members.size, 0);
}

test('an end is announced once, and its requests are answered at the end', () => {
  const run = new Run();
  let ends = 0;
  const onEnd = () => void (ends += Number(run.end(undefined)));
  assert.strictEqual(run.announce(60_000, 9, 1, onEnd), true);
  assert.strictEqual(run.announce(60_000, 9, 2, onEnd), false);
  assert.deepStrictEqual([run.isAnnounced, run.isEnding, ends], [true, false, 0]);
  assert.strictEqual(run.announce(0, 9, 3, onEnd), false);
  assert.deepStrictEqual([run.isAnnounced, run.isEnding, ends], [false, true, 1]);
  assert.strictEqual(run.announce(60_000, 9, 4, onEnd), false, 'the end has begun');
  assert.strictEqual(ends, 1);
  assert.deepStrictEqual(run.finish(), { requests: [1, 2, 3, 4], exitCode: undefined });
});

test('an announced end only gets earlier, and its drains shorter', async () => {
  const run = new Run();
  const timeout = await new Promise((resolve) => {
    run.announce(1, 700, 1, resolve);
    run.announce(60_000, 500, 2, resolve);
    run.announce(60_000, 900, 3, resolve);
    assert.ok(run.isStopping && !run.isEnding);
  });
  assert.strictEqual(timeout, 500);
});

test('the first exit code applies, and is returned once', () => {
  const run = new Run();
  assert.deepStrictEqual([run.end(70), run.end(1)], [true, false]);
  assert.deepStrictEqual(run.finish(), { requests: [], exitCode: 70 });
  assert.deepStrictEqual(run.finish(), { requests: [], exitCode: undefined });
});

test('starting is given up only if no worker has ever been ready', () => {
  const startUp = new StartUp();
  const late = monotonic() + 10_000;
  assert.deepStrictEqual([startUp.isOver(late, 3, 5000), startUp.isOver(late, 2, 5000)], [true, false]);
  assert.strictEqual(startUp.isOver(late, 3, 0), false, 'there is no limit');
  startUp.onReady();
  assert.strictEqual(startUp.isOver(late, 3, 5000), false);
});

test('restarts that are scheduled for later count, until their period has passed', () => {
  const budget = new Budget({ max: 2, period: 10 });
  budget.spend(0, 4);
  budget.spend(0, 9);
  assert.deepStrictEqual([budget.admits(1), budget.admits(13), budget.admits(14)], [false, false, true]);
  assert.deepStrictEqual([budget.used(1), budget.roomAt(1), budget.roomAt(14)], [2, 14, undefined]);
  assert.strictEqual(new Budget({ max: 0, period: 10 }).roomAt(1), undefined, 'there never is room');
});

test('without a first wait there is none, however many failures there are', () => {
  const failures = new Failures({ ...OPTIONS.backoff, initial: 0, factor: 100 });
  for (let count = 0; count < 200; count++) assert.strictEqual(failures.add(true, 0.5), 0);
});

test('slots are added, and a request for another number fails', () => {
  const { cluster, answers } = createCluster();
  const scale = new Scale(cluster);
  assert.deepStrictEqual([scale.ask(3, 1), scale.ask(3, 2), scale.ask(4, 3)], [true, false, true]);
  const message = 'scaling to 3 workers was overtaken by scaling to 4';
  const failure = { code: 'ERR_RCLUSTER_SUPERSEDED', message };
  assert.deepStrictEqual(answers(), [
    [1, failure],
    [2, failure],
  ]);
  scale.begin();
  ready(cluster, 2);
  scale.answer();
  assert.deepStrictEqual([cluster.wanted.length, answers().length], [4, 2], 'the last one is not ready');
  ready(cluster, 3);
  scale.answer();
  assert.deepStrictEqual(answers().at(-1), [3, null]);
  endAll(cluster);
});

test('a slot is removed once its worker has ended', () => {
  const { cluster, answers } = createCluster();
  const scale = new Scale(cluster);
  scale.ask(1, 1);
  scale.begin();
  scale.answer();
  cluster.forgetEmpty();
  assert.deepStrictEqual([cluster.wanted, cluster.slots.length, answers()], [[0], 2, []]);
  const [member] = [...cluster.members].filter(({ slot }) => slot === 1);
  assert.strictEqual(member.stage, 'draining');
  end(member);
  scale.answer();
  cluster.forgetEmpty();
  assert.deepStrictEqual([cluster.slots.length, answers()], [1, [[1, null]]]);
  endAll(cluster);
});

test('a failure to start fails a request for slots only if the slot is new', () => {
  const { cluster, answers } = createCluster();
  const scale = new Scale(cluster);
  const failure = { code: 'ERR_RCLUSTER_NOT_READY', message: 'it was not' };
  scale.ask(3, 1);
  scale.onFailure(2, failure);
  assert.deepStrictEqual(answers(), [], 'it has not begun');
  scale.begin();
  scale.onFailure(1, failure);
  assert.deepStrictEqual(answers(), []);
  scale.onFailure(2, failure);
  assert.deepStrictEqual(answers(), [[1, failure]]);
  endAll(cluster);
});

test('a reload replaces as many workers at a time as allowed, and answers all requests', () => {
  const { cluster, answers, events } = createCluster();
  const reload = new Reload(cluster);
  assert.deepStrictEqual([reload.ask(1, 1), reload.ask(2, 2)], [true, false]);
  reload.advance();
  assert.ok(cluster.at(0, 'successor') && !cluster.at(1, 'successor'));
  ready(cluster, 0);
  reload.advance();
  assert.ok(cluster.at(1, 'successor') && reload.isRunning);
  ready(cluster, 1);
  reload.advance();
  assert.strictEqual(reload.isRunning, false);
  assert.deepStrictEqual(answers(), [
    [1, null],
    [2, null],
  ]);
  assert.deepStrictEqual(events().at(-1), ['reload', 'done']);
  endAll(cluster);
});

test('a reload fails if a worker that it has started fails, and the old ones stay', () => {
  const { cluster, answers, events } = createCluster();
  const reload = new Reload(cluster);
  const failure = { code: 'ERR_RCLUSTER_NOT_READY', message: 'it was not' };
  const [old, other] = cluster.members;
  reload.ask(2, 1);
  reload.advance();
  reload.onFailure(old, failure);
  assert.ok(reload.isRunning, 'it is from before');
  const failed = cluster.at(0, 'successor');
  assert.ok(failed && other.leaves === 'reload');
  reload.onFailure(failed, failure);
  assert.deepStrictEqual(answers(), [[1, failure]]);
  assert.deepStrictEqual(events().at(-1), ['reload', 'failed']);
  assert.deepStrictEqual([other.leaves, cluster.at(1, 'successor')], [undefined, undefined]);
  endAll(cluster);
});

test('a cluster is hopeless when no slot will serve again and one has failed', () => {
  const { cluster } = createCluster();
  for (const slot of cluster.slots) slot.state = 'stopped';
  cluster.slots[1].failure = 'it crashed';
  assert.strictEqual(cluster.hopeless(), undefined, 'there are workers');
  endAll(cluster);
  assert.strictEqual(cluster.hopeless(), 'it crashed');
  cluster.slots[0].state = 'backing-off';
  assert.strictEqual(cluster.hopeless(), undefined);
});

test('a closed cluster starts no more workers', () => {
  const { cluster } = createCluster();
  cluster.close(60_000);
  assert.ok([...cluster.members].every(({ stage }) => stage === 'draining'));
  endAll(cluster);
  cluster.start(0, 'restart');
  assert.strictEqual(cluster.members.size, 0);
});
