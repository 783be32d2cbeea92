//! Reproducible random numbers.

/// The seed determines the whole run.
pub(crate) struct Chance(rcluster_core::random::Random);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(rcluster_core::random::Random::new(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.bits()
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0.below(limit)
    }

    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}
