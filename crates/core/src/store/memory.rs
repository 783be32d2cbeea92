//! Writing a store's memory: the log, the index, and the cleaning between them.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use super::atomic::{AtomicU64, Ordering, Words, fence};
use super::geometry::{Field, Geometry, MAGIC, MIN_INDEX_BITS, Placed};
use super::ops::Eviction;
use super::record::{Change, Header, Record, words_of};
use super::view::{Corrupt, Entry, Hit, Key, Located, View, home};

/// There is no room: the store is full, or the system has no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// What is to be appended.
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
        Record { change: self.change, kind: self.kind, moved: false, key_len, value_len }
    }
}

/// What has become of a record that the cleaning came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cleaned {
    /// Nobody needed it.
    Dropped,
    /// It is current, and at another address now.
    Moved { address: u64, expires: u64 },
    /// The log is empty.
    Nothing,
}

/// Asks the system for words of the memory before they are used for the first time. False if it has none.
pub type Reserve = Box<dyn FnMut(Range<usize>) -> bool + Send>;

/// The memory of a store, for its one writer.
pub(super) struct Memory<W> {
    pub(super) view: View<W>,
    reserve: Reserve,
    /// Where the next record goes.
    next: u64,
    tail: u64,
    /// Blocks of the memory that have been used and are free, the one that is free for longest first.
    free: VecDeque<usize>,
    /// Blocks from here on have never been used.
    fresh: usize,
    index_bits: u32,
    count: usize,
    live: usize,
}

impl<W> fmt::Debug for Memory<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("next", &self.next)
            .field("tail", &self.tail)
            .field("count", &self.count)
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

impl<W: Words + AsRef<[AtomicU64]>> Memory<W> {
    /// Makes an empty store in memory that is all zeros.
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
            reserve,
            next: first,
            tail: first,
            free: VecDeque::new(),
            fresh: 0,
            index_bits: MIN_INDEX_BITS,
            count: 0,
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
        self.count
    }

    /// Words of current records.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Whether this is the address of something that is still in the log.
    pub(super) fn is_kept(&self, address: u64) -> bool {
        (self.tail..self.next).contains(&address)
    }

    /// The record at an address that is kept.
    pub(super) fn locate(&self, address: u64) -> Option<Located> {
        self.view.locate(address).ok()
    }

    /// Where a key is.
    pub(super) fn find(&self, key: Key<'_>) -> Option<Hit> {
        // Nothing is used again while the one writer is looking.
        self.view.probe(self.index_bits, key).ok().flatten()
    }

    /// Whether so many more words can be appended without any cleaning. Two blocks are left to clean up with: moving
    /// what is current of one takes one, and a little more, because records grow by a word when they are moved first.
    pub(super) fn fits(&self, words: usize) -> bool {
        // At the end of each block up to the longest record is lost.
        let filled = self.geometry().block_words - self.geometry().max_record();
        let wanted = if words <= self.rest() { 0 } else { words.div_ceil(filled) };
        self.free_blocks() >= wanted + 2
    }

    fn free_blocks(&self) -> usize {
        self.free.len() + self.geometry().blocks - self.fresh
    }

    /// Words up to the end of the block that is being written. None has been begun at the end of the last one.
    fn rest(&self) -> usize {
        match self.geometry().offset_of(self.next) {
            0 => 0,
            offset => self.geometry().block_words - offset,
        }
    }

    /// Words of the log that are in use, and how many there should be at the most.
    pub(super) fn used_and_wanted(&self) -> (usize, usize) {
        let used = usize::try_from(self.next - self.tail).unwrap_or(usize::MAX);
        (used, self.live / 2 * 3 + 2 * self.geometry().block_words)
    }

    /// Begins the next block. The rest of the last one is filled up.
    fn open_block(&mut self) -> Result<(), NoRoom> {
        let memory = if let Some(memory) = self.free.pop_front() {
            memory
        } else {
            let memory = self.fresh;
            let at = self.geometry().block_at(memory);
            let range = at..at + self.geometry().block_words;
            if memory >= self.geometry().blocks || !(self.reserve)(range) {
                return Err(NoRoom);
            }
            self.fresh += 1;
            memory
        };
        let rest = self.rest();
        if rest > 0 {
            let at = self.place(self.next);
            self.word(at).store(Header::encode_pad(rest), Ordering::Relaxed);
            self.next += rest as u64;
        }
        let block = self.geometry().block_of(self.next);
        // Whoever sees anything of what is written to this block from here on sees as well that the table no longer
        // names it for what was there before.
        fence(Ordering::Release);
        let table_at = self.geometry().table_at(block);
        self.word(table_at).store(Placed::new(block, memory).0, Ordering::Release);
        Ok(())
    }

    /// The word of an address in a block that is in use.
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

    /// Writes a record behind the last one. Nobody sees it before an index entry or [`Self::publish`].
    pub(super) fn append(&mut self, draft: &Draft<'_>) -> Result<u64, NoRoom> {
        let record = draft.record();
        let (address, at) = self.make_place(record.words())?;
        let head = [record.encode(), draft.revision, draft.expires];
        let all = head.into_iter().chain(words_of(draft.key)).chain(words_of(draft.value));
        for (word, value) in self.view.words.as_ref()[at..].iter().zip(all) {
            word.store(value, Ordering::Relaxed);
        }
        Ok(address)
    }

    /// Lets everybody see what has been appended.
    pub(super) fn publish(&self, revision: u64) {
        self.put(Field::Count, self.count as u64);
        self.put(Field::Live, self.live as u64);
        let blocks = self.fresh - self.free.len();
        self.put(Field::Used, (blocks * self.geometry().block_words) as u64);
        self.put(Field::Revision, revision);
        self.put(Field::Head, self.next);
    }

    /// Counts something.
    pub(super) fn bump(&self, field: Field) {
        self.put(field, self.view.words.load(field as usize, Ordering::Relaxed) + 1);
    }

    /// Makes the record at `address` the current one of a key, in the place of the one that was found before. It counts
    /// for `charge`.
    pub(super) fn point(&mut self, key: Key<'_>, hit: Option<Hit>, address: u64, charge: usize) {
        let index = self.geometry().index_at(self.index_bits);
        let entry = Entry::new(key.hash, address).0;
        self.live += charge;
        if let Some(hit) = hit {
            self.live -= hit.located.record.charge();
            self.word(index + hit.slot).store(entry, Ordering::Release);
        } else {
            self.count += 1;
            self.word(index + self.empty_slot(key.hash, self.index_bits)).store(entry, Ordering::Release);
        }
    }

    fn empty_slot(&self, hash: u64, bits: u32) -> usize {
        let (index, mask) = (self.geometry().index_at(bits), (1 << bits) - 1);
        let mut slot = home(hash, bits);
        while self.view.words.load(index + slot, Ordering::Relaxed) != 0 {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// Sees to it that the index has room for so many more keys.
    pub(super) fn widen(&mut self, more: usize) -> Result<(), NoRoom> {
        let mut bits = self.index_bits;
        while (self.count + more) * 10 > (1 << bits) * 7 {
            bits += 1;
        }
        if bits == self.index_bits {
            return Ok(());
        }
        let range = self.geometry().index_at(bits)..self.geometry().index_at(bits + 1);
        if bits > self.geometry().max_index_bits || !(self.reserve)(range) {
            return Err(NoRoom);
        }
        let old = self.geometry().index_at(self.index_bits);
        let index = self.geometry().index_at(bits);
        for slot in 0..1 << self.index_bits {
            let entry = Entry(self.view.words.load(old + slot, Ordering::Relaxed));
            if entry.0 != 0
                && let Some(located) = self.locate(entry.address())
            {
                let slot = self.empty_slot(self.view.hash_at(&located), bits);
                self.word(index + slot).store(entry.0, Ordering::Relaxed);
            }
        }
        self.index_bits = bits;
        self.put(Field::IndexBits, u64::from(bits));
        Ok(())
    }

    /// Takes a key out of the index.
    pub(super) fn remove(&mut self, hit: Hit) {
        self.live -= hit.located.record.charge();
        self.count -= 1;
        let (bits, mask) = (self.index_bits, (1 << self.index_bits) - 1);
        let index = self.geometry().index_at(bits);
        let (mut hole, mut slot) = (hit.slot, hit.slot);
        loop {
            slot = (slot + 1) & mask;
            let entry = Entry(self.view.words.load(index + slot, Ordering::Relaxed));
            if entry.0 == 0 {
                break;
            }
            let Some(located) = self.locate(entry.address()) else { break };
            let wanted = home(self.view.hash_at(&located), bits);
            if slot.wrapping_sub(wanted) & mask >= slot.wrapping_sub(hole) & mask {
                self.word(index + hole).store(entry.0, Ordering::Release);
                self.bump(Field::Moves);
                hole = slot;
            }
        }
        self.word(index + hole).store(0, Ordering::Release);
    }

    /// Makes pads of records that have been appended and that nobody has seen.
    pub(super) fn discard(&self, records: &[(u64, usize)]) {
        for &(address, words) in records {
            self.word(self.place(address)).store(Header::encode_pad(words), Ordering::Relaxed);
        }
    }

    /// Calls `each` with the current record of every key.
    pub(super) fn for_each(&self, mut each: impl FnMut(u64, &Located)) {
        let index = self.geometry().index_at(self.index_bits);
        for slot in 0..1 << self.index_bits {
            let entry = Entry(self.view.words.load(index + slot, Ordering::Relaxed));
            if entry.0 != 0
                && let Some(located) = self.locate(entry.address())
            {
                each(entry.address(), &located);
            }
        }
    }

    /// The key of the oldest record, if that is current.
    pub(super) fn oldest(&self, bytes: &mut Vec<u8>) -> Option<Hit> {
        let located = self.locate(self.tail)?;
        let (at, _) = located.payload();
        super::record::read_bytes(&self.view.words, at, located.record.key_len, bytes);
        let is_set = located.record.change == Change::Set;
        self.find(self.view.key(bytes)).filter(|hit| is_set && hit.address == self.tail)
    }

    /// Takes the oldest record, or pad, out of the log. It goes to the other end if it is current. There has to be a
    /// block free.
    pub(super) fn clean_one(&mut self, key: &mut Vec<u8>) -> Result<Cleaned, NoRoom> {
        if self.tail == self.next {
            return Ok(Cleaned::Nothing);
        }
        let word = self.view.words.load(self.place(self.tail), Ordering::Relaxed);
        let room = self.geometry().block_words - self.geometry().offset_of(self.tail);
        let words = match Header::decode(word, room).ok_or(NoRoom)? {
            Header::Pad(words) => words,
            Header::Record(record) => record.words(),
        };
        let mut cleaned = Cleaned::Dropped;
        if let Some(located) = self.locate(self.tail) {
            let (revision, expires) = self.view.times(&located);
            if let Some(hit) = self.oldest(key) {
                let address = self.copy(&located, self.tail)?;
                let moved = Record { moved: true, ..located.record };
                let key = self.view.key(key);
                self.point(key, Some(hit), address, moved.charge());
                cleaned = Cleaned::Moved { address, expires };
            }
            if !located.record.moved {
                self.put(Field::Compacted, revision);
            }
        }
        let block = self.geometry().block_of(self.tail);
        self.tail += words as u64;
        // Before the block is used again: whoever finds nothing at an address looks where the log begins now.
        self.put(Field::Tail, self.tail);
        if self.geometry().block_of(self.tail) != block {
            let table_at = self.geometry().table_at(block);
            let placed = Placed(self.word(table_at).swap(0, Ordering::Release));
            self.free.push_back(placed.memory());
        }
        Ok(cleaned)
    }

    fn copy(&mut self, located: &Located, origin: u64) -> Result<u64, NoRoom> {
        let record = Record { moved: true, ..located.record };
        let (revision, expires) = self.view.times(located);
        let (from, words) = located.payload();
        let (address, at) = self.make_place(record.words())?;
        for (i, value) in [record.encode(), revision, expires, origin].into_iter().enumerate() {
            self.word(at + i).store(value, Ordering::Relaxed);
        }
        for i in 0..words {
            let value = self.view.words.load(from + i, Ordering::Relaxed);
            self.word(at + record.head() + i).store(value, Ordering::Relaxed);
        }
        Ok(address)
    }
}
