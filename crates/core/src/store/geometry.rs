//! The layout of a store's memory.
//!
//! ```text
//! header | block table | index of 2^8, 2^9, … 2^max entries | block 0 | block 1 | …
//! ```
//! Everything is in 64-bit words. Memory that is never touched costs nothing.

use super::atomic::{Ordering, Words};

/// The first word: the name and the version of this layout.
pub const MAGIC: u64 = u64::from_le_bytes(*b"rcstore\x02");

/// Words of the header: one page.
const HEADER: usize = 512;

/// The smallest index has 2^this entries.
pub const MIN_INDEX_BITS: u32 = 8;

/// The smallest size of a store, in bytes.
pub const MIN_SIZE: u64 = 1 << 20;
/// The largest size of a store, in bytes.
pub const MAX_SIZE: u64 = 1 << 36;

/// The longest key, in bytes of UTF-8.
pub const MAX_KEY: usize = 1024;

/// The words of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Field {
    /// [`MAGIC`].
    Magic = 0,
    /// The first half of the key of the hash function.
    HashKey0 = 1,
    /// The second half.
    HashKey1 = 2,
    /// Words of a block, a power of two.
    BlockWords = 3,
    /// How many blocks there are.
    Blocks = 4,
    /// The largest index has 2^this entries.
    MaxIndexBits = 5,
    /// 1 if the least recently used keys are evicted when the store is full.
    Lru = 6,
    /// The revision of the last change.
    Revision = 16,
    /// The number of keys, including expired ones that have not been removed.
    Count = 17,
    /// The address after the last complete record.
    Head = 18,
    /// The address of the oldest record in the log.
    Tail = 19,
    /// The revision of the last change that is no longer in the log.
    Compacted = 20,
    /// Words of all current records.
    Live = 21,
    /// The number of evicted keys.
    Evicted = 22,
    /// The number of expired keys.
    Expired = 23,
    /// The index in use has 2^this entries.
    IndexBits = 24,
    /// The number of moves of index entries.
    Moves = 25,
    /// Words of the log in use: blocks times their size.
    Used = 26,
    /// The version of the contents as a whole. It is odd while all of them are replaced, as by a load from the server,
    /// and greater afterwards.
    Contents = 27,
    /// The state of the link to the store's server; 0 if there is no server. See
    /// [`State`](super::remote::status::State).
    ServerState = 32,
    /// The last time at which the store was up to date, in ms.
    ServerSynced = 33,
    /// The number of requests that wait for the server.
    ServerQueued = 34,
    /// The number of successful connections.
    ServerConnects = 35,
    /// The number of lost connections.
    ServerDisconnects = 36,
    /// The number of full loads.
    ServerLoads = 37,
    /// The version of the text that follows: [`SERVER_TEXT`] bytes. It is odd while the text is being
    /// written.
    ServerText = 64,
}

/// Bytes of the server's status text.
pub const SERVER_TEXT: usize = 1024;

/// The sizes that determine the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Words of a block, a power of two.
    pub block_words: usize,
    /// How many blocks there are.
    pub blocks: usize,
    /// The largest index has 2^this entries.
    pub max_index_bits: u32,
    /// Entries of the block table, a power of two.
    table_len: usize,
    /// The index of the first block's first word.
    blocks_at: usize,
    /// A block has 2^this words.
    block_bits: u32,
}

impl Geometry {
    /// The layout of a store of `size` bytes. `None` outside [`MIN_SIZE`] to [`MAX_SIZE`].
    #[must_use]
    pub fn of_size(size: u64) -> Option<Self> {
        if !(MIN_SIZE..=MAX_SIZE).contains(&size) {
            return None;
        }
        let block = (size / 32).next_power_of_two().clamp(32 << 10, 8 << 20);
        let blocks = usize::try_from(size / block).ok()?;
        Some(Self::of_blocks(usize::try_from(block / 8).ok()?, blocks))
    }

    /// The layout for a number of blocks of a given size.
    #[must_use]
    pub fn of_blocks(block_words: usize, blocks: usize) -> Self {
        let (table_len, block_bits) = (blocks.next_power_of_two(), block_words.trailing_zeros());
        let mut geometry =
            Self { block_words, blocks, max_index_bits: 0, table_len, blocks_at: 0, block_bits };
        // The smallest record counts for four words, and an index is at most 70 % full.
        let entries = (geometry.live_limit() / 4 * 10 / 7).max(1);
        geometry.max_index_bits = (usize::BITS - entries.leading_zeros()).max(MIN_INDEX_BITS);
        geometry.blocks_at = geometry.index_at(geometry.max_index_bits + 1);
        geometry
    }

    /// Reads the layout from a store's memory. `None` if it is invalid.
    #[must_use]
    pub fn read(words: &impl Words) -> Option<Self> {
        let field = |field: Field| usize::try_from(words.load(field as usize, Ordering::Acquire)).ok();
        if words.load(Field::Magic as usize, Ordering::Acquire) != MAGIC {
            return None;
        }
        let (block_words, blocks) = (field(Field::BlockWords)?, field(Field::Blocks)?);
        let sound =
            block_words.is_power_of_two() && block_words <= 1 << 24 && (4..=1 << 16).contains(&blocks);
        let geometry = sound.then(|| Self::of_blocks(block_words, blocks))?;
        (field(Field::MaxIndexBits)? == geometry.max_index_bits as usize).then_some(geometry)
    }

    /// The largest number of words of current records. The rest is room for compaction.
    #[must_use]
    pub fn live_limit(&self) -> usize {
        self.blocks.saturating_sub(4) * self.block_words / 5 * 4
    }

    /// The longest record, in words.
    #[must_use]
    pub fn max_record(&self) -> usize {
        // At the end of a block, up to the length of the longest record is wasted. `live_limit` leaves that fifth.
        self.block_words / 5
    }

    /// The longest value, in bytes.
    #[must_use]
    pub fn max_value(&self) -> usize {
        (self.max_record() - 8) * 8 - MAX_KEY
    }

    /// The index of the block table's entry for this block of the log.
    #[must_use]
    pub fn table_at(&self, block: u64) -> usize {
        HEADER + low_bits(block, self.table_len)
    }

    /// The index of the first word of the index with 2^`bits` entries.
    #[must_use]
    pub fn index_at(&self, bits: u32) -> usize {
        HEADER + self.table_len + (1 << bits) - (1 << MIN_INDEX_BITS)
    }

    /// The index of the first word of a block of the memory.
    #[must_use]
    pub fn block_at(&self, block: usize) -> usize {
        self.blocks_at + block * self.block_words
    }

    /// The total number of words.
    #[must_use]
    pub fn words(&self) -> usize {
        self.block_at(self.blocks)
    }

    /// The block of the log that an address is in.
    #[must_use]
    pub fn block_of(&self, address: u64) -> u64 {
        address >> self.block_bits
    }

    /// The offset of an address in its block.
    #[must_use]
    pub fn offset_of(&self, address: u64) -> usize {
        low_bits(address, self.block_words)
    }
}

/// The remainder of a division by a power of two.
fn low_bits(number: u64, limit: usize) -> usize {
    let number = number & (limit as u64 - 1);
    #[allow(clippy::cast_possible_truncation, reason = "it is less than the limit")]
    let number = number as usize;
    number
}

/// An entry of the block table: the block of the memory that holds a block of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed(pub u64);

impl Placed {
    /// Block `log` of the log, a number that is never reused, is in block `memory` of the memory.
    #[must_use]
    pub fn new(log: u64, memory: usize) -> Self {
        Self(log << 16 | memory as u64 & 0xffff)
    }

    /// The block of the log.
    #[must_use]
    pub fn log(self) -> u64 {
        self.0 >> 16
    }

    /// The block of the memory.
    #[must_use]
    pub fn memory(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_do_not_overlap() {
        for size in [MIN_SIZE, 5 << 20, 64 << 20, 3 << 30] {
            let geometry = Geometry::of_size(size).unwrap();
            assert!(geometry.blocks <= 1 << 16 && geometry.blocks >= 16, "{geometry:?}");
            assert_eq!(geometry.index_at(MIN_INDEX_BITS), HEADER + geometry.table_len);
            for bits in MIN_INDEX_BITS..=geometry.max_index_bits {
                assert_eq!(geometry.index_at(bits) + (1 << bits), geometry.index_at(bits + 1));
            }
            assert_eq!(geometry.block_at(0), geometry.index_at(geometry.max_index_bits + 1));
            assert!(geometry.words() * 8 >= usize::try_from(size).unwrap() / 10 * 9);
        }
        assert_eq!(Geometry::of_size(MIN_SIZE - 1), None);
        assert_eq!(Geometry::of_size(MAX_SIZE + 1), None);
    }

    #[test]
    fn records_of_all_lengths_fit_up_to_the_limit() {
        for size in [MIN_SIZE, 5 << 20, 64 << 20, 256 << 20, 3 << 30, MAX_SIZE] {
            let geometry = Geometry::of_size(size).unwrap();
            // As much of each block is used if each is followed by a record of the greatest length.
            let filled = geometry.block_words - geometry.max_record();
            // Compaction needs two.
            assert!(geometry.live_limit().div_ceil(filled) + 2 <= geometry.blocks, "{geometry:?}");
        }
    }
}
