//! Simulates the forwarder's two state machines with random failures, thousands of times.
//!
//! A failure names its seed: `RCLUSTER_SEED=<seed> cargo test --test forward_simulation` replays it.

mod bytes;
mod clients;

use rcluster_testing::Seed;

/// As many as run in a few seconds.
const SEEDS: u64 = if cfg!(debug_assertions) { 500 } else { 20_000 };

/// Splitmix64: the seed determines the whole run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Runs all seeds, or the one in the environment.
fn play(run: impl Fn(u64)) {
    if let Ok(seed) = std::env::var("RCLUSTER_SEED") {
        return run(seed.parse().expect("RCLUSTER_SEED is a number"));
    }
    for seed in 0..SEEDS {
        let _named = Seed(seed);
        run(seed);
    }
}
