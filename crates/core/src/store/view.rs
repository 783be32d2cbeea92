//! Reading a store: what every process does for itself, without a system call and without a lock.
//!
//! # Protocol
//! A record is complete before the index or the head of the log says where it is (release), so whoever has read
//! that (acquire) reads a complete record. Its block may be used again while it is being copied. So the copy counts
//! only if the block table, read once more behind it, still says that the block is the same.
//!
//! Entries of the index move when another key is removed: an entry is written to its new place first, then the
//! number of moves rises, then the old place is used again. So nobody who finds a key is wrong, and whoever
//! does not find it looks again if the number has changed meanwhile. A writer that is interrupted at any point
//! makes no reader wait.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::atomic::{Ordering, Words, fence};
use super::geometry::{Field, Geometry, Placed};
use super::record::{Change, Header, Record, read_bytes, words_of};

/// How often a reader tries again while what it reads is being used again. The log has to go round once for each of
/// these, so nobody ever comes near.
const RETRIES: usize = 10_000;

const TAG: u64 = 0xfff;
const TAG_SHIFT: u32 = 52;

/// A key and its hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'bytes> {
    /// In UTF-8.
    pub bytes: &'bytes [u8],
    /// By the store's own function.
    pub hash: u64,
}

/// An entry of the index: an address, and some bits of the hash of its key. 0 is none.
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

/// What a key has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// What the bytes mean.
    pub kind: u8,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// When it was set.
    pub revision: u64,
    /// When it ends, in ms of the store's clock. 0 if it does not.
    pub expires: u64,
}

/// The store's memory does not hold together. Only its one writer could have done that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory of the store is corrupt")]
pub struct Corrupt;

/// The block has been used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn;

/// A record in the memory, still to be confirmed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    pub(super) record: Record,
    at: usize,
    table_at: usize,
    placed: u64,
}

impl Located {
    /// Where the words of the key are, and how many there are with those of the value.
    pub(super) fn payload(&self) -> (usize, usize) {
        let head = self.record.head();
        (self.at + head, self.record.words() - head)
    }
}

/// Where a key was found in the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// The number of the entry.
    pub(super) slot: usize,
    pub(super) address: u64,
    pub(super) located: Located,
}

/// A store that is read.
#[derive(Debug)]
pub struct View<W> {
    pub(super) words: W,
    pub(super) geometry: Geometry,
    hash_keys: (u64, u64),
}

impl<W: Words> View<W> {
    /// Of the memory of a store.
    pub fn new(words: W) -> Result<Self, Corrupt> {
        let geometry = Geometry::read(&words).ok_or(Corrupt)?;
        let hash_key = |field: Field| words.load(field as usize, Ordering::Relaxed);
        let hash_keys = (hash_key(Field::HashKey0), hash_key(Field::HashKey1));
        Ok(Self { words, geometry, hash_keys })
    }

    /// The sizes of the store.
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

    /// What the header says just now.
    #[must_use]
    pub fn field(&self, field: Field) -> u64 {
        self.words.load(field as usize, Ordering::Acquire)
    }

    /// Reads what a key has, and whether it has something. `now` is asked only where a value has an end.
    pub fn get(&self, key: Key<'_>, now: impl FnOnce() -> u64, value: &mut Value) -> Result<bool, Corrupt> {
        let found = self.find(key, |hit| {
            let Record { kind, key_len, value_len, .. } = hit.located.record;
            let at = hit.located.at;
            value.kind = kind;
            value.revision = self.words.load(at + 1, Ordering::Relaxed);
            value.expires = self.words.load(at + 2, Ordering::Relaxed);
            let place = at + hit.located.record.head() + key_len.div_ceil(8);
            read_bytes(&self.words, place, value_len, &mut value.bytes);
        })?;
        Ok(found && (value.expires == 0 || value.expires > now()))
    }

    /// The revision of what a key has, without its value; 0 if it has nothing. A value that has expired counts until
    /// it is removed.
    pub(super) fn revision_of(&self, key: Key<'_>) -> Result<u64, Corrupt> {
        let mut revision = 0;
        let found =
            self.find(key, |hit| revision = self.words.load(hit.located.at + 1, Ordering::Relaxed))?;
        Ok(if found { revision } else { 0 })
    }

    /// Calls `read` with what is found, perhaps several times, until what it has read is known to be whole.
    fn find(&self, key: Key<'_>, mut read: impl FnMut(Hit)) -> Result<bool, Corrupt> {
        for _ in 0..RETRIES {
            let bits = self.words.load(Field::IndexBits as usize, Ordering::Acquire);
            let moves = self.words.load(Field::Moves as usize, Ordering::Acquire);
            match self.probe(u32::try_from(bits).map_err(|_| Corrupt)?, key) {
                Ok(Some(hit)) => {
                    read(hit);
                    if self.is_intact(hit.located) {
                        return Ok(true);
                    }
                }
                Ok(None) => {
                    fence(Ordering::Acquire);
                    let same = self.words.load(Field::Moves as usize, Ordering::Relaxed) == moves
                        && self.words.load(Field::IndexBits as usize, Ordering::Relaxed) == bits;
                    if same {
                        return Ok(false);
                    }
                }
                Err(Torn) => {}
            }
        }
        Err(Corrupt)
    }

    /// Looks for a key in the index of this size. What is found is still to be confirmed, by [`Self::is_intact`].
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

    /// The record at an address. It may be none at all until [`Self::is_intact`] says that it is one.
    pub(super) fn locate(&self, address: u64) -> Result<Located, Torn> {
        match self.header(address)? {
            (Header::Record(record), located) => Ok(Located { record, ..located }),
            (Header::Pad(_), _) => Err(Torn),
        }
    }

    fn header(&self, address: u64) -> Result<(Header, Located), Torn> {
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
            Header::Pad(_) => {
                Record { change: Change::Clear, kind: 0, moved: false, key_len: 0, value_len: 0 }
            }
        };
        Ok((header, Located { record, at, table_at, placed: placed.0 }))
    }

    /// Whether all that has been read of this record so far was it.
    pub(super) fn is_intact(&self, located: Located) -> bool {
        fence(Ordering::Acquire);
        self.words.load(located.table_at, Ordering::Relaxed) == located.placed
    }

    fn has_key(&self, located: &Located, key: &[u8]) -> bool {
        let at = located.at + located.record.head();
        located.record.key_len == key.len()
            && words_of(key).enumerate().all(|(i, word)| self.words.load(at + i, Ordering::Relaxed) == word)
    }

    /// Whatever is at an address of the log, if it is intact: the words of a pad, or a whole record.
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
        entry.value.revision = self.words.load(located.at + 1, Ordering::Relaxed);
        entry.value.expires = self.words.load(located.at + 2, Ordering::Relaxed);
        entry.origin = if record.moved { self.words.load(located.at + 3, Ordering::Relaxed) } else { 0 };
        let at = located.at + record.head();
        read_bytes(&self.words, at, record.key_len, &mut entry.key);
        read_bytes(&self.words, at + record.key_len.div_ceil(8), record.value_len, &mut entry.value.bytes);
        if self.is_intact(located) { Ok(Step::Record(record.words())) } else { Err(Torn) }
    }

    /// When a record was made and when it ends.
    pub(super) fn times(&self, located: &Located) -> (u64, u64) {
        let load = |at| self.words.load(at, Ordering::Relaxed);
        (load(located.at + 1), load(located.at + 2))
    }

    /// The hash of the key of a record.
    pub(super) fn hash_at(&self, located: &Located) -> u64 {
        let mut bytes = Vec::with_capacity(located.record.key_len + 8);
        read_bytes(&self.words, located.at + located.record.head(), located.record.key_len, &mut bytes);
        self.key(&bytes).hash
    }
}

/// The slot that a key has if nobody else has it.
pub(super) fn home(hash: u64, bits: u32) -> usize {
    usize::try_from(hash >> (64 - bits)).unwrap_or(0)
}

/// What a walk along the log comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, for so many words.
    Pad(usize),
    /// A record of so many words.
    Record(usize),
}

/// A record of the log, copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// What has happened.
    pub change: Change,
    /// Whether it is a copy of an older record.
    pub moved: bool,
    /// Where that was.
    pub origin: u64,
    /// Of this key, or of all that begin with it.
    pub key: Vec<u8>,
    /// The value, if one was set, and the revision.
    pub value: Value,
}

impl Default for LogEntry {
    fn default() -> Self {
        Self { change: Change::Set, moved: false, origin: 0, key: Vec::new(), value: Value::default() }
    }
}
