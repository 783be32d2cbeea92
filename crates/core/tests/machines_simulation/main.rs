//! Simulates machines that send requests to each other through one server, with random delays, lost
//! connections, machines and workers that die, a server that restarts, and leaders that change.
//!
//! Each request ends once. A result that is reported as complete is complete: each worker of each machine
//! that the server has passed the request to has one outcome, and "no leader" is only reported if there is
//! none. A handler is called once, and is told when its request is cancelled. When there are no more
//! failures, requests to all machines are answered by all.

mod ledger;
mod machine;
mod world;

use std::collections::BTreeMap;

use rcluster_core::exchange::frame::Status;
use rcluster_testing::seeds;
use world::World;

const SEEDS: u64 = 60;

#[test]
fn every_request_ends_and_complete_results_are_complete() {
    let mut ends: BTreeMap<Status, u64> = BTreeMap::new();
    let mut complete = 0;
    let seeds = seeds(SEEDS);
    for seed in seeds.each() {
        let mut world = World::new(seed.number);
        world.run();
        complete += world.ledger.complete;
        for (status, count) in world.ledger.ends {
            *ends.entry(status).or_default() += count;
        }
    }
    println!("{complete} complete, {ends:?}");
    if seeds.are_given() {
        return;
    }
    assert!(complete > 800, "{complete} are answered by all");
    let met = [
        Status::Value,
        Status::NoHandler,
        Status::NoLeader,
        Status::Gone,
        Status::Busy,
        Status::Lost,
        Status::Cancelled,
        Status::Nobody,
        Status::Disconnected,
        Status::Missing,
        Status::Late,
    ];
    for status in met {
        assert!(ends.get(&status).is_some_and(|count| *count > 2), "{status:?} hardly happens: {ends:?}");
    }
}
