//! Removes many keys at once.
//!
//! A clear is one change, so its keys are removed in one go, and other requests wait meanwhile. So it must not
//! look at more than it has to. All keys are removed by emptying the index. Those with a prefix are found by a
//! walk along the log, which reads memory in order: that is many times as fast as to follow the index, whose
//! entries are in the order of hashes.

use std::ops::Range;

use super::atomic::{AtomicU64, Ordering, Words};
use super::geometry::MAX_KEY;
use super::memory::NoRoom;
use super::ops::{Outcome, Status};
use super::plan::removal;
use super::record::{Change, Header, read_bytes, words_of};
use super::writer::Store;

/// A prefix, to be compared with keys in memory word by word.
struct Prefix {
    len: usize,
    words: Vec<u64>,
    /// The bits of the last word that count.
    last: u64,
}

impl Prefix {
    fn new(prefix: &[u8]) -> Self {
        let rest = prefix.len() % 8;
        let last = if rest == 0 { u64::MAX } else { (1 << (8 * rest)) - 1 };
        Self { len: prefix.len(), words: words_of(prefix).collect(), last }
    }

    /// Whether the key of this length that is at this word begins with it.
    fn is_at(&self, words: &impl Words, at: usize, key_len: usize) -> bool {
        let Some((last, others)) = self.words.split_last() else { return true };
        let load = |i| words.load(at + i, Ordering::Relaxed);
        key_len >= self.len
            && others.iter().enumerate().all(|(i, word)| load(i) == *word)
            && (load(others.len()) ^ last) & self.last == 0
    }
}

/// With fewer keys than this, the index is followed: the log is never short.
const FEW: usize = 1000;

impl<W: Words + AsRef<[AtomicU64]>> Store<W> {
    /// The keys that a function selects.
    pub(super) fn keys_that(&self, is_meant: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let (mut keys, mut key) = (Vec::new(), Vec::new());
        let view = &self.memory.view;
        self.memory.for_each(|_, located| {
            read_bytes(&view.words, located.payload().0, located.record.key_len, &mut key);
            if is_meant(&key) {
                keys.push(key.clone());
            }
        });
        keys
    }

    /// All keys with a prefix, some of them several times, and some that have been removed.
    fn keys_with(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        if self.memory.count() < FEW {
            return self.keys_that(|key| key.starts_with(prefix));
        }
        let (mut keys, wanted) = (Vec::new(), Prefix::new(prefix));
        let view = &self.memory.view;
        let Range { start: mut address, end } = self.memory.log();
        while address < end {
            let Ok((header, located)) = view.header(address) else { break };
            let record = match header {
                Header::Pad(words) => {
                    address += words as u64;
                    continue;
                }
                Header::Record(record) => record,
            };
            address += record.words() as u64;
            let at = located.payload().0;
            if record.change == Change::Set && wanted.is_at(&view.words, at, record.key_len) {
                let mut key = Vec::new();
                read_bytes(&view.words, at, record.key_len, &mut key);
                keys.push(key);
            }
        }
        keys
    }

    /// Removes all keys with a prefix, under one revision. The outcome has their number.
    pub(super) fn clear(&mut self, prefix: &[u8]) -> Result<Outcome, Outcome> {
        let revision = self.revision;
        if prefix.len() > MAX_KEY {
            return Err(Outcome::refused(Status::TooLarge, revision));
        }
        let keys = if prefix.is_empty() { Vec::new() } else { self.keys_with(prefix) };
        let has = |key: &Vec<u8>| self.memory.find(self.memory.view.key(key)).is_some();
        let is_any = if prefix.is_empty() { self.memory.count() > 0 } else { keys.iter().any(has) };
        let before = self.memory.count();
        if is_any {
            let draft = removal(Change::Clear, prefix, revision + 1);
            let room = self.make_room(draft.words()).and_then(|()| self.memory.append(&draft));
            room.map_err(|NoRoom| Outcome::refused(Status::Full, revision))?;
            self.revision += 1;
        }
        if prefix.is_empty() {
            self.memory.remove_all();
            self.expiries.clear();
            self.mortal = 0;
        }
        for key in &keys {
            if let Some(hit) = self.memory.find(self.memory.view.key(key)) {
                self.forget(hit);
            }
        }
        let count = before - self.memory.count();
        #[allow(clippy::cast_precision_loss, reason = "there are fewer keys than that")]
        Ok(Outcome { status: Status::Done, revision: self.revision, number: count as f64 })
    }
}

#[cfg(all(test, not(rcluster_loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::geometry::Geometry;
    use crate::store::ops::{Condition, Eviction, Lifetime, Op};

    type Page = Arc<[AtomicU64]>;

    fn store() -> Store<Page> {
        let geometry = Geometry::of_blocks(1 << 14, 12);
        let words: Page = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
        Store::create(words, geometry, (1, 2), Eviction::None, Box::new(|_| true)).unwrap()
    }

    fn apply(store: &mut Store<Page>, op: Op<'_>) -> Outcome {
        let outcome = store.apply(&[op], 1, &mut |_| false);
        store.check();
        outcome
    }

    fn set(key: &[u8], lifetime: Lifetime) -> Op<'_> {
        Op::Set { key, kind: 1, value: b"value", lifetime, condition: Condition::Any }
    }

    fn name(number: usize) -> Vec<u8> {
        format!("{}:a long name:{number}", number % 7).into_bytes()
    }

    #[test]
    fn keys_are_found_in_the_log_as_in_the_index() {
        let mut store = store();
        // Often enough that the log has been compacted, and has old records, removals and copies.
        for round in 0..6 {
            for number in 0..3 * FEW {
                let lifetime = if number % 50 == 0 { Lifetime::Ms(1000) } else { Lifetime::Forever };
                store.apply(&[set(&name(number), lifetime)], 1, &mut |_| false);
                if number % 11 == round {
                    let key = name(number / 2);
                    let op = Op::Delete { key: &key, condition: Condition::Any };
                    store.apply(&[op], 1, &mut |_| false);
                }
            }
        }
        store.check();
        for prefix in
            [&b"3:"[..], b"4:a long name:1", b"none", b"5:a long", b"6:a long name:12345678901", b"6"]
        {
            let mut keys = store.keys_with(prefix);
            let mut all = store.keys_that(|key| key.starts_with(prefix));
            keys.retain(|key| store.memory.find(store.memory.view.key(key)).is_some());
            keys.sort_unstable();
            keys.dedup();
            all.sort_unstable();
            assert_eq!(keys, all);
            let (before, count) = (store.memory.count(), all.len());
            #[allow(clippy::cast_precision_loss, reason = "small")]
            let number = count as f64;
            let outcome = apply(&mut store, Op::Clear { prefix });
            assert_eq!((outcome.status, outcome.number), (Status::Done, number));
            assert_eq!(store.memory.count(), before - count);
        }
    }

    #[test]
    fn an_emptied_index_is_used_again() {
        let mut store = store();
        for round in 0..3 {
            for number in 0..2 * FEW {
                let lifetime = if number % 3 == 0 { Lifetime::Ms(1000) } else { Lifetime::Forever };
                store.apply(&[set(&name(number), lifetime)], 1, &mut |_| false);
            }
            let revision = store.revision();
            let outcome = apply(&mut store, Op::Clear { prefix: b"" });
            assert_eq!((outcome.number, outcome.revision), (2.0 * 1000.0, revision + 1), "{round}");
            assert_eq!((store.memory.count(), store.memory.live(), store.next_expiry()), (0, 0, None));
            assert_eq!(store.view().revision_of(store.view().key(&name(1))), Ok(0));
            let again = apply(&mut store, Op::Clear { prefix: b"" });
            assert_eq!((again.number, again.revision), (0.0, revision + 1), "there is nothing to clear");
        }
    }
}
