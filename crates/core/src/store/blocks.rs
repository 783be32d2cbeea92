//! The blocks of a store's memory: which ones the log uses.

use std::collections::VecDeque;
use std::ops::Range;

use super::geometry::Geometry;
use super::memory::NoRoom;

/// Reserves words of the memory with the system before their first use. False if the system has no memory.
pub type Reserve = Box<dyn FnMut(Range<usize>) -> bool + Send>;

/// See the module.
pub(super) struct Blocks {
    geometry: Geometry,
    pub(super) reserve: Reserve,
    /// Blocks that were used and are now free, the longest free first.
    free: VecDeque<usize>,
    /// Blocks from this one on have never been used.
    fresh: usize,
}

impl Blocks {
    /// All blocks, unused.
    pub(super) fn new(geometry: Geometry, reserve: Reserve) -> Self {
        Self { geometry, reserve, free: VecDeque::new(), fresh: 0 }
    }

    /// The number of blocks that the log can still take.
    pub(super) fn free(&self) -> usize {
        self.free.len() + self.geometry.blocks - self.fresh
    }

    /// The number of blocks in use.
    pub(super) fn used(&self) -> usize {
        self.fresh - self.free.len()
    }

    /// Takes a block. One that was used before needs no new memory from the system.
    pub(super) fn take(&mut self) -> Result<usize, NoRoom> {
        if let Some(block) = self.free.pop_front() {
            return Ok(block);
        }
        let block = self.fresh;
        let at = self.geometry.block_at(block);
        if block >= self.geometry.blocks || !(self.reserve)(at..at + self.geometry.block_words) {
            return Err(NoRoom);
        }
        self.fresh += 1;
        Ok(block)
    }

    /// The log does not use this block any more.
    pub(super) fn put(&mut self, block: usize) {
        self.free.push_back(block);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_block_is_reserved_once_and_the_longest_free_one_is_taken_first() {
        let geometry = Geometry::of_blocks(256, 4);
        let reserved = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&reserved);
        let reserve = Box::new(move |range: Range<usize>| {
            seen.lock().unwrap().push(range);
            true
        });
        let mut blocks = Blocks::new(geometry, reserve);
        assert_eq!((blocks.free(), blocks.used()), (4, 0));
        assert_eq!([(); 4].map(|()| blocks.take()), [0, 1, 2, 3].map(Ok));
        assert_eq!(blocks.take(), Err(NoRoom));
        assert_eq!((blocks.free(), blocks.used()), (0, 4));
        blocks.put(2);
        blocks.put(0);
        assert_eq!((blocks.free(), blocks.used()), (2, 2));
        assert_eq!((blocks.take(), blocks.take()), (Ok(2), Ok(0)));
        let ranges = [0, 1, 2, 3].map(|block| geometry.block_at(block)..geometry.block_at(block + 1));
        assert_eq!(*reserved.lock().unwrap(), ranges);
    }

    #[test]
    fn without_memory_of_the_system_no_block_is_taken() {
        let mut blocks = Blocks::new(Geometry::of_blocks(256, 4), Box::new(|_| false));
        assert_eq!(blocks.take(), Err(NoRoom));
        assert_eq!((blocks.free(), blocks.used()), (4, 0));
    }
}
