//! Simulates a store that is written, followed and filled up at random, thousands of times, beside a model of
//! it.
//!
//! The memory is tiny, so that the log wraps all the time. Watchers follow at speeds of their own; the
//! changes that each gets must lead to the same state.

#![cfg(not(rcluster_loom))]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "all numbers are small, and those that are not are chance"
)]

mod model;
mod slow;
mod watcher;

use std::sync::Arc;

use model::Model;
use rcluster_core::random::Random;
use rcluster_core::store::atomic::AtomicU64;
use rcluster_core::store::cursor::{Cursor, Filter, Start, snapshot};
use rcluster_core::store::geometry::{Field, Geometry};
use rcluster_core::store::ops::{Condition, Eviction, Lifetime, Op, Status};
use rcluster_core::store::snapshot::{Entry, Snapshot};
use rcluster_core::store::view::{LogEntry, Value, View};
use rcluster_core::store::writer::{NUMBER, Store};
use rcluster_testing::seeds;
use watcher::Watcher;

const SEEDS: u64 = if cfg!(debug_assertions) { 150 } else { 3_000 };
const STEPS: u64 = 700;

type Words = Arc<[AtomicU64]>;

/// How often the relevant events have occurred.
#[derive(Debug, Default)]
struct Tally {
    done: u64,
    unmet: u64,
    full: u64,
    too_large: u64,
    not_number: u64,
    evicted: u64,
    expired: u64,
    compacted: u64,
    grown: u64,
    lost: u64,
}

fn below(random: &mut Random, limit: u64) -> u64 {
    random.bits() % limit
}

struct World {
    random: Random,
    store: Store<Words>,
    view: View<Words>,
    model: Model,
    watchers: Vec<Watcher>,
    now: u64,
    eviction: Eviction,
    keys: u64,
    /// The largest length of most values.
    length: u64,
    /// From here on the system has no more memory.
    memory_ends: Option<u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let geometry = Geometry::of_blocks(256 << below(&mut random, 2), 8 + seed as usize % 7);
        let words: Words = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
        let eviction = if below(&mut random, 2) == 0 { Eviction::Lru } else { Eviction::None };
        let memory_ends = (below(&mut random, 6) == 0).then(|| 600 + below(&mut random, words.len() as u64));
        let reserve = Box::new(move |range: std::ops::Range<usize>| {
            memory_ends.is_none_or(|end| range.end as u64 <= end || range.start == 0)
        });
        let store = Store::create(Arc::clone(&words), geometry, (seed, !seed), eviction, reserve).unwrap();
        let view = View::new(words).unwrap();
        let keys = [5, 40, 2000][seed as usize % 3];
        let length = [10, 60, 250][below(&mut random, 3) as usize];
        let model = Model::new(&view);
        Self { random, store, view, model, watchers: Vec::new(), now: 1, eviction, keys, length, memory_ends }
    }

    fn key(&mut self) -> Vec<u8> {
        let number = below(&mut self.random, self.keys);
        // Some keys are long, and several share prefixes.
        format!("{}:{number}{}", number % 3, "x".repeat((number % 11) as usize * 3)).into_bytes()
    }

    fn lifetime(&mut self) -> Lifetime {
        match below(&mut self.random, 6) {
            0 => Lifetime::Keep,
            1 => Lifetime::Ms(below(&mut self.random, 50)),
            _ => Lifetime::Forever,
        }
    }

    fn condition(&mut self, key: &[u8]) -> Condition {
        match below(&mut self.random, 8) {
            0 => Condition::Revision(0),
            1 => Condition::Revision(self.model.revision_of(key, self.now)),
            2 => Condition::Revision(below(&mut self.random, 100)),
            _ => Condition::Any,
        }
    }

    fn act(&mut self, tally: &mut Tally) {
        let count = if below(&mut self.random, 4) == 0 { 1 + below(&mut self.random, 4) } else { 1 };
        let keys: Vec<Vec<u8>> = (0..count).map(|_| self.key()).collect();
        let longest = self.view.geometry().max_record() as u64 * 8;
        let length = match below(&mut self.random, 30) {
            0 => below(&mut self.random, longest + 100),
            _ => below(&mut self.random, self.length),
        };
        let value: Vec<u8> = (0..length).map(|_| self.random.bits() as u8).collect();
        let ops: Vec<Op<'_>> = keys
            .iter()
            .map(|key| {
                let (lifetime, condition) = (self.lifetime(), self.condition(key));
                match below(&mut self.random, 20) {
                    0..11 => Op::Set { key, kind: 9, value: &value, lifetime, condition },
                    11 | 12 => Op::Set { key, kind: NUMBER, value: &[0; 8], lifetime, condition },
                    13 => Op::Delete { key, condition },
                    14 | 15 => Op::Touch { key, lifetime },
                    16 | 17 => {
                        let by = if below(&mut self.random, 4) == 0 { f64::MAX } else { 1.5 };
                        Op::Increment { key, by, initial: 2.0, lifetime }
                    }
                    18 => Op::Check { key, condition },
                    _ if count == 1 && below(&mut self.random, 6) == 0 => {
                        Op::Clear { prefix: &key[..below(&mut self.random, 3) as usize] }
                    }
                    _ => Op::Set { key, kind: 8, value: &[], lifetime, condition },
                }
            })
            .collect();
        let spared = below(&mut self.random, 3);
        let outcome = self.store.apply(&ops, self.now, &mut |hash| hash % 3 < spared);
        match outcome.status {
            Status::Done => tally.done += 1,
            Status::Unmet => tally.unmet += 1,
            Status::Full => tally.full += 1,
            Status::TooLarge => tally.too_large += 1,
            Status::NotNumber => tally.not_number += 1,
            // The requests are valid, and there is no server.
            Status::Invalid | Status::Disconnected | Status::ServerFull | Status::ServerRefused => {
                panic!("{ops:?}")
            }
        }
        let may_evict = self.eviction == Eviction::Lru;
        self.model.check(&self.view, &ops, outcome, self.now, may_evict, self.memory_ends.is_some());
        self.store.check();
    }

    fn read(&mut self) {
        let key = self.key();
        let mut value = Value::default();
        let found = self.view.get(self.view.key(&key), || self.now, &mut value).unwrap();
        let expected = self.model.get(&key, self.now);
        assert_eq!(found.then_some(&value), expected.as_ref(), "{key:?}");
    }

    fn snapshot(&self) {
        let (revision, entries) =
            snapshot(&self.view, b"1", self.now, true).expect("nobody writes meanwhile");
        assert_eq!(revision, self.store.revision());
        let found: Vec<_> = entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        assert_eq!(found, self.model.with_prefix(b"1", self.now));
    }

    fn watch(&mut self) {
        if self.watchers.len() == 6 {
            self.watchers.swap_remove(below(&mut self.random, 6) as usize);
        }
        let filter = match below(&mut self.random, 3) {
            0 => Filter::Prefix(Vec::new()),
            1 => Filter::Prefix(b"2:".to_vec()),
            _ => Filter::Key(self.key()),
        };
        let history = below(&mut self.random, 2) == 0;
        let known = self.model.revision();
        let since = match below(&mut self.random, 6) {
            0 | 1 => Some(known),
            2 => Some(known.saturating_sub(below(&mut self.random, 30))),
            _ => None,
        };
        self.watchers.push(Watcher::new(&self.view, filter, history, since, &self.model));
    }

    fn step(&mut self, tally: &mut Tally) {
        match below(&mut self.random, 20) {
            0 => self.now += below(&mut self.random, 30),
            1 => {
                self.store.expire(self.now);
                // Also if there was no memory: the thread would try without pause.
                assert!(self.store.next_expiry().is_none_or(|at| at > self.now), "it is done for now");
                tally.expired += self.model.check_expiry(&self.view, self.now);
            }
            2 => self.watch(),
            3 => self.snapshot(),
            4..7 => self.read(),
            _ => self.act(tally),
        }
        if self.model.lost {
            return;
        }
        for watcher in &mut self.watchers {
            // Most of the time it is busy with something else.
            if below(&mut self.random, 20) != 0 {
                continue;
            }
            let effort = below(&mut self.random, 4) * 300;
            if !watcher.follow(&self.view, &self.model, effort as usize) {
                tally.compacted += 1;
            }
        }
    }

    /// A store restored from a snapshot is the same, with any clock, except for keys that have expired
    /// meanwhile.
    fn restart(&mut self) {
        let (wall, later, now) = (5_000_000, below(&mut self.random, 60), 77);
        let (revision, entries) = snapshot(&self.view, b"", self.now, true).expect("nobody writes meanwhile");
        let entries: Vec<Entry> = entries
            .into_iter()
            .map(|LogEntry { key, value, .. }| {
                let expires = if value.expires == 0 { 0 } else { wall + value.expires - self.now };
                Entry { key, kind: value.kind, value: value.bytes, expires }
            })
            .collect();
        let kept = Snapshot::decode(&Snapshot { revision, entries }.encode()).unwrap();
        let words: Words = (0..self.view.geometry().words()).map(|_| AtomicU64::new(0)).collect();
        let (geometry, reserve) = (*self.view.geometry(), Box::new(|_| true));
        let mut store = Store::create(Arc::clone(&words), geometry, (1, 2), Eviction::None, reserve).unwrap();
        assert_eq!(store.restore(&kept, wall + later, now), Status::Done);
        store.check();
        let (again, entries) = snapshot(&View::new(words).unwrap(), b"", now, true).unwrap();
        assert!(again > revision && again == store.revision());
        let unknown = |since| {
            Cursor::new(store.view(), Filter::Prefix(Vec::new()), Start::Since(since), true).is_none()
        };
        assert!(unknown(revision) && unknown(revision + 1_000_000) && !unknown(again));
        let mut expected = kept.entries;
        expected.retain(|entry| entry.expires == 0 || entry.expires > wall + later);
        let found: Vec<Entry> = entries
            .into_iter()
            .map(|LogEntry { key, value, .. }| {
                let expires = if value.expires == 0 { 0 } else { wall + later + value.expires - now };
                Entry { key, kind: value.kind, value: value.bytes, expires }
            })
            .collect();
        assert_eq!(found, expected);
    }

    fn end(mut self, tally: &mut Tally) {
        self.restart();
        for watcher in &mut self.watchers {
            while !watcher.follow(&self.view, &self.model, usize::MAX) {
                tally.compacted += 1;
            }
            watcher.check(&self.model);
        }
        tally.evicted += self.view.field(Field::Evicted);
        tally.grown += u64::from(self.view.field(Field::IndexBits) > 8);
        self.now += 1000;
        while self.store.next_expiry().is_some_and(|at| at <= self.now) && self.memory_ends.is_none() {
            self.store.expire(self.now);
        }
        tally.expired += self.model.check_expiry(&self.view, self.now);
        self.snapshot();
        self.store.check();
    }
}

#[test]
fn a_store_matches_its_model_and_watchers_see_all_changes() {
    let seeds = seeds(SEEDS);
    let mut tally = Tally::default();
    'seeds: for seed in seeds.each() {
        let mut world = World::new(seed.number);
        for _ in 0..STEPS {
            world.step(&mut tally);
            if world.model.lost {
                tally.lost += 1;
                continue 'seeds;
            }
        }
        world.end(&mut tally);
    }
    if !seeds.are_given() {
        let Tally { done, unmet, full, too_large, not_number, evicted, expired, compacted, grown, lost } =
            tally;
        let all = [done, unmet, full, too_large, not_number, evicted, expired, compacted, grown];
        assert!(lost < SEEDS / 10, "most are played to the end: {tally:?}");
        assert!(all.iter().all(|count| *count >= 5), "everything has happened: {tally:?}");
    }
}
