//! More slots, or fewer.

use super::cluster::Cluster;
use super::{Failure, Reason, Why};
use crate::ids::{Request, Slot};

/// What has been asked for and not been answered. All of it is for one number of workers: a request for
/// another one overtakes the others.
#[derive(Debug, Default)]
pub(super) struct Scale {
    requests: Vec<Request>,
    workers: u32,
    /// The slots from here on are new, and have to get ready.
    from: u32,
    /// A reload is running; the slots stay as they are for so long.
    waits: bool,
}

impl Scale {
    /// There are to be so many slots. Returns the requests that are overtaken by that, and what they are told.
    fn add(&mut self, workers: u32, request: Request) -> (Vec<Request>, Failure) {
        let failure = Failure::Superseded { wanted: self.workers, now: workers };
        let overtaken = if self.workers == workers { Vec::new() } else { self.take() };
        if self.requests.is_empty() {
            *self = Self { workers, from: workers, waits: true, requests: Vec::new() };
        }
        self.requests.push(request);
        (overtaken, failure)
    }

    /// How many slots there are to be from now on, where there were `before`. None if there is nothing to change.
    fn begin(&mut self, before: u32) -> Option<u32> {
        if !std::mem::take(&mut self.waits) {
            return None;
        }
        self.from = before;
        Some(self.workers)
    }

    /// Whether a request waits for the slots to be as they are to be.
    fn is_under_way(&self) -> bool {
        !self.waits && !self.requests.is_empty()
    }

    /// Whether a slot is a new one.
    fn is_new(&self, slot: Slot) -> bool {
        !self.waits && slot.0 >= self.from
    }

    /// All is done, or comes to nothing. Returns the requests to answer.
    fn take(&mut self) -> Vec<Request> {
        self.waits = false;
        std::mem::take(&mut self.requests)
    }

    /// Asks for so many slots.
    pub(super) fn ask(&mut self, cluster: &mut Cluster, workers: u32, request: Request) {
        let (overtaken, failure) = self.add(workers, request);
        cluster.answer(overtaken, &Err(failure));
    }

    /// Adds slots and empties others, if that has been asked for.
    pub(super) fn apply(&mut self, cluster: &mut Cluster) {
        let Some(workers) = self.begin(cluster.slots().wanted()) else { return };
        for slot in (workers..cluster.slots().wanted()).map(Slot) {
            for index in [cluster.successor(slot), cluster.current(slot)].into_iter().flatten() {
                cluster.send_off(index, Reason::Scale);
            }
        }
        cluster.resize(workers);
    }

    /// Answers if all new slots have ready workers, and the others are empty.
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

    /// A slot has met with a failure. If it is a new one, that is the answer.
    pub(super) fn on_failure(&mut self, cluster: &mut Cluster, slot: Slot, why: &Why) {
        if self.is_new(slot) {
            self.end(cluster, &Err(Failure::NotReady { slot, why: why.clone() }));
        }
    }

    /// All is done, or comes to nothing.
    pub(super) fn end(&mut self, cluster: &mut Cluster, result: &Result<(), Failure>) {
        cluster.answer(self.take(), result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Request = Request(1);
    const TWO: Request = Request(2);

    #[test]
    fn requests_for_the_same_number_are_answered_together_and_another_number_overtakes() {
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
