//! The atomics of shared memory. The model checker replaces them with its own.

#[cfg(rcluster_loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(rcluster_loom))]
pub use std::sync::atomic::{AtomicU64, Ordering, fence};

use std::ops::Deref;

/// Memory that can be read while another process writes it.
pub trait Words {
    /// Reads the word at `at`; 0 beyond the end.
    fn load(&self, at: usize, order: Ordering) -> u64;

    /// Copies the words from `at` on (relaxed), each in little-endian order; zeros beyond the end.
    fn copy(&self, at: usize, into: &mut [[u8; 8]]) {
        for (i, word) in into.iter_mut().enumerate() {
            *word = self.load(at + i, Ordering::Relaxed).to_le_bytes();
        }
    }
}

impl<T: Deref<Target = [AtomicU64]>> Words for T {
    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u64 {
        self.get(at).map_or(0, |word| word.load(order))
    }

    fn copy(&self, at: usize, into: &mut [[u8; 8]]) {
        // One bounds check for all words.
        let there = self.get(at..).unwrap_or_default();
        let (whole, beyond) = into.split_at_mut(into.len().min(there.len()));
        for (word, from) in whole.iter_mut().zip(there) {
            *word = from.load(Ordering::Relaxed).to_le_bytes();
        }
        beyond.fill([0; 8]);
    }
}
