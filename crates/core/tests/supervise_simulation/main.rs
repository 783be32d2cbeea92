//! Simulates supervision with random failures, thousands of times.
//!
//! Workers crash at start and in service, throw, block, leak, leave, drain forever and ignore SIGTERM;
//! operators scale, reload and shut down at any moment; the machine sleeps, and inputs may be late or
//! invalid. Then failures stop, and the cluster must recover.

mod checks;
mod process;
mod storm;
mod world;

use std::time::Duration;

use rcluster_core::control::supervise::Input;
use rcluster_testing::{Seed, Seeds, seeds};
use world::{Tally, World};

const SEEDS: u64 = if cfg!(debug_assertions) { 2_000 } else { 20_000 };
const STEPS: usize = 40;

fn run(seed: &Seed) -> Tally {
    // Every fifth world is gentle: nothing fails, so the capacity must hold.
    let mut world = World::new(seed, seed.number.is_multiple_of(5));
    world.give(Input::Start);
    if world.gentle {
        world.let_time_pass(Duration::from_secs(2));
        world.check_capacity = true;
    }
    for _ in 0..STEPS {
        world.something_happens();
        let how_long = Duration::from_micros(world.random.below(150_000) as u64);
        world.let_time_pass(how_long);
    }
    world.calm_down();
    world.everything_ends();
    world.tally
}

/// Each thread runs every n-th seed.
fn run_all(seeds: &Seeds) -> Tally {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut tally = Tally::new();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|first| {
                let seeds = seeds.each().skip(first).step_by(threads);
                scope.spawn(move || seeds.map(|seed| run(&seed)).collect::<Vec<_>>())
            })
            .collect();
        for run in runs {
            for (what, times) in
                run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).into_iter().flatten()
            {
                *tally.entry(what).or_default() += times;
            }
        }
    });
    tally
}

#[test]
fn whatever_happens_the_cluster_recovers_and_ends() {
    let seeds = seeds(SEEDS);
    let tally = run_all(&seeds);
    println!("{tally:?}");
    if seeds.are_given() {
        return;
    }
    // A world in which nothing relevant happens proves nothing.
    let often = [
        "spawn",
        "spawn failed",
        "ready",
        "restart start-up",
        "restart service",
        "backoff",
        "gave up slot",
        "gave up total",
        "gave up",
        "retire",
        "drain",
        "drain timeout",
        "term",
        "kill",
        "unresponsive",
        "stack",
        "recycle memory",
        "recycle age",
        "recycle connections",
        "reload done",
        "reload failed",
        "promote",
        "stopped",
        "stopping",
        "shutdown",
        "stop primary",
        "done",
        "failed",
        "sleep",
        "absurd",
        "kept",
        "urgent",
        "alone",
        "cut",
    ];
    for what in often {
        let times = tally.get(what).copied().unwrap_or(0);
        assert!(times >= SEEDS / 20, "hardly ever: {what} ({times})");
    }
    // This requires a world in which no worker gets ready at all.
    assert!(tally.contains_key("gave up start-up"), "no cluster has failed to start");
}
