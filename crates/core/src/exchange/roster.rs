//! The workers that are alive, and their slots.

use std::collections::BTreeMap;

use crate::ids::{Slot, WorkerId};

/// The workers: see the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster(BTreeMap<WorkerId, Option<Slot>>);

impl Roster {
    /// Creates an empty roster.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// A worker has started; `slot` is `None` for a standby.
    pub fn on_started(&mut self, worker: WorkerId, slot: Option<Slot>) {
        self.0.insert(worker, slot);
    }

    /// A worker was given a slot, or has lost it because it is leaving.
    pub fn on_slot(&mut self, worker: WorkerId, slot: Option<Slot>) {
        if let Some(its) = self.0.get_mut(&worker) {
            *its = slot;
        }
    }

    /// A worker has exited.
    pub fn on_exit(&mut self, worker: WorkerId) {
        self.0.remove(&worker);
    }

    /// Whether a worker is alive.
    #[must_use]
    pub fn contains(&self, worker: WorkerId) -> bool {
        self.0.contains_key(&worker)
    }

    /// Whether there is no worker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All workers, sorted by number.
    pub fn all(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.0.keys().copied()
    }

    /// Whether a worker has a slot: it is neither a standby nor leaving.
    #[must_use]
    pub fn is_in_service(&self, worker: WorkerId) -> bool {
        self.0.get(&worker).is_some_and(Option::is_some)
    }

    /// The worker of a slot. If a replacement shares it with its predecessor, the replacement.
    #[must_use]
    pub fn of_slot(&self, slot: Slot) -> Option<WorkerId> {
        self.0.iter().rfind(|(_, its)| **its == Some(slot)).map(|(worker, _)| *worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_resolves_to_its_current_worker() {
        let [one, two] = [WorkerId(1), WorkerId(2)];
        let mut roster = Roster::new();
        roster.on_started(one, Some(Slot(0)));
        assert_eq!(roster.of_slot(Slot(0)), Some(one));
        roster.on_started(two, None);
        assert!(!roster.is_in_service(two) && roster.contains(two));
        roster.on_slot(two, Some(Slot(0)));
        assert_eq!(roster.of_slot(Slot(0)), Some(two), "the replacement");
        roster.on_slot(one, None);
        assert_eq!(roster.all().collect::<Vec<_>>(), [one, two], "who leaves is alive");
        roster.on_exit(two);
        assert_eq!(roster.of_slot(Slot(0)), None);
        // Inputs about an exited worker have no effect.
        roster.on_slot(two, Some(Slot(0)));
        roster.on_exit(two);
        assert!(!roster.contains(two));
    }
}
