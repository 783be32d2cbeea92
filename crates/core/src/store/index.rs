//! The index of a store, as its one writer uses it: the current record of each key.
//!
//! Readers read it at any time. See [`view`](super::view) for the order in which entries move.

use super::atomic::{AtomicU64, Ordering, Words};
use super::blocks::Reserve;
use super::geometry::{Field, MIN_INDEX_BITS};
use super::memory::NoRoom;
use super::view::{Entry, Hit, Key, Located, View, home};

/// The size of the index in use, and the number of keys in it.
#[derive(Debug)]
pub(super) struct Index {
    bits: u32,
    count: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self { bits: MIN_INDEX_BITS, count: 0 }
    }
}

impl Index {
    /// The number of keys.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Looks up a key.
    pub(super) fn find<W: Words>(&self, view: &View<W>, key: Key<'_>) -> Option<Hit> {
        // Memory is never reused while the one writer reads.
        view.probe(self.bits, key).ok().flatten()
    }

    /// Makes the record at `address` the current one of a key, in place of `hit`.
    pub(super) fn point<W: Words + AsRef<[AtomicU64]>>(
        &mut self,
        view: &View<W>,
        key: Key<'_>,
        hit: Option<Hit>,
        address: u64,
    ) {
        let entry = Entry::new(key.hash, address).0;
        let slot = if let Some(hit) = hit {
            hit.slot
        } else {
            self.count += 1;
            empty_slot(view, key.hash, self.bits)
        };
        word(view, view.geometry.index_at(self.bits) + slot).store(entry, Ordering::Release);
    }

    /// Ensures that there is room for this many more keys.
    pub(super) fn widen<W: Words + AsRef<[AtomicU64]>>(
        &mut self,
        view: &View<W>,
        more: usize,
        reserve: &mut Reserve,
    ) -> Result<(), NoRoom> {
        let mut bits = self.bits;
        while (self.count + more) * 10 > (1 << bits) * 7 {
            bits += 1;
        }
        if bits == self.bits {
            return Ok(());
        }
        let index = view.geometry.index_at(bits);
        if bits > view.geometry.max_index_bits || !reserve(index..view.geometry.index_at(bits + 1)) {
            return Err(NoRoom);
        }
        self.for_each_entry(view, |entry, located| {
            let slot = empty_slot(view, view.hash_at(located), bits);
            word(view, index + slot).store(entry.0, Ordering::Relaxed);
        });
        self.bits = bits;
        word(view, Field::IndexBits as usize).store(u64::from(bits), Ordering::Release);
        Ok(())
    }

    /// Removes a key.
    pub(super) fn remove<W: Words + AsRef<[AtomicU64]>>(&mut self, view: &View<W>, hit: &Hit) {
        self.count -= 1;
        let (index, mask) = (view.geometry.index_at(self.bits), (1 << self.bits) - 1);
        let (mut hole, mut slot) = (hit.slot, hit.slot);
        loop {
            slot = (slot + 1) & mask;
            let entry = Entry(view.words.load(index + slot, Ordering::Relaxed));
            if entry.0 == 0 {
                break;
            }
            let Ok(located) = view.locate(entry.address()) else { break };
            let wanted = home(view.hash_at(&located), self.bits);
            if slot.wrapping_sub(wanted) & mask >= slot.wrapping_sub(hole) & mask {
                word(view, index + hole).store(entry.0, Ordering::Release);
                let moves = view.words.load(Field::Moves as usize, Ordering::Relaxed);
                word(view, Field::Moves as usize).store(moves + 1, Ordering::Release);
                hole = slot;
            }
        }
        word(view, index + hole).store(0, Ordering::Release);
    }

    /// Removes all keys. A reader that meets an empty entry takes a key for removed, as it is.
    pub(super) fn empty<W: Words + AsRef<[AtomicU64]>>(&mut self, view: &View<W>) {
        if std::mem::take(&mut self.count) == 0 {
            return;
        }
        let index = view.geometry.index_at(self.bits);
        for slot in 0..1 << self.bits {
            word(view, index + slot).store(0, Ordering::Release);
        }
    }

    /// Calls `each` with the current record of every key, and its address.
    pub(super) fn for_each<W: Words>(&self, view: &View<W>, mut each: impl FnMut(u64, &Located)) {
        self.for_each_entry(view, |entry, located| each(entry.address(), located));
    }

    fn for_each_entry<W: Words>(&self, view: &View<W>, mut each: impl FnMut(Entry, &Located)) {
        let index = view.geometry.index_at(self.bits);
        for slot in 0..1 << self.bits {
            let entry = Entry(view.words.load(index + slot, Ordering::Relaxed));
            if entry.0 != 0
                && let Ok(located) = view.locate(entry.address())
            {
                each(entry, &located);
            }
        }
    }
}

fn word<W: AsRef<[AtomicU64]>>(view: &View<W>, at: usize) -> &AtomicU64 {
    &view.words.as_ref()[at]
}

fn empty_slot<W: Words>(view: &View<W>, hash: u64, bits: u32) -> usize {
    let (index, mask) = (view.geometry.index_at(bits), (1 << bits) - 1);
    let mut slot = home(hash, bits);
    while view.words.load(index + slot, Ordering::Relaxed) != 0 {
        slot = (slot + 1) & mask;
    }
    slot
}
