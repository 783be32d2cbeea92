//! Chance that can be repeated.

use rcluster::core::dispatch::Refusal;
use rcluster::core::ids::ListenerId;

/// Splitmix64: a seed says everything about a run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, items: impl IntoIterator<Item = T>) -> Option<T> {
        let items: Vec<T> = items.into_iter().collect();
        if items.is_empty() { None } else { Some(items[self.below(items.len())]) }
    }

    /// Small and large numbers alike.
    pub(crate) fn noise(&mut self) -> u64 {
        self.next() >> self.below(64)
    }

    /// One that may exist, one that has existed, or one that never will.
    pub(crate) fn listener(&mut self) -> ListenerId {
        ListenerId(u32::try_from(self.below(16)).unwrap())
    }

    pub(crate) fn refusal(&mut self) -> Refusal {
        if self.one_in(2) { Refusal::Full } else { Refusal::NotListening }
    }
}
