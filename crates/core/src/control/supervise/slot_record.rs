//! What supervision remembers about a slot, or about the bench, apart from its workers.

use std::time::Duration;

use super::backoff::Failures;
use super::budget::Budget;
use super::options::{Backoff, Intensity, Options};
use super::{Cause, Phase, Time, Why};
use crate::ids::Ticket;
use crate::random::Random;

/// The standing of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has a current worker. For the bench: it is kept full.
    Held,
    /// It gets a worker at that time.
    Due { at: Time, cause: Cause },
    /// Its budget of restarts is used up.
    GivenUp,
    /// The policy allows no replacement.
    Stopped,
    /// Its last worker, this one, drains. The way in which it ends decides whether it is replaced.
    Ending(Ticket),
}

/// The record: see the module.
#[derive(Debug)]
pub(super) struct SlotRecord {
    standing: Standing,
    budget: Budget,
    failures: Failures,
    /// The total number of restarts.
    restarts: u64,
    /// The generation of its last ready worker.
    generation: u32,
    /// Recycling must never use up the budget of restarts, so it has a budget of its own. Where restarts
    /// would be given up, recycling is postponed.
    recycles: Budget,
    no_recycle_before: Time,
    /// The failure because of which it was given up or stopped. `None` if its last worker ended without a
    /// failure.
    failure: Option<Why>,
}

impl SlotRecord {
    pub(super) fn new(standing: Standing, options: &Options) -> Self {
        let mut recycling = options.restart_intensity;
        recycling.max = recycling.max.max(1);
        Self {
            standing,
            budget: Budget::new(options.restart_intensity),
            failures: Failures::default(),
            restarts: 0,
            generation: 0,
            recycles: Budget::new(recycling),
            no_recycle_before: Time::ZERO,
            failure: None,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn is_due(&self) -> bool {
        matches!(self.standing, Standing::Due { .. })
    }

    /// Whether it will never get another worker.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.standing, Standing::GivenUp | Standing::Stopped)
    }

    /// The failure because of which it was given up or stopped, if there was one.
    pub(super) fn failure(&self) -> Option<&Why> {
        self.failure.as_ref()
    }

    /// Consecutive failures without a healthy time in between.
    pub(super) fn failures(&self) -> u32 {
        self.failures.count()
    }

    /// Whether the last worker failed before it was ready.
    pub(super) fn has_failed_to_start(&self) -> bool {
        self.failures.is_at_start_up()
    }

    /// The total number of restarts.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// The number of restarts in the period that ends then.
    pub(super) fn recent_restarts(&self, at: Time) -> u32 {
        self.budget.used(at)
    }

    pub(super) fn intensity(&self) -> Intensity {
        self.budget.intensity()
    }

    pub(super) fn has_budget(&self, at: Time) -> bool {
        self.budget.admits(at)
    }

    pub(super) fn is_within_budget(&self) -> bool {
        self.budget.is_kept()
    }

    /// The generation of its last ready worker.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// When it gets a worker, if one is scheduled.
    pub(super) fn due_at(&self) -> Option<Time> {
        match self.standing {
            Standing::Due { at, .. } => Some(at),
            _ => None,
        }
    }

    /// The earliest time at which its worker may be recycled. May be in the past.
    pub(super) fn no_recycle_before(&self) -> Time {
        self.no_recycle_before
    }

    /// Counts a failure, and returns the wait before the next worker.
    pub(super) fn on_failure(&mut self, phase: Phase, backoff: &Backoff, random: &mut Random) -> Duration {
        self.failures.one_more(phase, backoff, random)
    }

    /// Its worker has been healthy for long enough.
    pub(super) fn on_healthy(&mut self) {
        self.failures = Failures::default();
    }

    /// Its worker, of this generation, is ready.
    pub(super) fn on_ready(&mut self, generation: u32) {
        self.generation = generation;
    }

    pub(super) fn spend(&mut self, now: Time, at: Time) {
        self.budget.spend(now, at);
    }

    /// Schedules a restart at that time, or at the time already scheduled if that is later: more than one
    /// standby may fail.
    pub(super) fn restart(&mut self, at: Time, cause: Cause) {
        self.restarts += 1;
        let at = self.due_at().map_or(at, |later| at.max(later));
        self.standing = Standing::Due { at, cause };
    }

    pub(super) fn fill(&mut self, at: Time, cause: Cause) {
        self.standing = Standing::Due { at, cause };
    }

    pub(super) fn hold(&mut self) {
        self.standing = Standing::Held;
    }

    pub(super) fn stop(&mut self, failure: Option<Why>) {
        self.standing = Standing::Stopped;
        self.failure = failure;
    }

    /// The slot is no longer wanted.
    pub(super) fn remove(&mut self) {
        self.standing = Standing::Stopped;
    }

    pub(super) fn give_up(&mut self, failure: Why) {
        self.standing = Standing::GivenUp;
        self.failure = Some(failure);
    }

    pub(super) fn end_with(&mut self, last: Ticket) {
        self.standing = Standing::Ending(last);
    }

    /// New code may work, so a slot that was given up or waits is tried again.
    pub(super) fn revive(&mut self, options: &Options) {
        if self.standing != Standing::Held {
            self.standing = Standing::Held;
            self.budget = Budget::new(options.restart_intensity);
            self.failures = Failures::default();
        }
    }

    /// Whether its worker may be recycled now. If the budget is used up, postpones the recycling.
    pub(super) fn may_recycle(&mut self, now: Time) -> bool {
        if let Some(room_at) = self.recycles.room_at(now) {
            self.no_recycle_before = self.no_recycle_before.max(room_at);
        }
        self.no_recycle_before <= now
    }

    /// Its worker is being recycled.
    pub(super) fn recycle(&mut self, now: Time) {
        self.recycles.spend(now, now);
        self.fill(now, Cause::Recycle);
    }

    pub(super) fn put_recycling_off(&mut self, until: Time) {
        self.no_recycle_before = until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Duration::from_millis(ms)
    }

    fn record(max: u32) -> SlotRecord {
        let restart_intensity = Intensity { max, period: at(1_000) };
        SlotRecord::new(Standing::Held, &Options { restart_intensity, ..Options::default() })
    }

    #[test]
    fn a_second_restart_does_not_come_before_the_first() {
        let mut it = record(5);
        it.restart(at(300), Cause::Restart);
        it.restart(at(100), Cause::Retire);
        assert_eq!(it.standing(), Standing::Due { at: at(300), cause: Cause::Retire });
        assert_eq!((it.restarts(), it.due_at()), (2, Some(at(300))));
    }

    #[test]
    fn new_code_revives_a_slot_that_was_given_up_and_does_not_change_a_held_one() {
        let mut it = record(1);
        it.spend(at(0), at(0));
        it.revive(&Options::default());
        assert!(!it.has_budget(at(0)), "it is held");
        it.give_up(Why::NotReady { missed: None });
        assert!(it.is_over() && it.failure() == Some(&Why::NotReady { missed: None }));
        it.revive(&Options::default());
        assert!(it.has_budget(at(0)) && it.standing() == Standing::Held);
    }

    #[test]
    fn recycling_is_postponed_by_its_own_budget_and_uses_no_restarts() {
        let mut it = record(0);
        assert!(it.may_recycle(at(10)));
        it.recycle(at(10));
        assert!(!it.may_recycle(at(20)));
        assert_eq!(it.no_recycle_before(), at(1_010));
        assert!(it.may_recycle(at(1_010)) && it.recent_restarts(at(20)) == 0);
    }
}
