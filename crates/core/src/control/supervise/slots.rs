//! The slots and the bench: their number, and the record of each.

use super::options::Options;
use super::slot_record::{SlotRecord, Standing};
use super::{Cause, Time};
use crate::ids::Slot;

/// The records: see the module.
#[derive(Debug)]
pub(super) struct Slots {
    wanted: u32,
    /// The first `wanted` records are the slots; those above are being removed. Empty before the start.
    records: Vec<SlotRecord>,
    bench: SlotRecord,
}

impl Slots {
    pub(super) fn new(options: &Options) -> Self {
        let bench = SlotRecord::new(Standing::Held, options);
        Self { wanted: options.workers, records: Vec::new(), bench }
    }

    pub(super) fn start(&mut self, now: Time, options: &Options) {
        self.add(0, Cause::Start, now, options);
    }

    pub(super) fn wanted(&self) -> u32 {
        self.wanted
    }

    /// Whether there is a record of this slot, even if the slot is being removed.
    pub(super) fn is_known(&self, slot: Slot) -> bool {
        (slot.0 as usize) < self.records.len()
    }

    /// The wanted slots.
    pub(super) fn all(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.wanted).map(Slot)
    }

    /// All records, including those of slots being removed.
    pub(super) fn records(&self) -> impl Iterator<Item = (Slot, &SlotRecord)> {
        (0..).map(Slot).zip(&self.records)
    }

    pub(super) fn get(&self, slot: Slot) -> &SlotRecord {
        &self.records[slot.0 as usize]
    }

    /// The record of a slot, or of the bench for `None`.
    pub(super) fn get_mut(&mut self, slot: Option<Slot>) -> &mut SlotRecord {
        match slot {
            Some(slot) => &mut self.records[slot.0 as usize],
            None => &mut self.bench,
        }
    }

    pub(super) fn bench(&self) -> &SlotRecord {
        &self.bench
    }

    /// Sets the number of slots. The slots above it are to be removed.
    pub(super) fn resize(&mut self, workers: u32, now: Time, options: &Options) {
        let before = std::mem::replace(&mut self.wanted, workers);
        for slot in (workers..before).map(Slot) {
            self.get_mut(Some(slot)).remove();
        }
        self.add(before, Cause::Scale, now, options);
    }

    /// Schedules workers for the slots from `before` on.
    fn add(&mut self, before: u32, cause: Cause, now: Time, options: &Options) {
        for slot in before..self.wanted {
            let record = SlotRecord::new(Standing::Due { at: now, cause }, options);
            // A slot being removed still has a record while its last worker drains.
            match self.records.get_mut(slot as usize) {
                Some(old) => *old = record,
                None => self.records.push(record),
            }
        }
    }

    /// Removes the records of unwanted slots without a worker: all above `last`.
    pub(super) fn forget_empty(&mut self, last: Option<Slot>) {
        let in_use = last.map_or(0, |slot| slot.0 + 1);
        self.records.truncate(self.wanted.max(in_use) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_added_again_before_it_is_empty_starts_over() {
        let options = Options { workers: 3, ..Options::default() };
        let mut slots = Slots::new(&options);
        slots.start(Time::ZERO, &options);
        assert!(slots.records().all(|(_, record)| record.is_due()));
        slots.resize(1, Time::ZERO, &options);
        assert_eq!(slots.all().collect::<Vec<_>>(), [Slot(0)]);
        assert!(slots.get(Slot(2)).is_over());
        slots.forget_empty(Some(Slot(1)));
        assert!(slots.is_known(Slot(1)) && !slots.is_known(Slot(2)));
        slots.resize(3, Time::ZERO, &options);
        assert!(slots.get(Slot(1)).is_due() && slots.get(Slot(2)).is_due());
    }
}
