//! The one writer of a store: decides the outcome and the order of all operations.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::atomic::{AtomicU64, Words};
use super::blocks::Reserve;
use super::geometry::{Field, Geometry, MAX_KEY};
use super::memory::{Compacted, Memory, NoRoom};
use super::ops::{Condition, Eviction, Lifetime, Op, Outcome, Status};
pub use super::plan::NUMBER;
use super::plan::{Planned, Planner, removal};
use super::record::Change;
use super::snapshot::{Entry, Snapshot};
use super::view::{Corrupt, Hit, View};

/// Words of the log to compact for each word appended while the log is longer than its target.
pub(super) const EFFORT: usize = 4;

/// The longest record of a removal, in words.
pub(super) const REMOVAL: usize = 3 + MAX_KEY / 8;

/// More changes than can be lost between two snapshots.
const MOST_LOST: u64 = 1 << 32;

/// A store, as its one writer uses it.
#[derive(Debug)]
pub struct Store<W> {
    pub(super) memory: Memory<W>,
    pub(super) eviction: Eviction,
    pub(super) revision: u64,
    /// Expiry times and addresses. Addresses of records that are no longer current stay until they are due.
    pub(super) expiries: BinaryHeap<Reverse<(u64, u64)>>,
    /// The number of keys whose value expires.
    pub(super) mortal: usize,
    /// Until then, expired keys are not removed, because there was no memory for that. In ms.
    pub(super) expire_from: u64,
    /// A reused buffer for keys.
    pub(super) bytes: Vec<u8>,
}

impl<W: Words + AsRef<[AtomicU64]>> Store<W> {
    /// Creates an empty store in zeroed memory. `hash_keys` should be secret and random.
    pub fn create(
        words: W,
        geometry: Geometry,
        hash_keys: (u64, u64),
        eviction: Eviction,
        reserve: Reserve,
    ) -> Result<Self, Corrupt> {
        let memory = Memory::create(words, geometry, hash_keys, eviction, reserve)?;
        let (expiries, bytes) = (BinaryHeap::new(), Vec::new());
        Ok(Self { memory, eviction, revision: 0, expiries, mortal: 0, expire_from: 0, bytes })
    }

    /// Fills an empty store from a snapshot. The revisions are set beyond those of all changes made after the
    /// snapshot, which are lost, so that no process confuses the two. `wall` is the time in ms since 1970,
    /// `now` that of the store's own clock. Expired values are left out. Returns the status of the first
    /// entry that does not fit.
    pub fn restore(&mut self, kept: &Snapshot, wall: u64, now: u64) -> Status {
        self.revision = kept.revision.saturating_add(MOST_LOST);
        self.memory.forget_history(self.revision);
        for Entry { key, kind, value, expires } in &kept.entries {
            let lifetime = match *expires {
                0 => Lifetime::Forever,
                at if at <= wall => continue,
                at => Lifetime::Ms(at - wall),
            };
            let op = Op::Set { key, kind: *kind, value, lifetime, condition: Condition::Any };
            let Outcome { status, .. } = self.apply(&[op], now, &mut |_| false);
            if status != Status::Done {
                return status;
            }
        }
        self.memory.publish(self.revision);
        Status::Done
    }

    /// The revision of the last change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The store as readers see it.
    #[must_use]
    pub fn view(&self) -> &View<W> {
        &self.memory.view
    }

    /// Executes all operations or none. `now` is in ms. `used` returns, for the hash of a key, whether the
    /// key has been read since the last call.
    pub fn apply(&mut self, ops: &[Op<'_>], now: u64, used: &mut dyn FnMut(u64) -> bool) -> Outcome {
        let outcome = match (self.expire_keys(ops, now), ops) {
            (Err(NoRoom), _) => Err(Outcome::refused(Status::Full, self.revision)),
            (Ok(()), [Op::Clear { prefix }]) => self.clear(prefix),
            (Ok(()), _) => self.write(ops, now, used),
        };
        self.memory.publish(self.revision);
        outcome.unwrap_or_else(|outcome| outcome)
    }

    fn write(
        &mut self,
        ops: &[Op<'_>],
        now: u64,
        used: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Outcome, Outcome> {
        let mut plan: Vec<Planned<'_>> = Vec::with_capacity(ops.len());
        let mut number = 0.0;
        let planner = Planner { memory: &self.memory, revision: self.revision, now };
        for op in ops {
            if let Some(planned) = planner.plan(op, &plan, &mut number)? {
                // One revision holds one change of a key: the last.
                plan.retain(|earlier| earlier.key.bytes != planned.key.bytes);
                plan.push(planned);
            }
        }
        // A key that was created and deleted in the same request leaves no change.
        plan.retain(|planned| planned.value.is_some() || self.memory.find(planned.key).is_some());
        if plan.is_empty() {
            return Ok(Outcome { status: Status::Done, revision: self.revision, number });
        }
        let words = plan.iter().map(|planned| planned.draft(0).words()).sum();
        self.limit(&plan, words, used).map_err(|NoRoom| Outcome::refused(Status::Full, self.revision))?;
        self.commit(&plan).map_err(|NoRoom| Outcome::refused(Status::Full, self.revision))?;
        self.tidy(words * EFFORT);
        Ok(Outcome { status: Status::Done, revision: self.revision, number })
    }

    /// Makes room for the planned changes, or fails.
    pub(super) fn limit(
        &mut self,
        plan: &[Planned<'_>],
        words: usize,
        used: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), NoRoom> {
        let added: usize = plan
            .iter()
            .filter(|planned| planned.value.is_some())
            .map(|planned| planned.draft(0).charge())
            .sum();
        let limit = self.memory.geometry().live_limit();
        // The largest number of words to scan: once sparing keys in use, and once without sparing.
        let mut rest = 2 * self.memory.used_and_wanted().0;
        let half = rest / 2;
        loop {
            let live = self.memory.live() + added;
            if added == 0 || live <= limit {
                break;
            }
            let replaced: usize = plan
                .iter()
                .filter_map(|planned| self.memory.find(planned.key))
                .map(|hit| hit.located.record.charge())
                .sum();
            if live.saturating_sub(replaced) <= limit {
                break;
            }
            if self.eviction == Eviction::None || rest == 0 {
                return Err(NoRoom);
            }
            self.evict_one(rest > half, &mut rest, used)?;
        }
        self.memory.widen(plan.len())?;
        self.make_room(words)
    }

    /// Evicts the oldest key, or skips it if it is in use.
    fn evict_one(
        &mut self,
        spare: bool,
        rest: &mut usize,
        used: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), NoRoom> {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.make_room(REMOVAL)?;
        if let Some(hit) = self.memory.oldest(&mut bytes) {
            let hash = self.memory.view.key(&bytes).hash;
            if !(used(hash) && spare) {
                self.drop_key(Change::Evict, &bytes, hit)?;
                self.memory.bump(Field::Evicted);
            }
        }
        let before = self.memory.used_and_wanted().0;
        self.bytes = bytes;
        self.compact_one()?;
        *rest = rest.saturating_sub((before.saturating_sub(self.memory.used_and_wanted().0)).max(1));
        Ok(())
    }

    /// Removes a key for the reason `change`, under a revision of its own.
    pub(super) fn drop_key(&mut self, change: Change, key: &[u8], hit: Hit) -> Result<(), NoRoom> {
        self.memory.append(&removal(change, key, self.revision + 1))?;
        self.revision += 1;
        self.forget(hit);
        Ok(())
    }

    pub(super) fn forget(&mut self, hit: Hit) {
        if self.memory.view.times(&hit.located).1 != 0 {
            self.mortal -= 1;
        }
        self.memory.remove(hit);
    }

    /// Writes the planned changes under the next revision: all of them, or none if one does not fit.
    pub(super) fn commit(&mut self, plan: &[Planned<'_>]) -> Result<(), NoRoom> {
        let revision = self.revision + 1;
        let mut written = Vec::with_capacity(plan.len());
        for planned in plan {
            let draft = planned.draft(revision);
            let Ok(address) = self.memory.append(&draft) else {
                self.memory.discard(&written);
                return Err(NoRoom);
            };
            written.push((address, draft.words()));
        }
        self.revision = revision;
        for (planned, &(address, _)) in plan.iter().zip(&written) {
            let key = planned.key;
            let hit = self.memory.find(key);
            if planned.value.is_none() {
                if let Some(hit) = hit {
                    self.forget(hit);
                }
                continue;
            }
            if let Some(hit) = &hit
                && self.memory.view.times(&hit.located).1 != 0
            {
                self.mortal -= 1;
            }
            self.memory.point(key, hit, address, planned.draft(revision).charge());
            if planned.expires != 0 {
                self.mortal += 1;
                self.expect(planned.expires, address);
            }
        }
        Ok(())
    }

    /// Compacts the log until this many words can be appended.
    pub(super) fn make_room(&mut self, words: usize) -> Result<(), NoRoom> {
        let mut rest = 2 * self.memory.used_and_wanted().0 + 1;
        while !self.memory.fits(words) {
            if rest == 0 {
                return Err(NoRoom);
            }
            rest -= 1;
            if self.compact_one()? == Compacted::Nothing {
                return Err(NoRoom);
            }
        }
        Ok(())
    }

    pub(super) fn compact_one(&mut self) -> Result<Compacted, NoRoom> {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.memory.publish_revision(self.revision);
        let compacted = self.memory.compact_one(&mut bytes);
        self.bytes = bytes;
        if let Ok(Compacted::Moved { address, expires }) = compacted
            && expires != 0
        {
            self.expect(expires, address);
        }
        compacted
    }

    /// Shortens the log by at most this many words if it is longer than its target.
    pub(super) fn tidy(&mut self, words: usize) {
        let (used, wanted) = self.memory.used_and_wanted();
        let goal = used.saturating_sub(words).max(wanted);
        // Moving a record lengthens the log at its head.
        for _ in 0..words {
            if self.memory.used_and_wanted().0 <= goal {
                return;
            }
            // Without a free block, compaction happens when the room is needed.
            if self.compact_one().is_err() {
                return;
            }
        }
    }

    /// Checks the invariants. For tests.
    ///
    /// # Panics
    /// If one is violated.
    pub fn check(&self) {
        let (mut count, mut live, mut mortal) = (0, 0, 0);
        self.memory.for_each(|address, located| {
            assert!(self.memory.is_kept(address), "the index names what is in the log");
            count += 1;
            live += located.record.charge();
            mortal += usize::from(self.memory.view.times(located).1 != 0);
        });
        assert_eq!((count, live, mortal), (self.memory.count(), self.memory.live(), self.mortal));
        assert!(self.memory.uses_its_blocks(), "no block is lost");
        assert!(live <= self.memory.geometry().live_limit(), "within the limit");
        assert!(self.expiries.len() <= 2 * mortal + 1025, "expiries do not pile up");
    }
}
