//! The counts of all workers of each slot, including ended ones.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::Slot;

/// The known counts of one worker. Workers are not trusted, so the values may be arbitrary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// CPU time, in ms.
    pub cpu_ms: Option<u64>,
    /// How long its event loop has been busy.
    pub busy: Option<Duration>,
    /// Clients that it has taken.
    pub clients: Option<u64>,
}

impl Spent {
    fn plus(self, other: Self) -> Self {
        Self {
            cpu_ms: either(self.cpu_ms, other.cpu_ms, u64::saturating_add),
            busy: either(self.busy, other.busy, Duration::saturating_add),
            clients: either(self.clients, other.clients, u64::saturating_add),
        }
    }

    fn at_least(self, other: Self) -> Self {
        Self {
            cpu_ms: either(self.cpu_ms, other.cpu_ms, Ord::max),
            busy: either(self.busy, other.busy, Ord::max),
            clients: either(self.clients, other.clients, Ord::max),
        }
    }
}

fn either<T>(one: Option<T>, other: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    }
}

/// The counts: see the module. There is one entry for each slot that has ever had a worker.
#[derive(Clone, Debug, Default)]
pub struct SlotTotals {
    ended: BTreeMap<Slot, Spent>,
    /// The values last reported, below which the counts never fall.
    told: BTreeMap<Slot, Spent>,
}

impl SlotTotals {
    /// A worker of this slot has ended, with these counts.
    pub fn on_exit(&mut self, slot: Slot, spent: Spent) {
        let ended = self.ended.entry(slot).or_default();
        *ended = ended.plus(spent);
    }

    /// The counts of the slots so far. `living` are the running workers, of which a slot may have several.
    pub fn with(&mut self, living: impl IntoIterator<Item = (Slot, Spent)>) -> BTreeMap<Slot, Spent> {
        let mut totals = self.ended.clone();
        for (slot, spent) in living {
            let total = totals.entry(slot).or_default();
            *total = total.plus(spent);
        }
        for (slot, told) in &self.told {
            let total = totals.entry(*slot).or_default();
            *total = total.at_least(*told);
        }
        self.told.clone_from(&totals);
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(cpu: u64, busy: u64, clients: u64) -> Spent {
        Spent { cpu_ms: Some(cpu), busy: Some(Duration::from_millis(busy)), clients: Some(clients) }
    }

    #[test]
    fn what_a_worker_has_counted_stays_with_its_slot() {
        let mut totals = SlotTotals::default();
        let (one, two) = (Slot(0), Slot(1));
        assert_eq!(totals.with([(one, spent(5, 3, 1)), (two, spent(7, 1, 0))])[&one], spent(5, 3, 1));
        totals.on_exit(one, spent(6, 4, 2));
        // A new worker, and another one that drains.
        let all = totals.with([(one, spent(1, 1, 1)), (one, spent(10, 10, 10)), (two, spent(8, 1, 0))]);
        assert_eq!((all[&one], all[&two]), (spent(17, 15, 13), spent(8, 1, 0)));
        totals.on_exit(two, spent(9, 2, 1));
        assert_eq!(totals.with([])[&two], spent(9, 2, 1), "it is empty, and has not forgotten");
    }

    #[test]
    fn nothing_falls_whatever_a_worker_says() {
        let mut totals = SlotTotals::default();
        let slot = Slot(3);
        totals.with([(slot, spent(5, 5, 5))]);
        assert_eq!(totals.with([(slot, spent(4, 9, 3))])[&slot], spent(5, 9, 5));
        assert_eq!(totals.with([(slot, Spent::default())])[&slot], spent(5, 9, 5), "it has just ended");
        totals.on_exit(slot, spent(u64::MAX, 1, u64::MAX));
        assert_eq!(totals.with([(slot, spent(1, 9, 1))])[&slot], spent(u64::MAX, 10, u64::MAX));
    }
}
