//! Simulates machines that ask each other by one server, with random delays, lost connections, machines and workers that die, a
//! server that restarts, and leaders that change.
//!
//! Each request ends once, and what is said to be all that there is, is all: each worker of each machine that the server has
//! passed the request on to has one outcome, and nobody leads if nobody is said to. A handler is called once, and told when
//! nobody waits any more. After the failures have stopped, all are asked and all answer.

mod ledger;
mod machine;
mod world;

use std::collections::BTreeMap;

use rcluster_core::exchange::frame::Status;
use rcluster_testing::seeds;
use world::World;

const SEEDS: u64 = 60;

#[test]
fn every_request_ends_and_what_is_said_to_be_all_is_all() {
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
