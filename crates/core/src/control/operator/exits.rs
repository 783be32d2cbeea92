//! How the last worker of each slot ended, and the reason as far as supervision knows it.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;

use super::LastExit;
use crate::control::supervise::{Event, ExitKind, Phase, Reason, Why};
use crate::ids::{Slot, WorkerId};

/// The reason of a worker's end, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitReason {
    /// It has ended with an exit code.
    Exit,
    /// A signal ended it.
    Signal,
    /// An exception that was not caught.
    Exception,
    /// It ended before it was ready.
    Startup,
    /// Its event loop was blocked for too long.
    Hang,
    /// The kernel or V8 ran out of memory for it.
    Oom,
}

/// Node writes this last when an exception ends the process.
const AFTER_EXCEPTION: &str = "Node.js v";
/// What V8 writes when its heap is full, before it aborts.
const HEAP_FULL: &str = "JavaScript heap out of memory";
const SIGABRT: i32 = 6;

impl ExitReason {
    /// The reason as far as the exit and the last lines of stderr show it.
    pub(super) fn of(exit: ExitKind, stderr: Option<&[String]>) -> Self {
        let lines = || stderr.unwrap_or_default().iter();
        match exit {
            ExitKind::OutOfMemory => Self::Oom,
            // A program started by a shell ends with 128 plus the number of the signal.
            ExitKind::Signal(SIGABRT) | ExitKind::Code(134)
                if lines().any(|line| line.contains(HEAP_FULL)) =>
            {
                Self::Oom
            }
            ExitKind::Signal(_) => Self::Signal,
            ExitKind::Code(0) => Self::Exit,
            ExitKind::Code(_) => {
                let last = lines().rev().find(|line| !line.is_empty());
                if last.is_some_and(|line| line.starts_with(AFTER_EXCEPTION)) {
                    Self::Exception
                } else {
                    Self::Exit
                }
            }
        }
    }

    /// The reason as supervision knows it. `None` if it adds nothing.
    fn of_failure(why: &Why, phase: Phase) -> Option<Self> {
        match why {
            Why::Unresponsive => Some(Self::Hang),
            Why::Retired(reason) => Self::of_retirement(reason),
            Why::Exited(ExitKind::OutOfMemory) => Some(Self::Oom),
            _ => (phase == Phase::StartUp).then_some(Self::Startup),
        }
    }

    fn of_retirement(reason: &Reason) -> Option<Self> {
        let thrown = ["uncaughtException", "unhandledRejection"];
        matches!(reason, Reason::Asked(words) if thrown.contains(&words.as_str())).then_some(Self::Exception)
    }

    /// Prefers the cause to its consequence.
    fn or_better(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if self != Self::Oom => other,
            _ => self,
        }
    }
}

/// The last exits: see the module. There is one entry for each slot, and one for each worker that is about to
/// end.
#[derive(Debug, Default)]
pub struct Exits {
    last: BTreeMap<Slot, LastExit>,
    /// The reasons of workers that have not ended yet.
    reasons: BTreeMap<WorkerId, (Option<ExitReason>, String)>,
}

impl Exits {
    /// The end of the last worker of a slot.
    #[must_use]
    pub fn of(&self, slot: Slot) -> Option<&LastExit> {
        self.last.get(&slot)
    }

    /// A worker has ended, at this time in ms since the epoch. `slot` is `None` for a standby. `stderr` is
    /// its last output.
    pub fn on_exit(
        &mut self,
        worker: WorkerId,
        slot: Option<Slot>,
        exit: ExitKind,
        at: u64,
        stderr: Option<&[String]>,
    ) {
        let known = self.reasons.remove(&worker);
        let Some(slot) = slot else { return };
        let mut last = LastExit::new(worker, exit, at, stderr);
        if let Some((reason, detail)) = known {
            last.reason = last.reason.or_better(reason);
            last.detail = detail;
        }
        self.last.insert(slot, last);
    }

    /// A worker has been ordered to drain. Not every order is announced by an event: a reload is one for all workers.
    pub fn on_drain(&mut self, worker: WorkerId, reason: &str) {
        self.reasons.entry(worker).or_insert_with(|| (None, retired(reason)));
    }

    /// Takes the reason for a worker's end from an event of supervision, which comes before the end or just
    /// after it. `is_alive` says which.
    pub fn on_event(&mut self, event: &Event, is_alive: impl FnOnce(WorkerId) -> bool) {
        let (worker, slot, reason, detail) = match event {
            Event::Restart { worker: Some(worker), slot, why, phase, .. }
            | Event::GaveUp { worker: Some(worker), slot, why, phase, .. }
            | Event::Stopped { worker: Some(worker), slot, why, phase, .. } => {
                (*worker, *slot, ExitReason::of_failure(why, *phase), why.to_string())
            }
            Event::Retire { worker, slot, reason, .. } => {
                (*worker, *slot, ExitReason::of_retirement(reason), retired(reason))
            }
            _ => return,
        };
        let last = slot.and_then(|slot| self.last.get_mut(&slot)).filter(|last| last.worker == worker);
        if let Some(last) = last {
            last.reason = last.reason.or_better(reason);
            last.detail = detail;
        } else if is_alive(worker) {
            self.reasons.insert(worker, (reason, detail));
        }
    }
}

fn retired(reason: impl Display) -> String {
    format!("it retired ({reason})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::supervise::By;

    const SLOT: Slot = Slot(2);

    fn stopped(worker: u32, why: Why) -> Event {
        Event::Stopped {
            worker: Some(WorkerId(worker)),
            slot: Some(SLOT),
            why,
            phase: Phase::Service,
            stderr: None,
        }
    }

    #[test]
    fn a_reason_may_arrive_before_or_after_the_exit() {
        let mut exits = Exits::default();
        let retire = Event::Retire {
            worker: WorkerId(1),
            slot: Some(SLOT),
            reason: Reason::Drain,
            detail: String::new(),
            by: By::Operator,
        };
        exits.on_event(&retire, |_| true);
        exits.on_exit(WorkerId(1), Some(SLOT), ExitKind::Code(0), 5, None);
        let last = exits.of(SLOT).unwrap();
        assert_eq!((last.detail.as_str(), last.code, last.at), ("it retired (drain)", Some(0), 5));
        exits.on_exit(WorkerId(2), Some(SLOT), ExitKind::Signal(9), 6, None);
        assert_eq!(exits.of(SLOT).unwrap().detail, "it ended by SIGKILL");
        exits.on_event(&stopped(2, Why::Unresponsive), |_| false);
        assert_eq!(exits.of(SLOT).unwrap().detail, "its event loop stopped");
        exits.on_event(&stopped(1, Why::NotReady { missed: None }), |_| false);
        assert_eq!(exits.of(SLOT).unwrap().worker, WorkerId(2), "an older one changes nothing");
        assert!(exits.reasons.is_empty());
    }

    #[test]
    fn an_order_to_drain_is_the_reason_unless_there_is_a_better_one() {
        let mut exits = Exits::default();
        let detail = |exits: &Exits| exits.of(SLOT).unwrap().detail.clone();
        exits.on_drain(WorkerId(1), "reload");
        exits.on_exit(WorkerId(1), Some(SLOT), ExitKind::Code(0), 5, None);
        assert_eq!(detail(&exits), "it retired (reload)");
        exits.on_event(&stopped(2, Why::Unresponsive), |_| true);
        exits.on_drain(WorkerId(2), "shutdown");
        exits.on_exit(WorkerId(2), Some(SLOT), ExitKind::Signal(9), 6, None);
        assert_eq!(detail(&exits), "its event loop stopped");
        exits.on_drain(WorkerId(3), "reload");
        exits.on_exit(WorkerId(3), None, ExitKind::Code(0), 7, None);
        assert!(exits.reasons.is_empty());
    }

    #[test]
    fn the_reason_is_the_cause_and_not_its_consequence() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let thrown = lines("Error: no\n    at app.js:1:1\n\nNode.js v22.1.0\n");
        let full =
            lines("<--- Last few GCs --->\nFATAL ERROR: Reached heap limit JavaScript heap out of memory\n");
        let other = lines("Node.js v22 is too old\ngood bye");
        let cases = [
            (
                ExitKind::Code(1),
                &thrown,
                Why::Exited(ExitKind::Code(1)),
                Phase::Service,
                ExitReason::Exception,
            ),
            (ExitKind::Code(1), &other, Why::Exited(ExitKind::Code(1)), Phase::Service, ExitReason::Exit),
            (ExitKind::Code(1), &thrown, Why::Exited(ExitKind::Code(1)), Phase::StartUp, ExitReason::Startup),
            (
                ExitKind::Signal(9),
                &other,
                Why::NotReady { missed: None },
                Phase::StartUp,
                ExitReason::Startup,
            ),
            (ExitKind::Signal(6), &full, Why::Exited(ExitKind::Signal(6)), Phase::StartUp, ExitReason::Oom),
            (ExitKind::Code(134), &full, Why::Exited(ExitKind::Code(134)), Phase::Service, ExitReason::Oom),
            (
                ExitKind::Signal(6),
                &other,
                Why::Exited(ExitKind::Signal(6)),
                Phase::Service,
                ExitReason::Signal,
            ),
            (
                ExitKind::OutOfMemory,
                &other,
                Why::Exited(ExitKind::OutOfMemory),
                Phase::StartUp,
                ExitReason::Oom,
            ),
            (ExitKind::Signal(9), &other, Why::Unresponsive, Phase::Service, ExitReason::Hang),
            (ExitKind::Code(0), &other, Why::Retired(Reason::Reload), Phase::Service, ExitReason::Exit),
            (
                ExitKind::Code(1),
                &other,
                Why::Retired(Reason::Asked("uncaughtException".into())),
                Phase::Service,
                ExitReason::Exception,
            ),
        ];
        for (exit, stderr, why, phase, expected) in cases {
            for is_first in [true, false] {
                let mut exits = Exits::default();
                let (worker, slot) = (Some(WorkerId(1)), Some(SLOT));
                let event = Event::Stopped { worker, slot, why: why.clone(), phase, stderr: None };
                if is_first {
                    exits.on_event(&event, |_| true);
                }
                exits.on_exit(WorkerId(1), slot, exit, 1, Some(stderr));
                if !is_first {
                    exits.on_event(&event, |_| false);
                }
                let last = exits.of(SLOT).unwrap();
                assert_eq!((last.reason, &last.detail), (expected, &why.to_string()), "{why} {is_first}");
                assert_eq!(last.stderr_tail.as_ref(), Some(stderr));
            }
        }
    }

    #[test]
    fn the_exit_of_a_standby_is_not_kept() {
        let mut exits = Exits::default();
        exits.on_event(&stopped(1, Why::NotReady { missed: None }), |_| true);
        exits.on_exit(WorkerId(1), None, ExitKind::Code(1), 1, None);
        assert!(exits.of(SLOT).is_none() && exits.reasons.is_empty());
    }
}
