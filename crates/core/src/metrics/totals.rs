//! Counts of supervision, from its events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::histogram::Histogram;
use crate::control::supervise::{Event, Excess, ExitKind, KillSignal, Phase, Reason, Why};
use crate::ids::{Slot, WorkerId};

/// The limits of the buckets for start-up times of workers, in seconds.
const BOOTS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The limits of the buckets for drain times, in seconds.
const DRAINS: &[f64] = &[0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// What was wrong with a worker that was replaced: see [`restart_reason`].
const REASONS: [&str; 5] = ["crash", "exception", "hang", "oom", "startup"];

/// The limits at which workers are replaced.
const CAUSES: [&str; 3] = ["age", "connections", "memory"];

/// The counts: see the module.
#[derive(Clone, Debug)]
pub struct Totals {
    /// By slot (`None` for standbys) and reason.
    restarts: BTreeMap<(Option<Slot>, &'static str), u64>,
    /// By slot and cause.
    recycles: BTreeMap<(Slot, &'static str), u64>,
    pub(super) reloads_done: u64,
    pub(super) reloads_failed: u64,
    pub(super) boots: Histogram,
    pub(super) drains: Histogram,
    /// Drains that were ended by SIGTERM, and those that needed SIGKILL after that.
    pub(super) terminated: u64,
    pub(super) killed: u64,
    pub(super) oom_kills: u64,
    /// The draining workers, and when their drains began.
    draining: BTreeMap<WorkerId, Duration>,
    /// The workers among them whose drain timed out.
    forced: BTreeSet<WorkerId>,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            restarts: BTreeMap::new(),
            recycles: BTreeMap::new(),
            reloads_done: 0,
            reloads_failed: 0,
            boots: Histogram::of_seconds(BOOTS),
            drains: Histogram::of_seconds(DRAINS),
            terminated: 0,
            killed: 0,
            oom_kills: 0,
            draining: BTreeMap::new(),
            forced: BTreeSet::new(),
        }
    }
}

impl Totals {
    /// An event of supervision.
    pub fn on_event(&mut self, event: &Event) {
        match event {
            Event::Ready { boot, .. } => self.boots.observe(*boot),
            Event::Restart { slot, why, phase, .. } => self.on_restart(*slot, restart_reason(why, *phase)),
            Event::Retire { slot, reason: Reason::Asked(words), .. } if is_exception(words) => {
                self.on_restart(*slot, "exception");
            }
            Event::Recycle { slot, excess, .. } => {
                let cause = match excess {
                    Excess::Memory => "memory",
                    Excess::Age => "age",
                    Excess::Connections => "connections",
                };
                *self.recycles.entry((*slot, cause)).or_default() += 1;
            }
            Event::ReloadDone { .. } => self.reloads_done += 1,
            Event::ReloadFailed { .. } => self.reloads_failed += 1,
            Event::DrainTimeout { worker, .. } => {
                self.terminated += 1;
                self.forced.insert(*worker);
            }
            _ => {}
        }
    }

    /// The restarts by slot (`None` for standbys) and reason, with a 0 for whatever has not happened in these slots: `rate()`
    /// would miss the first event of a counter that begins with it.
    pub(super) fn restarts(&self, slots: &[Slot]) -> BTreeMap<(Option<Slot>, &'static str), u64> {
        let zeros = slots.iter().flat_map(|slot| REASONS.map(|reason| ((Some(*slot), reason), 0)));
        zeros.chain(self.restarts.iter().map(|(key, count)| (*key, *count))).collect()
    }

    /// The same for the workers that were replaced at a limit, by slot and cause.
    pub(super) fn recycles(&self, slots: &[Slot]) -> BTreeMap<(Slot, &'static str), u64> {
        let zeros = slots.iter().flat_map(|slot| CAUSES.map(|cause| ((*slot, cause), 0)));
        zeros.chain(self.recycles.iter().map(|(key, count)| (*key, *count))).collect()
    }

    fn on_restart(&mut self, slot: Option<Slot>, reason: &'static str) {
        *self.restarts.entry((slot, reason)).or_default() += 1;
    }

    /// A worker begins to drain.
    pub fn on_leaving(&mut self, now: Duration, worker: WorkerId) {
        self.draining.entry(worker).or_insert(now);
    }

    /// A signal is sent to a worker.
    pub fn on_kill(&mut self, worker: WorkerId, signal: KillSignal) {
        if signal == KillSignal::Kill && self.forced.remove(&worker) {
            self.killed += 1;
        }
    }

    /// A worker has ended.
    pub fn on_exit(&mut self, now: Duration, worker: WorkerId, exit: ExitKind) {
        self.forced.remove(&worker);
        if let Some(since) = self.draining.remove(&worker) {
            self.drains.observe(now.saturating_sub(since));
        }
        if exit == ExitKind::OutOfMemory {
            self.oom_kills += 1;
        }
    }
}

/// Whether an uncaught exception retired the worker: see `retireOnException`.
fn is_exception(words: &str) -> bool {
    matches!(words, "uncaughtException" | "unhandledRejection")
}

fn restart_reason(why: &Why, phase: Phase) -> &'static str {
    match (why, phase) {
        (Why::Exited(ExitKind::OutOfMemory), _) => "oom",
        (Why::NotSpawned { .. } | Why::NotReady { .. }, _) | (_, Phase::StartUp) => "startup",
        (Why::Unresponsive, _) => "hang",
        (Why::Exited(_) | Why::CutOff | Why::Retired(_), Phase::Service) => "crash",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::supervise::By;

    const SLOT: Slot = Slot(1);

    fn restart(why: Why, phase: Phase) -> Event {
        let (delay, worker) = (Duration::ZERO, Some(WorkerId(7)));
        Event::Restart { slot: Some(SLOT), worker, why, phase, delay, restarts: 1, stderr: None }
    }

    #[test]
    fn restarts_are_counted_by_what_was_wrong() {
        let mut totals = Totals::default();
        for (why, phase) in [
            (Why::Exited(ExitKind::Code(1)), Phase::Service),
            (Why::Exited(ExitKind::Signal(11)), Phase::Service),
            (Why::Exited(ExitKind::Code(1)), Phase::StartUp),
            (Why::Exited(ExitKind::OutOfMemory), Phase::StartUp),
            (Why::Unresponsive, Phase::Service),
            (Why::NotReady { missed: None }, Phase::StartUp),
        ] {
            totals.on_event(&restart(why, phase));
        }
        let retire = |words: &str| Event::Retire {
            worker: WorkerId(7),
            slot: Some(SLOT),
            reason: Reason::Asked(words.into()),
            detail: String::new(),
            by: By::Worker,
        };
        totals.on_event(&retire("uncaughtException"));
        totals.on_event(&retire("tired"));
        let counted = |totals: &Totals| -> Vec<(&str, u64)> {
            totals.restarts(&[SLOT]).into_iter().map(|((_, reason), count)| (reason, count)).collect()
        };
        let all = [("crash", 2), ("exception", 1), ("hang", 1), ("oom", 1), ("startup", 2)];
        assert_eq!(counted(&totals), all);
        assert_eq!(counted(&Totals::default()), all.map(|(reason, _)| (reason, 0)), "they begin at 0");
    }

    #[test]
    fn a_drain_is_timed_from_its_order_to_the_end_of_the_worker() {
        let mut totals = Totals::default();
        let at = Duration::from_millis;
        totals.on_leaving(at(100), WorkerId(1));
        totals.on_leaving(at(150), WorkerId(1));
        totals.on_leaving(at(100), WorkerId(2));
        totals.on_event(&Event::DrainTimeout {
            worker: WorkerId(2),
            slot: None,
            connections: None,
            resources: BTreeMap::new(),
        });
        totals.on_kill(WorkerId(1), KillSignal::Kill);
        totals.on_kill(WorkerId(2), KillSignal::Term);
        totals.on_kill(WorkerId(2), KillSignal::Kill);
        totals.on_kill(WorkerId(2), KillSignal::Kill);
        totals.on_exit(at(300), WorkerId(1), ExitKind::Code(0));
        totals.on_exit(at(1100), WorkerId(2), ExitKind::Signal(9));
        totals.on_exit(at(1200), WorkerId(3), ExitKind::OutOfMemory);
        assert_eq!((totals.drains.count(), totals.drains.sum()), (2, 1.2));
        assert_eq!((totals.terminated, totals.killed, totals.oom_kills), (1, 1, 1));
        assert!(totals.draining.is_empty() && totals.forced.is_empty());
    }
}
