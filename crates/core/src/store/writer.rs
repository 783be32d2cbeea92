//! The one writer of a store: decides what becomes of each operation, and in which order.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::atomic::{AtomicU64, Words};
use super::geometry::{Field, Geometry, MAX_KEY};
use super::memory::{Cleaned, Draft, Memory, NoRoom, Reserve};
use super::ops::{Condition, Eviction, Lifetime, Op, Outcome, Status};
use super::record::{Change, read_bytes};
use super::view::{Corrupt, Hit, Key};

/// What a value that is a number has for its kind. The bytes are those of an `f64`, the lowest first.
pub const NUMBER: u8 = 1;

/// Words of the log that are cleaned for each word that is appended, as long as it is longer than it should be.
const EFFORT: usize = 4;

/// The longest record of a removal, in words.
const REMOVAL: usize = 3 + MAX_KEY / 8;

/// How many keys are removed in one call, at the most, because they have expired.
const EXPIRE_AT_ONCE: usize = 256;

/// A store, for its one writer.
#[derive(Debug)]
pub struct Store<W> {
    memory: Memory<W>,
    eviction: Eviction,
    revision: u64,
    /// When what is at an address expires. Addresses of what is no longer current stay until they are due.
    expiries: BinaryHeap<Reverse<(u64, u64)>>,
    /// How many keys have a value that expires.
    mortal: usize,
    /// For keys, so that there is no new one each time.
    bytes: Vec<u8>,
}

/// What is going to be written.
#[derive(Debug)]
struct Planned<'bytes> {
    key: Key<'bytes>,
    /// `None` if it is deleted.
    value: Option<(u8, Cow<'bytes, [u8]>)>,
    expires: u64,
}

impl Planned<'_> {
    fn draft(&self, revision: u64) -> Draft<'_> {
        match &self.value {
            Some((kind, value)) => Draft {
                change: Change::Set,
                kind: *kind,
                key: self.key.bytes,
                value,
                revision,
                expires: self.expires,
            },
            None => removal(Change::Delete, self.key.bytes, revision),
        }
    }
}

fn removal(change: Change, key: &[u8], revision: u64) -> Draft<'_> {
    Draft { change, kind: 0, key, value: &[], revision, expires: 0 }
}

/// What a key has, as an operation sees it.
#[derive(Debug, Default)]
struct Current {
    /// 0 if it has nothing.
    revision: u64,
    expires: u64,
    value: Option<(u8, Vec<u8>)>,
}

impl Condition {
    fn is_met(self, revision: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Revision(wanted) => wanted == revision,
        }
    }
}

impl<W: Words + AsRef<[AtomicU64]>> Store<W> {
    /// Makes an empty store in memory that is all zeros. `hash_keys` should be nobody else's to guess.
    pub fn create(
        words: W,
        geometry: Geometry,
        hash_keys: (u64, u64),
        eviction: Eviction,
        reserve: Reserve,
    ) -> Result<Self, Corrupt> {
        let memory = Memory::create(words, geometry, hash_keys, eviction, reserve)?;
        let (expiries, bytes) = (BinaryHeap::new(), Vec::new());
        Ok(Self { memory, eviction, revision: 0, expiries, mortal: 0, bytes })
    }

    /// Of the last change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Does one operation, or all of them, or none. `now` is in ms. `used` says of the hash of a key whether somebody has
    /// read it since that was asked last.
    pub fn apply(&mut self, ops: &[Op<'_>], now: u64, used: &mut dyn FnMut(u64) -> bool) -> Outcome {
        let outcome = match ops {
            [Op::Clear { prefix }] => self.clear(prefix),
            _ => self.write(ops, now, used),
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
        for op in ops {
            if let Some(planned) = self.plan(op, &plan, now, &mut number)? {
                // A revision says one thing of a key: the last.
                plan.retain(|earlier| earlier.key.bytes != planned.key.bytes);
                plan.push(planned);
            }
        }
        // What was made and deleted again has never been.
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

    /// What an operation leads to, behind those that are planned before it.
    fn plan<'bytes>(
        &self,
        op: &Op<'bytes>,
        plan: &[Planned<'_>],
        now: u64,
        number: &mut f64,
    ) -> Result<Option<Planned<'bytes>>, Outcome> {
        if op.key().len() > MAX_KEY {
            return Err(Outcome::refused(Status::TooLarge, self.revision));
        }
        let key = self.memory.view.key(op.key());
        let with_value = matches!(op, Op::Touch { .. } | Op::Increment { .. });
        let current = self.current(key, plan, now, with_value);
        let unmet = Err(Outcome::refused(Status::Unmet, current.revision));
        let until = |lifetime| match lifetime {
            Lifetime::Forever => 0,
            Lifetime::Keep => current.expires,
            // 0 means that it does not expire.
            Lifetime::Ms(ms) => now.saturating_add(ms).max(1),
        };
        let planned = match *op {
            Op::Set { condition, .. } | Op::Delete { condition, .. } | Op::Check { condition, .. }
                if !condition.is_met(current.revision) =>
            {
                return unmet;
            }
            Op::Check { .. } => return Ok(None),
            Op::Delete { .. } | Op::Touch { .. } if current.revision == 0 => {
                return unmet;
            }
            Op::Delete { .. } => Planned { key, value: None, expires: 0 },
            Op::Set { kind, value, lifetime, .. } => {
                Planned { key, value: Some((kind, Cow::Borrowed(value))), expires: until(lifetime) }
            }
            Op::Touch { lifetime, .. } => {
                let value = current.value.map(|(kind, bytes)| (kind, Cow::Owned(bytes)));
                Planned { key, value, expires: until(lifetime) }
            }
            Op::Increment { by, initial, lifetime, .. } => {
                let (before, expires) = match &current.value {
                    None => (initial, until(lifetime)),
                    Some((NUMBER, bytes)) => {
                        let bytes = bytes.as_slice().try_into();
                        let bytes =
                            bytes.map_err(|_| Outcome::refused(Status::NotNumber, current.revision))?;
                        (f64::from_le_bytes(bytes), current.expires)
                    }
                    Some(_) => return Err(Outcome::refused(Status::NotNumber, current.revision)),
                };
                *number = before + by;
                let bytes = number.to_le_bytes().to_vec();
                Planned { key, value: Some((NUMBER, Cow::Owned(bytes))), expires }
            }
            Op::Clear { .. } => return Err(Outcome::refused(Status::Invalid, self.revision)),
        };
        if planned.draft(0).charge() > self.memory.geometry().max_record() {
            return Err(Outcome::refused(Status::TooLarge, self.revision));
        }
        Ok(Some(planned))
    }

    /// What a key has behind what is planned.
    fn current(&self, key: Key<'_>, plan: &[Planned<'_>], now: u64, with_value: bool) -> Current {
        let is_over = |expires| expires != 0 && expires <= now;
        if let Some(planned) = plan.iter().find(|planned| planned.key.bytes == key.bytes) {
            if is_over(planned.expires) {
                return Current::default();
            }
            let value = planned.value.as_ref().map(|(kind, bytes)| (*kind, bytes.to_vec()));
            let revision = if value.is_some() { self.revision + 1 } else { 0 };
            return Current { revision, expires: planned.expires, value };
        }
        let Some(hit) = self.memory.find(key) else { return Current::default() };
        let (revision, expires) = self.memory.view.times(&hit.located);
        if is_over(expires) {
            return Current::default();
        }
        let value = with_value.then(|| {
            let record = hit.located.record;
            let (at, _) = hit.located.payload();
            let mut bytes = Vec::new();
            read_bytes(
                &self.memory.view.words,
                at + record.key_len.div_ceil(8),
                record.value_len,
                &mut bytes,
            );
            (record.kind, bytes)
        });
        Current { revision, expires, value }
    }

    /// Makes room for what is planned, or finds that there is none.
    fn limit(
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
        // Words of the log that are gone through at the most: once with regard to what is used, and once without.
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

    /// Evicts the oldest key, or passes it by if it is in use.
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
        self.clean_one()?;
        *rest = rest.saturating_sub((before.saturating_sub(self.memory.used_and_wanted().0)).max(1));
        Ok(())
    }

    /// Removes a key for a reason, which gets a revision of its own.
    fn drop_key(&mut self, change: Change, key: &[u8], hit: Hit) -> Result<(), NoRoom> {
        self.memory.append(&removal(change, key, self.revision + 1))?;
        self.revision += 1;
        self.forget(hit);
        Ok(())
    }

    fn forget(&mut self, hit: Hit) {
        if self.memory.view.times(&hit.located).1 != 0 {
            self.mortal -= 1;
        }
        self.memory.remove(hit);
    }

    /// Writes what is planned, all of it under the next revision. Nothing is written if something does not fit.
    fn commit(&mut self, plan: &[Planned<'_>]) -> Result<(), NoRoom> {
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

    fn clear(&mut self, prefix: &[u8]) -> Result<Outcome, Outcome> {
        let revision = self.revision;
        if prefix.len() > MAX_KEY {
            return Err(Outcome::refused(Status::TooLarge, revision));
        }
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let view = &self.memory.view;
        self.memory.for_each(|_, located| {
            let mut key = Vec::new();
            read_bytes(&view.words, located.payload().0, located.record.key_len, &mut key);
            if key.starts_with(prefix) {
                keys.push(key);
            }
        });
        if !keys.is_empty() {
            let draft = removal(Change::Clear, prefix, revision + 1);
            let room = self.make_room(draft.words()).and_then(|()| self.memory.append(&draft));
            room.map_err(|NoRoom| Outcome::refused(Status::Full, revision))?;
            self.revision += 1;
            for key in &keys {
                if let Some(hit) = self.memory.find(self.memory.view.key(key)) {
                    self.forget(hit);
                }
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "there are fewer keys than that")]
        Ok(Outcome { status: Status::Done, revision: self.revision, number: keys.len() as f64 })
    }

    /// Cleans up until so many words can be appended.
    fn make_room(&mut self, words: usize) -> Result<(), NoRoom> {
        let mut rest = 2 * self.memory.used_and_wanted().0 + 1;
        while !self.memory.fits(words) {
            if rest == 0 {
                return Err(NoRoom);
            }
            rest -= 1;
            if self.clean_one()? == Cleaned::Nothing {
                return Err(NoRoom);
            }
        }
        Ok(())
    }

    fn clean_one(&mut self) -> Result<Cleaned, NoRoom> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let cleaned = self.memory.clean_one(&mut bytes);
        self.bytes = bytes;
        if let Ok(Cleaned::Moved { address, expires }) = cleaned
            && expires != 0
        {
            self.expect(expires, address);
        }
        cleaned
    }

    /// Shortens the log if it is longer than it should be, by so many words at the most.
    fn tidy(&mut self, words: usize) {
        let (used, wanted) = self.memory.used_and_wanted();
        let goal = used.saturating_sub(words).max(wanted);
        // Moving something makes the log longer at the other end.
        for _ in 0..words {
            if self.memory.used_and_wanted().0 <= goal {
                return;
            }
            // Without room it is done when room is needed.
            if self.clean_one().is_err() {
                return;
            }
        }
    }

    fn expect(&mut self, expires: u64, address: u64) {
        self.expiries.push(Reverse((expires, address)));
        if self.expiries.len() > 2 * self.mortal + 1024 {
            let memory = &self.memory;
            let mut bytes = Vec::new();
            self.expiries.retain(|Reverse((_, address))| current_at(memory, *address, &mut bytes).is_some());
        }
    }

    /// Removes keys that have expired. More may be left than one call removes.
    pub fn expire(&mut self, now: u64) {
        let mut bytes = std::mem::take(&mut self.bytes);
        for _ in 0..EXPIRE_AT_ONCE {
            let Some(entry @ Reverse((expires, address))) = self.expiries.pop() else { break };
            if expires > now {
                self.expiries.push(entry);
                break;
            }
            if current_at(&self.memory, address, &mut bytes).is_some() && self.drop_expired(&bytes).is_err() {
                // Nobody sees it any more. It is removed when there is room to say so.
                self.expiries.push(entry);
                break;
            }
        }
        self.bytes = bytes;
        self.memory.publish(self.revision);
    }

    fn drop_expired(&mut self, key: &[u8]) -> Result<(), NoRoom> {
        self.make_room(REMOVAL)?;
        // Making room may have moved it.
        if let Some(hit) = self.memory.find(self.memory.view.key(key)) {
            self.drop_key(Change::Expire, key, hit)?;
            self.memory.bump(Field::Expired);
        }
        Ok(())
    }

    /// When the next key expires, in ms. What was overwritten meanwhile may be meant.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        self.expiries.peek().map(|Reverse((expires, _))| *expires)
    }

    /// Checks what has to be true at any time. For tests.
    ///
    /// # Panics
    /// When it is not.
    pub fn check(&self) {
        let (mut count, mut live, mut mortal) = (0, 0, 0);
        self.memory.for_each(|address, located| {
            assert!(self.memory.is_kept(address), "the index names what is in the log");
            count += 1;
            live += located.record.charge();
            mortal += usize::from(self.memory.view.times(located).1 != 0);
        });
        assert_eq!((count, live, mortal), (self.memory.count(), self.memory.live(), self.mortal));
        assert!(live <= self.memory.geometry().live_limit(), "within the limit");
        assert!(self.expiries.len() <= 2 * mortal + 1025, "expiries do not pile up");
    }
}

/// The current record at an address, whose key is left in `bytes`.
fn current_at<W: Words + AsRef<[AtomicU64]>>(
    memory: &Memory<W>,
    address: u64,
    bytes: &mut Vec<u8>,
) -> Option<Hit> {
    let located = memory.is_kept(address).then(|| memory.locate(address)).flatten()?;
    let (at, _) = located.payload();
    read_bytes(&memory.view.words, at, located.record.key_len, bytes);
    let key: Key<'_> = memory.view.key(bytes);
    memory.find(key).filter(|hit| hit.address == address)
}
