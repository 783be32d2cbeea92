//! Where everything is in a store's memory.
//!
//! ```text
//! header | block table | index of 2^8, 2^9, … 2^max entries | block 0 | block 1 | …
//! ```
//! All of it is words of 64 bits. Memory that is not touched costs nothing.

use super::atomic::{Ordering, Words};

/// What the first word says: our name and the version of this layout.
pub const MAGIC: u64 = u64::from_le_bytes(*b"rcstore\x01");

/// Words of the header: one page.
const HEADER: usize = 512;

/// The smallest index has two to the power of this entries.
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
    /// The largest index has two to the power of this entries.
    MaxIndexBits = 5,
    /// 1 if what has not been used for longest makes room for others.
    Lru = 6,
    /// The number of the last change.
    Revision = 16,
    /// How many keys there are. Those that have expired and are not removed yet count.
    Count = 17,
    /// The address behind the last record that is complete.
    Head = 18,
    /// The address of the oldest record that is kept.
    Tail = 19,
    /// The last change that is no longer in the log.
    Compacted = 20,
    /// Words of the records that are current.
    Live = 21,
    /// How many keys have been evicted.
    Evicted = 22,
    /// How many keys have expired.
    Expired = 23,
    /// The index in use has two to the power of this entries.
    IndexBits = 24,
    /// How often an entry of the index has moved.
    Moves = 25,
    /// Words of the log that are in use: blocks times their size.
    Used = 26,
}

/// The sizes from which all places follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Words of a block, a power of two.
    pub block_words: usize,
    /// How many blocks there are.
    pub blocks: usize,
    /// The largest index has two to the power of this entries.
    pub max_index_bits: u32,
    /// Entries of the block table, a power of two.
    table_len: usize,
    /// Where the first block begins.
    blocks_at: usize,
    /// Words of a block are two to the power of this.
    block_bits: u32,
}

impl Geometry {
    /// For a store of `size` bytes. `None` if that is less than [`MIN_SIZE`] or more than [`MAX_SIZE`].
    #[must_use]
    pub fn of_size(size: u64) -> Option<Self> {
        if !(MIN_SIZE..=MAX_SIZE).contains(&size) {
            return None;
        }
        let block = (size / 32).next_power_of_two().clamp(32 << 10, 8 << 20);
        let blocks = usize::try_from(size / block).ok()?;
        Some(Self::of_blocks(usize::try_from(block / 8).ok()?, blocks))
    }

    /// With so many blocks of so many words.
    #[must_use]
    pub fn of_blocks(block_words: usize, blocks: usize) -> Self {
        let (table_len, block_bits) = (blocks.next_power_of_two(), block_words.trailing_zeros());
        let mut geometry =
            Self { block_words, blocks, max_index_bits: 0, table_len, blocks_at: 0, block_bits };
        // The smallest record has five words, and an index is seven tenths full at the most.
        let entries = (geometry.live_limit() / 5 * 10 / 7).max(1);
        geometry.max_index_bits = (usize::BITS - entries.leading_zeros()).max(MIN_INDEX_BITS);
        geometry.blocks_at = geometry.index_at(geometry.max_index_bits + 1);
        geometry
    }

    /// As a store's memory says. `None` if that makes no sense.
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

    /// How many words current records may have. The rest is room to clean up in.
    #[must_use]
    pub fn live_limit(&self) -> usize {
        self.blocks.saturating_sub(4) * self.block_words / 5 * 4
    }

    /// The longest record, in words.
    #[must_use]
    pub fn max_record(&self) -> usize {
        // So at the end of a block a fifth is lost at the most, which is what the limit leaves.
        self.block_words / 4
    }

    /// The longest value, in bytes.
    #[must_use]
    pub fn max_value(&self) -> usize {
        (self.max_record() - 8) * 8 - MAX_KEY
    }

    /// Where the entry of the block table for this block of the log is.
    #[must_use]
    pub fn table_at(&self, block: u64) -> usize {
        HEADER + low_bits(block, self.table_len)
    }

    /// Where the index of two to the power of `bits` entries begins.
    #[must_use]
    pub fn index_at(&self, bits: u32) -> usize {
        HEADER + self.table_len + (1 << bits) - (1 << MIN_INDEX_BITS)
    }

    /// Where a block of the memory begins.
    #[must_use]
    pub fn block_at(&self, block: usize) -> usize {
        self.blocks_at + block * self.block_words
    }

    /// All words.
    #[must_use]
    pub fn words(&self) -> usize {
        self.block_at(self.blocks)
    }

    /// The block of the log that an address is in.
    #[must_use]
    pub fn block_of(&self, address: u64) -> u64 {
        address >> self.block_bits
    }

    /// The place of an address within its block.
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

/// An entry of the block table: which block of the log is in which block of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed(pub u64);

impl Placed {
    /// Of block `log` of the log, which is never used twice, in block `memory` of the memory.
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
}
