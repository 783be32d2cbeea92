//! Reproducible random numbers.

use std::time::Duration;

/// Splitmix64: small, fast, and good enough to spread events over time. The seed determines everything, so
/// the numbers are not secret and must not be used as secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts a sequence.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.bits() % limit as u64).unwrap_or_default()
    }

    /// A number from `from` to `to`, inclusive.
    pub fn number(&mut self, from: u32, to: u32) -> u32 {
        from + u32::try_from(self.bits() % (u64::from(to - from) + 1)).unwrap_or_default()
    }

    /// A time from `from` to `to` milliseconds, inclusive.
    pub fn ms(&mut self, from: u32, to: u32) -> Duration {
        Duration::from_millis(self.number(from, to).into())
    }

    /// True once in `count` times on average.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// One of the items, if there are any.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        if items.is_empty() { None } else { Some(items[self.below(items.len())]) }
    }

    /// 64 bits in which small numbers are as likely as large ones.
    pub fn noise(&mut self) -> u64 {
        self.bits() >> self.below(64)
    }

    /// A number from 0 to below 1.
    pub fn fraction(&mut self) -> f64 {
        // 32 bits are enough for jitter, and the conversion is exact.
        f64::from((self.bits() >> 32) as u32) / 4_294_967_296.0
    }

    /// A factor from `1 - jitter` to `1 + jitter`.
    pub fn around_one(&mut self, jitter: f64) -> f64 {
        1.0 + jitter * (2.0 * self.fraction() - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Random};

    #[test]
    fn it_is_splitmix64() {
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn what_is_chosen_is_within_its_limits_and_all_of_it_comes() {
        let mut random = Random::new(3);
        let numbers: Vec<u32> = (0..200).map(|_| random.number(4, 6)).collect();
        assert!(
            (4..=6).all(|number| numbers.contains(&number)) && numbers.iter().all(|n| (4..=6).contains(n))
        );
        let picked: Vec<char> = (0..200).filter_map(|_| random.pick(&['a', 'b'])).collect();
        assert!(picked.contains(&'a') && picked.contains(&'b'));
        assert_eq!(random.pick::<u8>(&[]), None);
        assert_eq!(random.ms(7, 7), Duration::from_millis(7));
        let happened = (0..1000).filter(|_| random.one_in(4)).count();
        assert!((150..350).contains(&happened), "{happened}");
        let small = (0..1000).filter(|_| random.noise() < 1 << 32).count();
        assert!((350..650).contains(&small), "{small}");
    }

    #[test]
    fn jitter_goes_both_ways_and_stays_within() {
        let mut random = Random::new(7);
        let factors: Vec<f64> = (0..1000).map(|_| random.around_one(0.2)).collect();
        assert!(factors.iter().all(|factor| (0.8..=1.2).contains(factor)));
        assert!(factors.iter().any(|factor| *factor < 0.85) && factors.iter().any(|factor| *factor > 1.15));
    }
}
