//! The slots and the workers, with what every decision about them needs: the time, the options, a random
//! generator, and the outputs. The other files decide.

use std::time::Duration;

use super::health::part;
use super::options::Options;
use super::slot_record::SlotRecord;
use super::slots::Slots;
use super::worker::{Role, Worker};
use super::{Cause, Event, Failure, Output, Phase, SpawnOrder, Time, Why};
use crate::ids::{Request, Slot, Ticket, WorkerId};
use crate::random::Random;

/// The slots and workers: see the module.
#[derive(Debug)]
pub(super) struct Cluster {
    options: Options,
    random: Random,
    now: Time,
    /// Sorted by the time of their orders.
    workers: Vec<Worker>,
    next_ticket: u64,
    slots: Slots,
    /// The total memory in bytes, if the workers' limit is a fraction of it.
    memory: Option<u64>,
    outbox: Vec<Output>,
}

impl Cluster {
    pub(super) fn new(options: Options, seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            now: Time::ZERO,
            workers: Vec::new(),
            next_ticket: 0,
            slots: Slots::new(&options),
            memory: None,
            outbox: Vec::new(),
            options,
        }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn now(&self) -> Time {
        self.now
    }

    /// Time never goes back.
    pub(super) fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    pub(super) fn in_time(&self, how_long: Duration) -> Time {
        self.now.saturating_add(how_long)
    }

    pub(super) fn say(&mut self, output: Output) {
        self.outbox.push(output);
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.say(Output::Tell(event));
    }

    pub(super) fn answer(&mut self, requests: Vec<Request>, result: &Result<(), Failure>) {
        for request in requests {
            self.say(Output::Done { request, result: result.clone() });
        }
    }

    pub(super) fn take_outputs(&mut self, out: &mut Vec<Output>) {
        out.append(&mut self.outbox);
    }

    /// The current number of outputs, for [`Cluster::hold_back`].
    pub(super) fn outputs(&self) -> usize {
        self.outbox.len()
    }

    /// Holds back the events reported since then until the blocked worker's stack is known: the cause is
    /// reported before its consequences.
    pub(super) fn hold_back(&mut self, index: usize, since: usize, which: impl Fn(&Event) -> bool) {
        let mut held_back = Vec::new();
        for output in self.outbox.split_off(since) {
            match output {
                Output::Tell(event) if which(&event) => held_back.push(event),
                other => self.outbox.push(other),
            }
        }
        self.workers[index].hold_back(held_back);
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(super) fn start(&mut self) {
        self.slots.start(self.now, &self.options);
    }

    /// Sets the number of slots.
    pub(super) fn resize(&mut self, workers: u32) {
        self.slots.resize(workers, self.now, &self.options);
        self.divide_memory();
    }

    /// Sets the total memory in bytes.
    pub(super) fn on_memory(&mut self, memory: Option<u64>) {
        self.memory = memory;
        self.divide_memory();
    }

    /// Gives each slot and each standby an equal share of the memory.
    fn divide_memory(&mut self) {
        if let Some(share) = self.options.recycle.memory_share {
            let workers = self.slots.wanted().saturating_add(self.options.standby).max(1);
            let memory = self.memory.map(|memory| part(memory, share) / u64::from(workers));
            self.options.recycle.memory = memory.filter(|memory| *memory > 0);
        }
    }

    pub(super) fn forget_empty_slots(&mut self) {
        let last = self.workers.iter().filter_map(Worker::slot).max();
        self.slots.forget_empty(last);
    }

    /// The wanted slots.
    pub(super) fn all_slots(&self) -> impl Iterator<Item = Slot> + use<> {
        self.slots.all()
    }

    pub(super) fn record(&self, slot: Slot) -> &SlotRecord {
        self.slots.get(slot)
    }

    /// The record of a slot, or of the bench for `None`.
    pub(super) fn record_mut(&mut self, slot: Option<Slot>) -> &mut SlotRecord {
        self.slots.get_mut(slot)
    }

    /// Counts a failure of a slot or of the bench, and returns the wait before the next worker.
    pub(super) fn count_failure(&mut self, slot: Option<Slot>, phase: Phase) -> Duration {
        self.slots.get_mut(slot).on_failure(phase, &self.options.backoff, &mut self.random)
    }

    /// New code may work, so a slot or bench that was given up is tried again.
    pub(super) fn revive(&mut self, slot: Option<Slot>) {
        self.slots.get_mut(slot).revive(&self.options);
    }

    pub(super) fn workers(&self) -> &[Worker] {
        &self.workers
    }

    pub(super) fn worker(&self, index: usize) -> &Worker {
        &self.workers[index]
    }

    pub(super) fn worker_mut(&mut self, index: usize) -> &mut Worker {
        &mut self.workers[index]
    }

    pub(super) fn worker_and_options(&mut self, index: usize) -> (&mut Worker, &Options) {
        (&mut self.workers[index], &self.options)
    }

    pub(super) fn find(&self, worker: WorkerId) -> Option<usize> {
        self.workers.iter().position(|it| it.id() == Some(worker))
    }

    /// A worker that is not a former one.
    pub(super) fn find_in_use(&self, worker: WorkerId) -> Option<usize> {
        self.find(worker).filter(|index| !self.workers[*index].is_former())
    }

    /// The worker with this ticket, if its process is not known yet.
    pub(super) fn find_ordered(&self, ticket: Ticket) -> Option<usize> {
        self.workers.iter().position(|it| it.ticket() == ticket && it.id().is_none())
    }

    fn at(&self, role: Role) -> Option<usize> {
        self.workers.iter().position(|it| it.role() == role)
    }

    pub(super) fn current(&self, slot: Slot) -> Option<usize> {
        self.at(Role::Current(slot))
    }

    pub(super) fn successor(&self, slot: Slot) -> Option<usize> {
        self.at(Role::Successor(slot))
    }

    pub(super) fn has_ready(&self, slot: Slot) -> bool {
        self.current(slot).is_some_and(|index| self.workers[index].is_ready())
    }

    pub(super) fn standbys(&self) -> usize {
        self.workers.iter().filter(|it| it.role() == Role::Standby).count()
    }

    /// A standby that could take over a slot now. It must not be older than this generation: it would bring
    /// back old code.
    pub(super) fn promotable(&self, oldest: u32) -> Option<usize> {
        self.workers
            .iter()
            .position(|it| it.role() == Role::Standby && it.is_ready() && it.generation() >= oldest)
    }

    /// Whether all events about blocked workers have been reported.
    pub(super) fn is_all_told(&self) -> bool {
        !self.workers.iter().any(Worker::is_capturing)
    }

    /// The last failure, if no slot serves or will get another worker, and at least one of them failed.
    pub(super) fn hopeless(&self) -> Option<Why> {
        // A worker that is about to leave still serves.
        let is_over = |slot| self.record(slot).is_over() && self.current(slot).is_none();
        if !self.is_all_told() || !self.all_slots().all(is_over) {
            return None;
        }
        self.all_slots().find_map(|slot| self.record(slot).failure().cloned())
    }

    /// Orders a worker.
    pub(super) fn spawn(&mut self, role: Role, cause: Cause, generation: u32) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let slot = role.slot();
        let retry = self.record_mut(slot).has_failed_to_start();
        let Self { options, random, now, .. } = self;
        self.workers.push(Worker::new(ticket, (role, generation, cause), *now, options, random));
        self.say(Output::Spawn(SpawnOrder { ticket, slot, cause, retry }));
    }

    /// Removes a worker whose process has exited or could not be spawned.
    pub(super) fn remove(&mut self, index: usize) -> Worker {
        self.workers.remove(index)
    }
}
