//! Writes a store's memory: appends to the log, and compacts it.

use std::fmt;

use super::atomic::{AtomicU64, Ordering, Words, fence};
use super::blocks::{Blocks, Reserve};
use super::geometry::{Field, Geometry, MAGIC, MIN_INDEX_BITS, Placed, SERVER_TEXT};
use super::index::Index;
use super::ops::Eviction;
use super::record::{Change, Header, Record, words_of};
use super::view::{Corrupt, Hit, Key, Located, View};

/// There is no room: the store is full, or the system has no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// A record to append.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft<'bytes> {
    pub(super) change: Change,
    pub(super) kind: u8,
    pub(super) key: &'bytes [u8],
    pub(super) value: &'bytes [u8],
    pub(super) revision: u64,
    pub(super) expires: u64,
}

impl Draft<'_> {
    pub(super) fn words(&self) -> usize {
        self.record().words()
    }

    pub(super) fn charge(&self) -> usize {
        self.record().charge()
    }

    fn record(&self) -> Record {
        let (key_len, value_len) = (self.key.len(), self.value.len());
        let expires = self.expires != 0;
        Record { change: self.change, kind: self.kind, moved: false, expires, key_len, value_len }
    }
}

/// The result of compaction one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compacted {
    /// The record was not needed.
    Dropped,
    /// The record is current, and was copied to another address.
    Moved { address: u64, expires: u64 },
    /// The log is empty.
    Nothing,
}

/// The memory of a store, as its one writer uses it.
pub(super) struct Memory<W> {
    pub(super) view: View<W>,
    blocks: Blocks,
    /// The address of the next record.
    next: u64,
    tail: u64,
    index: Index,
    live: usize,
}

impl<W> fmt::Debug for Memory<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("next", &self.next)
            .field("tail", &self.tail)
            .field("index", &self.index)
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

impl<W: Words + AsRef<[AtomicU64]>> Memory<W> {
    /// Creates an empty store in zeroed memory.
    pub(super) fn create(
        words: W,
        geometry: Geometry,
        hash_keys: (u64, u64),
        eviction: Eviction,
        mut reserve: Reserve,
    ) -> Result<Self, Corrupt> {
        if words.as_ref().len() < geometry.words() || !reserve(0..geometry.index_at(MIN_INDEX_BITS + 1)) {
            return Err(Corrupt);
        }
        let first = geometry.block_words as u64;
        let fields = [
            (Field::HashKey0, hash_keys.0),
            (Field::HashKey1, hash_keys.1),
            (Field::Lru, u64::from(eviction == Eviction::Lru)),
            (Field::BlockWords, geometry.block_words as u64),
            (Field::Blocks, geometry.blocks as u64),
            (Field::MaxIndexBits, u64::from(geometry.max_index_bits)),
            (Field::Head, first),
            (Field::Tail, first),
            (Field::IndexBits, u64::from(MIN_INDEX_BITS)),
            (Field::Magic, MAGIC),
        ];
        for (field, value) in fields {
            words.as_ref()[field as usize].store(value, Ordering::Release);
        }
        let view = View::new(words)?;
        Ok(Self {
            view,
            blocks: Blocks::new(geometry, reserve),
            next: first,
            tail: first,
            index: Index::default(),
            live: 0,
        })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.view.words.as_ref()[at]
    }

    fn put(&self, field: Field, value: u64) {
        self.word(field as usize).store(value, Ordering::Release);
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.view.geometry
    }

    /// How many keys there are.
    pub(super) fn count(&self) -> usize {
        self.index.count()
    }

    /// Words of current records.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Whether the record at this address is still in the log.
    pub(super) fn is_kept(&self, address: u64) -> bool {
        (self.tail..self.next).contains(&address)
    }

    /// The record at an address that is still in the log.
    pub(super) fn locate(&self, address: u64) -> Option<Located> {
        self.view.locate(address).ok()
    }

    /// Looks up a key.
    pub(super) fn find(&self, key: Key<'_>) -> Option<Hit> {
        self.index.find(&self.view, key)
    }

    /// Whether this many words can be appended without compaction. Two blocks are kept for compaction: moving the
    /// current records of one block takes one block and a little more, because a record grows by a word when
    /// it is first moved.
    pub(super) fn fits(&self, words: usize) -> bool {
        // At the end of each block, up to the length of the longest record is wasted.
        let filled = self.geometry().block_words - self.geometry().max_record();
        let wanted = if words <= self.rest() { 0 } else { words.div_ceil(filled) };
        self.blocks.free() >= wanted + 2
    }

    /// The number of words left in the block that is being written. 0 if the last block is full and no new
    /// one has begun.
    fn rest(&self) -> usize {
        match self.geometry().offset_of(self.next) {
            0 => 0,
            offset => self.geometry().block_words - offset,
        }
    }

    /// Whether the blocks in use are those of the log. For tests.
    pub(super) fn uses_its_blocks(&self) -> bool {
        let words = self.geometry().block_words as u64;
        self.next.div_ceil(words) - self.tail / words == self.blocks.used() as u64
    }

    /// The words of the log in use, and the target for them.
    pub(super) fn used_and_wanted(&self) -> (usize, usize) {
        let used = usize::try_from(self.next - self.tail).unwrap_or(usize::MAX);
        (used, self.live / 2 * 3 + 2 * self.geometry().block_words)
    }

    /// Closes the block that is being written: the next record goes to another block.
    pub(super) fn end_block(&mut self) {
        let rest = self.rest();
        if rest > 0 {
            let at = self.place(self.next);
            self.word(at).store(Header::encode_pad(rest), Ordering::Relaxed);
            self.next += rest as u64;
        }
    }

    /// Begins the next block, and ends the current one.
    fn open_block(&mut self) -> Result<(), NoRoom> {
        let memory = self.blocks.take()?;
        self.end_block();
        let block = self.geometry().block_of(self.next);
        // A reader that sees anything written to this block from here on also sees that the block table no
        // longer assigns it to its old block of the log.
        fence(Ordering::Release);
        let table_at = self.geometry().table_at(block);
        self.word(table_at).store(Placed::new(block, memory).0, Ordering::Release);
        Ok(())
    }

    /// The word index of an address in a block in use.
    fn place(&self, address: u64) -> usize {
        let geometry = self.geometry();
        let table_at = geometry.table_at(geometry.block_of(address));
        let placed = Placed(self.view.words.load(table_at, Ordering::Relaxed));
        geometry.block_at(placed.memory()) + geometry.offset_of(address)
    }

    fn make_place(&mut self, words: usize) -> Result<(u64, usize), NoRoom> {
        if words > self.rest() {
            self.open_block()?;
        }
        let address = self.next;
        self.next += words as u64;
        Ok((address, self.place(address)))
    }

    /// Appends a record. It is invisible to readers until an index entry or [`Self::publish`].
    pub(super) fn append(&mut self, draft: &Draft<'_>) -> Result<u64, NoRoom> {
        let record = draft.record();
        let (address, at) = self.make_place(record.words())?;
        let head = [record.encode(), draft.revision];
        let end = record.expires.then_some(draft.expires);
        let all = head.into_iter().chain(end).chain(words_of(draft.key)).chain(words_of(draft.value));
        for (word, value) in self.view.words.as_ref()[at..].iter().zip(all) {
            word.store(value, Ordering::Relaxed);
        }
        Ok(address)
    }

    /// Makes all appended records visible.
    pub(super) fn publish(&self, revision: u64) {
        self.put(Field::Count, self.count() as u64);
        self.put(Field::Live, self.live as u64);
        self.put(Field::Used, (self.blocks.used() * self.geometry().block_words) as u64);
        self.put(Field::Revision, revision);
        self.put(Field::Head, self.next);
    }

    /// Publishes a revision before the head may pass its records: a walk that begins at the head has nothing
    /// to read of what is published. While a load runs, records have older revisions.
    pub(super) fn publish_revision(&self, revision: u64) {
        let known = self.view.words.load(Field::Revision as usize, Ordering::Relaxed);
        self.put(Field::Revision, revision.max(known));
    }

    /// Records that no change up to this revision is in the log.
    pub(super) fn forget_history(&self, revision: u64) {
        self.put(Field::Compacted, revision);
    }

    /// Increments a counter of the header.
    pub(super) fn bump(&self, field: Field) {
        self.put(field, self.view.words.load(field as usize, Ordering::Relaxed) + 1);
    }

    /// Makes the record at `address` the current one of a key, in place of `hit`. `charge` is the words that
    /// it counts for.
    pub(super) fn point(&mut self, key: Key<'_>, hit: Option<Hit>, address: u64, charge: usize) {
        self.live += charge;
        if let Some(hit) = &hit {
            self.live -= hit.located.record.charge();
        }
        self.index.point(&self.view, key, hit, address);
    }

    /// Ensures that the index has room for this many more keys.
    pub(super) fn widen(&mut self, more: usize) -> Result<(), NoRoom> {
        self.index.widen(&self.view, more, &mut self.blocks.reserve)
    }

    /// Removes a key from the index.
    pub(super) fn remove(&mut self, hit: Hit) {
        self.live -= hit.located.record.charge();
        self.index.remove(&self.view, &hit);
    }

    /// Removes all keys from the index.
    pub(super) fn remove_all(&mut self) {
        self.live = 0;
        self.index.empty(&self.view);
    }

    /// Turns records that were appended but never visible into padding.
    pub(super) fn discard(&self, records: &[(u64, usize)]) {
        for &(address, words) in records {
            self.word(self.place(address)).store(Header::encode_pad(words), Ordering::Relaxed);
        }
    }

    /// The address of the next record.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The addresses of the log.
    pub(super) fn log(&self) -> std::ops::Range<u64> {
        self.tail..self.next
    }

    /// Whether a record before this address is still in the log.
    pub(super) fn begins_before(&self, address: u64) -> bool {
        self.tail < address
    }

    /// Writes the status of the store's server: see [`Field::ServerState`].
    pub(super) fn put_words(&self, fields: &[(Field, u64)], text: &[u8]) {
        // Readers check the version of the text before and after they read it.
        let version = self.view.words.load(Field::ServerText as usize, Ordering::Relaxed);
        self.put(Field::ServerText, version | 1);
        fence(Ordering::Release);
        let at = Field::ServerText as usize + 1;
        let words = words_of(text).chain(std::iter::repeat(0)).take(SERVER_TEXT / 8);
        for (place, word) in words.enumerate() {
            self.word(at + place).store(word, Ordering::Relaxed);
        }
        self.put(Field::ServerText, (version | 1) + 1);
        for &(field, value) in fields {
            self.put(field, value);
        }
    }

    /// Calls `each` with the current record of every key.
    pub(super) fn for_each(&self, each: impl FnMut(u64, &Located)) {
        self.index.for_each(&self.view, each);
    }

    /// The key of the oldest record, if the record is current.
    pub(super) fn oldest(&self, bytes: &mut Vec<u8>) -> Option<Hit> {
        let located = self.locate(self.tail)?;
        let (at, _) = located.payload();
        super::record::read_bytes(&self.view.words, at, located.record.key_len, bytes);
        let is_set = located.record.change == Change::Set;
        self.find(self.view.key(bytes)).filter(|hit| is_set && hit.address == self.tail)
    }

    /// Removes the oldest record, or padding, from the log. A current record is copied to the head first.
    /// There must be a free block.
    pub(super) fn compact_one(&mut self, key: &mut Vec<u8>) -> Result<Compacted, NoRoom> {
        if self.tail == self.next {
            return Ok(Compacted::Nothing);
        }
        let word = self.view.words.load(self.place(self.tail), Ordering::Relaxed);
        let room = self.geometry().block_words - self.geometry().offset_of(self.tail);
        let words = match Header::decode(word, room).ok_or(NoRoom)? {
            Header::Pad(words) => words,
            Header::Record(record) => record.words(),
        };
        let mut compacted = Compacted::Dropped;
        if let Some(located) = self.locate(self.tail) {
            let (revision, expires) = self.view.times(&located);
            if let Some(hit) = self.oldest(key) {
                let address = self.copy(&located, self.tail)?;
                let moved = Record { moved: true, ..located.record };
                let key = self.view.key(key);
                self.point(key, Some(hit), address, moved.charge());
                // Published before the tail moves: a reader that starts at the new tail also finds the copy.
                self.put(Field::Head, self.next);
                compacted = Compacted::Moved { address, expires };
            }
            if !located.record.moved {
                // A loaded record may have an older revision than `Compacted`.
                let known = self.view.words.load(Field::Compacted as usize, Ordering::Relaxed);
                self.put(Field::Compacted, revision.max(known));
            }
        }
        let block = self.geometry().block_of(self.tail);
        self.tail += words as u64;
        // Published before the block is reused: a reader that fails at an address reads the tail again.
        self.put(Field::Tail, self.tail);
        if self.geometry().block_of(self.tail) != block {
            let table_at = self.geometry().table_at(block);
            let placed = Placed(self.word(table_at).swap(0, Ordering::Release));
            self.blocks.put(placed.memory());
        }
        Ok(compacted)
    }

    fn copy(&mut self, located: &Located, origin: u64) -> Result<u64, NoRoom> {
        let record = Record { moved: true, ..located.record };
        let (revision, expires) = self.view.times(located);
        let (from, words) = located.payload();
        let (address, at) = self.make_place(record.words())?;
        let head = [record.encode(), revision].into_iter().chain(record.expires.then_some(expires));
        for (i, value) in head.chain([origin]).enumerate() {
            self.word(at + i).store(value, Ordering::Relaxed);
        }
        for i in 0..words {
            let value = self.view.words.load(from + i, Ordering::Relaxed);
            self.word(at + record.head() + i).store(value, Ordering::Relaxed);
        }
        Ok(address)
    }
}
