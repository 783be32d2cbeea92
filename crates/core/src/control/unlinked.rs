//! Workers without a link to the primary, and when their processes are killed.
//!
//! A worker that is cut off treats that as the loss of its primary and ends, by its JavaScript or by its
//! watchdog thread. Both are inside the process and cannot be relied on, so the primary kills the process if
//! it is still there after a while.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::WorkerId;

/// How long a process may run after it has closed its control socket before it counts as cut off. A process
/// that ends closes everything, and exits a moment later.
pub const ENDING: Duration = Duration::from_secs(1);

/// How long a worker that is cut off may run before it is killed. Its watchdog thread needs 1.5 seconds.
pub const GRACE: Duration = Duration::from_secs(2);

/// What to do with a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has closed its control socket and keeps running: cut it off, and report it.
    CutOff(WorkerId),
    /// Kill its process.
    Kill(WorkerId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    HungUp { until: Duration },
    CutOff { until: Duration },
    Killed,
}

impl State {
    fn deadline(self) -> Option<Duration> {
        match self {
            Self::HungUp { until } | Self::CutOff { until } => Some(until),
            Self::Killed => None,
        }
    }
}

/// All running workers without a link.
#[derive(Debug, Default)]
pub struct Unlinked(BTreeMap<WorkerId, State>);

impl Unlinked {
    /// A worker has closed its control socket, as a process also does when it ends.
    pub fn on_hang_up(&mut self, now: Duration, worker: WorkerId) {
        self.0.entry(worker).or_insert(State::HungUp { until: now.saturating_add(ENDING) });
    }

    /// A worker was cut off. True if it was not cut off before.
    pub fn on_cut_off(&mut self, now: Duration, worker: WorkerId) -> bool {
        let state = State::CutOff { until: now.saturating_add(GRACE) };
        let before = self.0.insert(worker, state);
        if let Some(before @ (State::CutOff { .. } | State::Killed)) = before {
            self.0.insert(worker, before);
            return false;
        }
        true
    }

    /// A worker's process has ended.
    pub fn on_exit(&mut self, worker: WorkerId) {
        self.0.remove(&worker);
    }

    /// When to call [`Unlinked::due`], if at all.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.0.values().filter_map(|state| state.deadline()).min()
    }

    /// What to do at the time `now`. Each verdict is given once; [`Verdict::CutOff`] expects
    /// [`Unlinked::on_cut_off`].
    pub fn due(&mut self, now: Duration) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (&worker, state) in &mut self.0 {
            match *state {
                State::HungUp { until } if until <= now => verdicts.push(Verdict::CutOff(worker)),
                State::CutOff { until } if until <= now => {
                    *state = State::Killed;
                    verdicts.push(Verdict::Kill(worker));
                }
                _ => {}
            }
        }
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: WorkerId = WorkerId(1);
    const START: Duration = Duration::from_secs(100);

    #[test]
    fn a_worker_that_is_cut_off_and_keeps_running_is_killed_once() {
        let mut unlinked = Unlinked::default();
        assert!(unlinked.on_cut_off(START, A));
        assert!(!unlinked.on_cut_off(START + GRACE / 2, A), "the first time counts");
        assert_eq!(unlinked.next_deadline(), Some(START + GRACE));
        assert_eq!(unlinked.due(START + GRACE / 2), []);
        assert_eq!(unlinked.due(START + GRACE), [Verdict::Kill(A)]);
        assert_eq!(unlinked.due(START + 2 * GRACE), []);
        assert_eq!(unlinked.next_deadline(), None);
        assert!(!unlinked.on_cut_off(START + 2 * GRACE, A));
        unlinked.on_hang_up(START + 2 * GRACE, A);
        assert_eq!(unlinked.next_deadline(), None);
    }

    #[test]
    fn a_worker_that_ends_is_left_alone() {
        let mut unlinked = Unlinked::default();
        unlinked.on_cut_off(START, A);
        unlinked.on_exit(A);
        assert_eq!((unlinked.due(START + GRACE), unlinked.next_deadline()), (vec![], None));
        unlinked.on_hang_up(START, A);
        unlinked.on_exit(A);
        assert_eq!((unlinked.due(START + GRACE), unlinked.next_deadline()), (vec![], None));
    }

    #[test]
    fn a_worker_that_hangs_up_and_keeps_running_is_cut_off() {
        let mut unlinked = Unlinked::default();
        unlinked.on_hang_up(START, A);
        unlinked.on_hang_up(START + ENDING / 2, A);
        assert_eq!(unlinked.due(START + ENDING / 2), []);
        assert_eq!(unlinked.next_deadline(), Some(START + ENDING));
        let now = START + ENDING;
        assert_eq!(unlinked.due(now), [Verdict::CutOff(A)]);
        assert!(unlinked.on_cut_off(now, A));
        assert_eq!(unlinked.due(now + GRACE), [Verdict::Kill(A)]);
    }

    #[test]
    fn the_earliest_deadline_comes_first() {
        let mut unlinked = Unlinked::default();
        unlinked.on_cut_off(START, A);
        unlinked.on_hang_up(START, WorkerId(2));
        assert_eq!(unlinked.next_deadline(), Some(START + ENDING.min(GRACE)));
    }
}
