//! Simulates the forwarder's two state machines with random failures, thousands of times.

mod bytes;
mod clients;

use rcluster_core::random::Random;
use rcluster_testing::{Seeds, seeds};

/// As many as run in a few seconds.
const SEEDS: u64 = if cfg!(debug_assertions) { 500 } else { 20_000 };

/// Runs all seeds, which it returns.
fn play(run: impl Fn(u64)) -> Seeds {
    let seeds = seeds(SEEDS);
    seeds.each().for_each(|seed| run(seed.number));
    seeds
}
