//! A watcher that is slower than the writes.

use std::sync::Arc;

use rcluster_core::random::Random;
use rcluster_core::store::atomic::AtomicU64;
use rcluster_core::store::cursor::Filter;
use rcluster_core::store::geometry::Geometry;
use rcluster_core::store::ops::{Condition, Eviction, Lifetime, Op, Status};
use rcluster_core::store::view::View;
use rcluster_core::store::writer::Store;
use rcluster_testing::seeds;

use crate::model::Model;
use crate::watcher::Watcher;
use crate::{SEEDS, Words, below};

/// Writes to `keys` keys, a few between two events of the watcher, until it is synced. Returns how many events
/// it got before, or `None` if the log was too short for it.
fn run(seed: u64, keys: u64, history: bool) -> Option<usize> {
    let mut random = Random::new(seed);
    let geometry = Geometry::of_blocks(4096, 12);
    let words: Words = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    let reserve = Box::new(|_| true);
    let mut store =
        Store::create(Arc::clone(&words), geometry, (seed, !seed), Eviction::None, reserve).unwrap();
    let view = View::new(words).unwrap();
    let mut model = Model::new(&view);
    let mut write = |model: &mut Model, key: u64| {
        let name = format!("{}:{key}", key % 3).into_bytes();
        let op = match below(&mut random, 12) {
            0 => Op::Delete { key: &name, condition: Condition::Any },
            1 if key == 0 || seed.is_multiple_of(3) => {
                Op::Clear { prefix: &name[..below(&mut random, 2) as usize] }
            }
            _ => Op::Set {
                key: &name,
                kind: 9,
                value: b"value",
                lifetime: Lifetime::Forever,
                condition: Condition::Any,
            },
        };
        let outcome = store.apply(&[op], 1, &mut |_| false);
        assert!(matches!(outcome.status, Status::Done | Status::Unmet));
        model.check(&view, &[op], outcome, 1, false, false);
        random.bits()
    };
    for step in 0..3 * keys {
        write(&mut model, step % keys);
    }
    let prefix = if seed.is_multiple_of(2) { Vec::new() } else { b"1:".to_vec() };
    let mut watcher = Watcher::new(&view, Filter::Prefix(prefix), history, None, &model);
    let mut chance = 0_u64;
    while !watcher.synced {
        for _ in 0..=seed % 4 {
            chance = write(&mut model, chance % keys);
        }
        // One event, or a piece of the log without any.
        if !watcher.follow(&view, &model, 40) {
            return None;
        }
    }
    let before = watcher.before;
    while !watcher.follow(&view, &model, usize::MAX) {}
    watcher.check(&model);
    Some(before)
}

#[test]
fn a_watcher_that_is_slower_than_the_writes_is_synced() {
    let seeds = seeds(SEEDS);
    let mut lost = 0;
    for seed in seeds.each() {
        let keys = [1, 10, 40, 120][seed.number as usize / 4 % 4];
        match run(seed.number, keys, false) {
            Some(before) => assert!(before as u64 <= keys, "one value of a key at the most"),
            None => lost += 1,
        }
        lost += u64::from(run(seed.number, keys, true).is_none());
    }
    assert!(seeds.are_given() || lost < SEEDS / 10, "{lost} were lost");
}
