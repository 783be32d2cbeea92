//! Reads a store, in any process, without a system call and without a lock.
//!
//! # Protocol
//! A record is complete before the index or the head of the log points to it (release), so a reader that
//! follows the pointer (acquire) reads a complete record. Its block may be reused during the copy. So the
//! copy is valid only if the block table, read again afterwards, still assigns the same block.
//!
//! Entries of the index move when another key is removed: the entry is written to its new place, then the
//! number of moves is incremented, then the old place is reused. So a reader that finds a key is right, and a
//! reader that does not find it retries if the number has changed meanwhile. A writer that is interrupted at
//! any point never makes a reader wait.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::atomic::{Ordering, Words, fence};
use super::geometry::{Field, Geometry, MIN_INDEX_BITS, Placed};
use super::record::{Change, Header, Record, read_bytes, words_of};

/// The largest number of retries while the memory being read is reused. Each retry needs a whole round of the
/// log, so the limit is never reached in practice.
const RETRIES: usize = 10_000;

/// How many records of a block are searched for a change.
const FIRST_RECORDS: usize = 64;

const TAG: u64 = 0xfff;
const TAG_SHIFT: u32 = 52;

/// A key and its hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'bytes> {
    /// In UTF-8.
    pub bytes: &'bytes [u8],
    /// By the store's own hash function.
    pub hash: u64,
}

/// An entry of the index: an address, and some bits of the hash of its key. 0 is an empty entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(pub(super) u64);

impl Entry {
    pub(super) fn new(hash: u64, address: u64) -> Self {
        Self(address & ((1 << TAG_SHIFT) - 1) | (hash & TAG) << TAG_SHIFT)
    }

    pub(super) fn address(self) -> u64 {
        self.0 & ((1 << TAG_SHIFT) - 1)
    }

    fn may_be(self, hash: u64) -> bool {
        self.0 >> TAG_SHIFT == hash & TAG
    }
}

/// The value of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// The encoding of the bytes.
    pub kind: u8,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The revision of the change that set it.
    pub revision: u64,
    /// When it expires, in ms of the store's clock. 0 if it does not.
    pub expires: u64,
}

/// The store's memory is inconsistent. Only its one writer can have caused that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory of the store is corrupt")]
pub struct Corrupt;

/// The block has been reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn;

/// A record in memory, not yet validated by [`View::is_intact`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    pub(super) record: Record,
    at: usize,
    table_at: usize,
    placed: u64,
}

impl Located {
    /// The index of the first word of the key, and the number of words of key and value.
    pub(super) fn payload(&self) -> (usize, usize) {
        let head = self.record.head();
        (self.at + head, self.record.words() - head)
    }
}

/// Where a key was found in the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// The number of the index entry.
    pub(super) slot: usize,
    pub(super) address: u64,
    pub(super) located: Located,
}

/// A store, for reading.
#[derive(Debug)]
pub struct View<W> {
    pub(super) words: W,
    pub(super) geometry: Geometry,
    hash_keys: (u64, u64),
}

impl<W: Words> View<W> {
    /// Creates a view of a store's memory.
    pub fn new(words: W) -> Result<Self, Corrupt> {
        let geometry = Geometry::read(&words).ok_or(Corrupt)?;
        let hash_key = |field: Field| words.load(field as usize, Ordering::Relaxed);
        let hash_keys = (hash_key(Field::HashKey0), hash_key(Field::HashKey1));
        Ok(Self { words, geometry, hash_keys })
    }

    /// The layout of the store.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Hashes a key.
    #[must_use]
    pub fn key<'bytes>(&self, bytes: &'bytes [u8]) -> Key<'bytes> {
        let mut hasher = SipHasher13::new_with_keys(self.hash_keys.0, self.hash_keys.1);
        hasher.write(bytes);
        Key { bytes, hash: hasher.finish() }
    }

    /// The memory in use, in bytes: the log and the index.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let index = self.index_bits().map_or(0, |bits| 8 << bits);
        self.field(Field::Used).saturating_mul(8).saturating_add(index)
    }

    /// The index in use has 2^this entries.
    fn index_bits(&self) -> Result<u32, Corrupt> {
        let bits = u32::try_from(self.field(Field::IndexBits)).map_err(|_| Corrupt)?;
        let sound = (MIN_INDEX_BITS..=self.geometry.max_index_bits).contains(&bits);
        sound.then_some(bits).ok_or(Corrupt)
    }

    /// The current value of a field of the header.
    #[must_use]
    pub fn field(&self, field: Field) -> u64 {
        self.words.load(field as usize, Ordering::Acquire)
    }

    /// Reads the value of a key. False if it has none. `now` is called only if the value expires.
    pub fn get(&self, key: Key<'_>, now: impl FnOnce() -> u64, value: &mut Value) -> Result<bool, Corrupt> {
        let found = self.find(key, |hit| {
            let Record { kind, key_len, value_len, .. } = hit.located.record;
            let at = hit.located.at;
            value.kind = kind;
            (value.revision, value.expires) = self.times(&hit.located);
            let place = at + hit.located.record.head() + key_len.div_ceil(8);
            read_bytes(&self.words, place, value_len, &mut value.bytes);
        })?;
        Ok(found && (value.expires == 0 || value.expires > now()))
    }

    /// The revision of a key's value, or 0 if it has none. An expired value counts until it is removed.
    pub(super) fn revision_of(&self, key: Key<'_>) -> Result<u64, Corrupt> {
        let mut revision = 0;
        let found =
            self.find(key, |hit| revision = self.words.load(hit.located.at + 1, Ordering::Relaxed))?;
        Ok(if found { revision } else { 0 })
    }

    /// Calls `read` with the record of the key, several times if necessary, until what it read is known to be
    /// intact.
    fn find(&self, key: Key<'_>, mut read: impl FnMut(Hit)) -> Result<bool, Corrupt> {
        for _ in 0..RETRIES {
            let bits = self.index_bits()?;
            let moves = self.words.load(Field::Moves as usize, Ordering::Acquire);
            match self.probe(bits, key) {
                Ok(Some(hit)) => {
                    read(hit);
                    if self.is_intact(hit.located) {
                        return Ok(true);
                    }
                }
                Ok(None) => {
                    fence(Ordering::Acquire);
                    let same = self.words.load(Field::Moves as usize, Ordering::Relaxed) == moves
                        && self.words.load(Field::IndexBits as usize, Ordering::Relaxed) == u64::from(bits);
                    if same {
                        return Ok(false);
                    }
                }
                Err(Torn) => {}
            }
        }
        Err(Corrupt)
    }

    /// Looks up a key in the index of this size. The caller must validate the result with
    /// [`Self::is_intact`].
    pub(super) fn probe(&self, bits: u32, key: Key<'_>) -> Result<Option<Hit>, Torn> {
        let index = self.geometry.index_at(bits);
        let mask = (1 << bits) - 1;
        let mut slot = home(key.hash, bits);
        for _ in 0..=mask {
            let entry = Entry(self.words.load(index + slot, Ordering::Acquire));
            if entry.0 == 0 {
                return Ok(None);
            }
            if entry.may_be(key.hash) {
                let address = entry.address();
                let located = self.locate(address)?;
                if self.has_key(&located, key.bytes) {
                    return Ok(Some(Hit { slot, address, located }));
                }
                if !self.is_intact(located) {
                    return Err(Torn);
                }
            }
            slot = (slot + 1) & mask;
        }
        Ok(None)
    }

    /// The record at an address. It may be garbage: validate it with [`Self::is_intact`].
    pub(super) fn locate(&self, address: u64) -> Result<Located, Torn> {
        match self.header(address)? {
            (Header::Record(record), located) => Ok(Located { record, ..located }),
            (Header::Pad(_), _) => Err(Torn),
        }
    }

    /// The record or the padding at an address.
    pub(super) fn header(&self, address: u64) -> Result<(Header, Located), Torn> {
        let geometry = &self.geometry;
        let block = geometry.block_of(address);
        let table_at = geometry.table_at(block);
        let placed = Placed(self.words.load(table_at, Ordering::Acquire));
        if placed.log() != block || block == 0 || placed.memory() >= geometry.blocks {
            return Err(Torn);
        }
        let offset = geometry.offset_of(address);
        let at = geometry.block_at(placed.memory()) + offset;
        let word = self.words.load(at, Ordering::Relaxed);
        let header = Header::decode(word, geometry.block_words - offset).ok_or(Torn)?;
        let record = match header {
            Header::Record(record) => record,
            Header::Pad(_) => Record {
                change: Change::Clear,
                kind: 0,
                moved: false,
                expires: false,
                key_len: 0,
                value_len: 0,
            },
        };
        Ok((header, Located { record, at, table_at, placed: placed.0 }))
    }

    /// Whether everything read of this record so far belongs to it.
    pub(super) fn is_intact(&self, located: Located) -> bool {
        fence(Ordering::Acquire);
        self.words.load(located.table_at, Ordering::Relaxed) == located.placed
    }

    fn has_key(&self, located: &Located, key: &[u8]) -> bool {
        let at = located.at + located.record.head();
        located.record.key_len == key.len()
            && words_of(key).enumerate().all(|(i, word)| self.words.load(at + i, Ordering::Relaxed) == word)
    }

    /// Reads the padding or the whole record at an address of the log, if it is intact.
    pub(super) fn step(&self, address: u64, entry: &mut LogEntry) -> Result<Step, Torn> {
        let (header, located) = self.header(address)?;
        let record = match header {
            Header::Pad(words) => {
                return if self.is_intact(located) { Ok(Step::Pad(words)) } else { Err(Torn) };
            }
            Header::Record(record) => record,
        };
        entry.change = record.change;
        entry.moved = record.moved;
        entry.value.kind = record.kind;
        (entry.value.revision, entry.value.expires) = self.times(&located);
        let load = |place| self.words.load(located.at + place, Ordering::Relaxed);
        entry.origin = record.origin_at().map_or(0, load);
        let at = located.at + record.head();
        read_bytes(&self.words, at, record.key_len, &mut entry.key);
        read_bytes(&self.words, at + record.key_len.div_ceil(8), record.value_len, &mut entry.value.bytes);
        if self.is_intact(located) { Ok(Step::Record(record.words())) } else { Err(Torn) }
    }

    /// The revision of the first change in the block that begins at an address. `None` if there is none among its
    /// first records: then they are copies of older ones.
    pub(super) fn first_change(&self, start: u64, head: u64) -> Option<u64> {
        let mut address = start;
        for _ in 0..FIRST_RECORDS {
            if address >= head || self.geometry.block_of(address) != self.geometry.block_of(start) {
                return None;
            }
            let (header, located) = self.header(address).ok()?;
            let revision = self.times(&located).0;
            if !self.is_intact(located) {
                return None;
            }
            address += match header {
                Header::Pad(words) => words as u64,
                Header::Record(record) if record.moved => record.words() as u64,
                Header::Record(_) => return Some(revision),
            };
        }
        None
    }

    /// The revision of a record, and when it expires; 0 if it does not.
    pub(super) fn times(&self, located: &Located) -> (u64, u64) {
        let load = |place| self.words.load(located.at + place, Ordering::Relaxed);
        (load(1), located.record.end_at().map_or(0, load))
    }

    /// The hash of the key of a record.
    pub(super) fn hash_at(&self, located: &Located) -> u64 {
        let mut bytes = Vec::with_capacity(located.record.key_len + 8);
        read_bytes(&self.words, located.at + located.record.head(), located.record.key_len, &mut bytes);
        self.key(&bytes).hash
    }
}

/// The index entry of a hash if there is no collision.
pub(super) fn home(hash: u64, bits: u32) -> usize {
    usize::try_from(hash >> (64 - bits)).unwrap_or(0)
}

/// One step of a walk along the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Padding of this many words.
    Pad(usize),
    /// A record of this many words.
    Record(usize),
}

/// A record of the log, copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The kind of change.
    pub change: Change,
    /// Whether it is a copy of an older record.
    pub moved: bool,
    /// The address of that older record.
    pub origin: u64,
    /// The key, or for `Clear` the prefix of the keys.
    pub key: Vec<u8>,
    /// The value, if one was set, and the revision.
    pub value: Value,
}

impl Default for LogEntry {
    fn default() -> Self {
        Self { change: Change::Set, moved: false, origin: 0, key: Vec::new(), value: Value::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::atomic::AtomicU64;
    use crate::store::ops::Eviction;
    use crate::store::writer::Store;

    #[test]
    fn an_impossible_size_of_the_index_is_corrupt() {
        let geometry = Geometry::of_blocks(256, 12);
        let words: Arc<[AtomicU64]> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
        let store = Store::create(Arc::clone(&words), geometry, (1, 2), Eviction::None, Box::new(|_| true));
        store.unwrap();
        let view = View::new(Arc::clone(&words)).unwrap();
        let get = || view.get(view.key(b"key"), || 0, &mut Value::default());
        assert_eq!(get(), Ok(false));
        for bits in [0, MIN_INDEX_BITS - 1, view.geometry.max_index_bits + 1, 63, 64, u32::MAX] {
            words[Field::IndexBits as usize].store(bits.into(), Ordering::Relaxed);
            assert_eq!((get(), view.memory()), (Err(Corrupt), 0), "{bits}");
        }
        words[Field::IndexBits as usize].store(u64::MAX, Ordering::Relaxed);
        words[Field::Used as usize].store(u64::MAX, Ordering::Relaxed);
        assert_eq!((get(), view.memory()), (Err(Corrupt), u64::MAX));
    }
}
