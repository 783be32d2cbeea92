//! The atomics of shared memory. The model checker brings its own.

#[cfg(rcluster_loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(rcluster_loom))]
pub use std::sync::atomic::{AtomicU64, Ordering, fence};

use std::ops::Deref;

/// Memory that can be read while another process writes to it.
pub trait Words {
    /// Reads the word at `at`; 0 beyond the end.
    fn load(&self, at: usize, order: Ordering) -> u64;
}

impl<T: Deref<Target = [AtomicU64]>> Words for T {
    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u64 {
        self.get(at).map_or(0, |word| word.load(order))
    }
}
