//! Changes of the number of slots.

use super::cluster::Cluster;
use super::restart::WorkerFailure;
use super::slot_record::Standing;
use super::{Failure, Reason};
use crate::ids::{Request, Slot};

/// Unanswered requests. All of them are for the same number of workers: a request for another number
/// supersedes them.
#[derive(Debug, Default)]
pub(super) struct Scale {
    requests: Vec<Request>,
    workers: u32,
    /// The slots from here on are new, and must get ready.
    from: u32,
    /// A reload is running; the slots do not change until it ends.
    waits: bool,
}

impl Scale {
    /// Adds a request. Returns the superseded requests, and the error for them.
    fn add(&mut self, workers: u32, request: Request) -> (Vec<Request>, Failure) {
        let failure = Failure::Superseded { wanted: self.workers, now: workers };
        let overtaken = if self.workers == workers { Vec::new() } else { self.take() };
        if self.requests.is_empty() {
            *self = Self { workers, from: workers, waits: true, requests: Vec::new() };
        }
        self.requests.push(request);
        (overtaken, failure)
    }

    /// The requested number of slots, if the change from `before` has not begun.
    fn begin(&mut self, before: u32) -> Option<u32> {
        if !std::mem::take(&mut self.waits) {
            return None;
        }
        self.from = before;
        Some(self.workers)
    }

    /// Whether a request waits for a change that has begun.
    fn is_under_way(&self) -> bool {
        !self.waits && !self.requests.is_empty()
    }

    /// Whether a slot is new.
    fn is_new(&self, slot: Slot) -> bool {
        !self.waits && slot.0 >= self.from
    }

    /// Takes the requests to answer: all is done, or it has failed.
    fn take(&mut self) -> Vec<Request> {
        self.waits = false;
        std::mem::take(&mut self.requests)
    }

    /// Requests a number of slots.
    pub(super) fn ask(&mut self, cluster: &mut Cluster, workers: u32, request: Request) {
        let (overtaken, failure) = self.add(workers, request);
        cluster.answer(overtaken, &Err(failure));
    }

    /// Adds or removes slots, if requested.
    pub(super) fn apply(&mut self, cluster: &mut Cluster) {
        if !self.waits {
            return;
        }
        match cluster.can_have(self.workers) {
            Change::Now => {
                let Some(workers) = self.begin(cluster.slots().wanted()) else { return };
                cluster.change_slots(workers);
            }
            Change::Later => {}
            Change::Never { serving } => {
                let failure = Failure::NoneLeft { slot: serving, workers: self.workers };
                self.end(cluster, &Err(failure));
            }
        }
    }

    /// Whether a request is unanswered.
    pub(super) fn is_asked(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Answers if all new slots have ready workers, and the removed ones are empty.
    pub(super) fn answer(&mut self, cluster: &mut Cluster) {
        if !self.is_under_way() {
            return;
        }
        let wanted = cluster.slots().wanted();
        let all_up =
            cluster.all_slots().filter(|slot| self.is_new(*slot)).all(|slot| cluster.has_ready(slot));
        let all_empty = !cluster.workers().iter().any(|it| it.slot().is_some_and(|slot| slot.0 >= wanted));
        if all_up && all_empty {
            self.end(cluster, &Ok(()));
        }
    }

    /// Whether a request waits for a slot that gets no worker.
    pub(super) fn waits_for_nothing(&self, cluster: &Cluster) -> bool {
        let gets_none =
            |slot| matches!(cluster.record(slot).standing(), Standing::Stopped | Standing::GivenUp);
        self.is_under_way() && cluster.all_slots().any(|slot| self.is_new(slot) && gets_none(slot))
    }

    /// A worker of a slot has failed. If the slot is new, the requests fail.
    pub(super) fn on_failure(&mut self, cluster: &mut Cluster, slot: Slot, failure: &WorkerFailure) {
        if self.is_new(slot) {
            self.end(cluster, &Err(failure.at(slot)));
        }
    }

    /// A slot is emptied by order. If it is new, the requests fail.
    pub(super) fn on_drained(&mut self, cluster: &mut Cluster, slot: Slot) {
        if self.is_new(slot) {
            self.end(cluster, &Err(Failure::NoWorker { slot }));
        }
    }

    /// Answers the requests: all is done, or it has failed.
    pub(super) fn end(&mut self, cluster: &mut Cluster, result: &Result<(), Failure>) {
        cluster.answer(self.take(), result);
    }
}

/// When the number of slots can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Now,
    /// When a slot that stays has a ready worker.
    Later,
    /// Not before another slot is restarted than the one that serves.
    Never {
        serving: Slot,
    },
}

impl Cluster {
    /// Whether a number of slots would leave a worker that serves, if one serves now.
    pub(super) fn can_have(&self, workers: u32) -> Change {
        let stays = |slot: &Slot| slot.0 < workers;
        let serving = self.all_slots().find(|slot| !stays(slot) && self.has_ready(*slot));
        let Some(serving) = serving else { return Change::Now };
        let left = || self.all_slots().filter(stays);
        if left().any(|slot| self.has_ready(slot)) {
            Change::Now
        } else if left().any(|slot| self.current(slot).is_some()) {
            Change::Later
        } else {
            Change::Never { serving }
        }
    }

    /// Adds slots, or drains the workers of the slots that are to be removed.
    pub(super) fn change_slots(&mut self, workers: u32) {
        for slot in (workers..self.slots().wanted()).map(Slot) {
            for index in [self.successor(slot), self.current(slot)].into_iter().flatten() {
                self.send_off(index, Reason::Scale);
            }
        }
        self.resize(workers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Request = Request(1);
    const TWO: Request = Request(2);

    #[test]
    fn requests_for_the_same_number_are_answered_together_and_another_number_supersedes_them() {
        let mut scale = Scale::default();
        assert_eq!(scale.add(3, ONE).0, []);
        assert_eq!(scale.add(3, TWO).0, []);
        let (overtaken, failure) = scale.add(4, Request(3));
        assert_eq!(overtaken, [ONE, TWO]);
        assert_eq!(failure, Failure::Superseded { wanted: 3, now: 4 });
        assert_eq!(scale.begin(1), Some(4), "the last word counts");
        assert_eq!(scale.take(), [Request(3)]);
    }

    #[test]
    fn only_the_slots_that_are_added_are_new_and_only_once_they_are_there() {
        let mut scale = Scale::default();
        assert_eq!(scale.begin(2), None, "nothing has been asked for");
        scale.add(3, ONE);
        assert!(!scale.is_under_way() && !scale.is_new(Slot(2)));
        assert_eq!(scale.begin(2), Some(3));
        assert!(scale.is_under_way() && scale.is_new(Slot(2)) && !scale.is_new(Slot(1)));
        assert_eq!(scale.begin(3), None, "it has begun");
        assert_eq!(scale.take(), [ONE]);
        assert!(!scale.is_under_way());
    }
}
