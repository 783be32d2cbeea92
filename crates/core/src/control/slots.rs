//! The slot of each worker.

use std::collections::BTreeMap;

use crate::ids::{Slot, WorkerId};

/// The slots that are taken.
#[derive(Debug, Default)]
pub struct Slots(BTreeMap<WorkerId, Slot>);

impl Slots {
    /// Assigns a slot to a new worker: `wanted`, which it may share with the worker that it replaces, or else
    /// the lowest free slot. If workers are replaced one by one, that is the slot of the last one that ended.
    pub fn take(&mut self, worker: WorkerId, wanted: Option<Slot>) -> Slot {
        let is_free = |slot: &Slot| !self.0.values().any(|taken| taken == slot);
        let lowest = || (0..u32::MAX).map(Slot).find(is_free).unwrap_or(Slot(u32::MAX));
        let slot = wanted.unwrap_or_else(lowest);
        self.0.insert(worker, slot);
        slot
    }

    /// A worker ends or leaves: its slot is free for its replacement.
    pub fn free(&mut self, worker: WorkerId) {
        self.0.remove(&worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_has_the_slot_of_its_predecessor() {
        let mut slots = Slots::default();
        let mut take = |worker, wanted: Option<u32>| slots.take(WorkerId(worker), wanted.map(Slot)).0;
        assert_eq!([take(1, None), take(2, None), take(3, None)], [0, 1, 2]);
        slots.free(WorkerId(2));
        slots.free(WorkerId(2));
        let mut take = |worker, wanted: Option<u32>| slots.take(WorkerId(worker), wanted.map(Slot)).0;
        assert_eq!([take(4, None), take(5, None)], [1, 3]);
        assert_eq!([take(6, Some(1)), take(7, Some(9)), take(8, None)], [1, 9, 4]);
        slots.free(WorkerId(4));
        assert_eq!(slots.take(WorkerId(10), None), Slot(5), "its other worker is still there");
    }
}
