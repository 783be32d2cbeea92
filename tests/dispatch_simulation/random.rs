//! Chance that can be repeated.

use rcluster::core::dispatch::Refusal;
use rcluster::core::ids::ListenerId;

/// A seed says everything about a run.
pub(crate) struct Random(rcluster::core::random::Random);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(rcluster::core::random::Random::new(seed))
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.bits() % limit as u64).unwrap()
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
        self.0.bits() >> self.below(64)
    }

    /// One that may exist, one that has existed, or one that never will.
    pub(crate) fn listener(&mut self) -> ListenerId {
        ListenerId(u32::try_from(self.below(16)).unwrap())
    }

    pub(crate) fn refusal(&mut self) -> Refusal {
        self.pick([Refusal::Full, Refusal::NotListening, Refusal::HandedOver]).unwrap()
    }
}
