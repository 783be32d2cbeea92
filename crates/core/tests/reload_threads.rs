//! Walks along a store, on threads of their own, while all of its contents are replaced again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rcluster_core::store::cursor::{Cursor, Filter, Progress, Start};
use rcluster_core::store::geometry::Geometry;
use rcluster_core::store::ops::Eviction;
use rcluster_core::store::record::Change;
use rcluster_core::store::view::{LogEntry, View};
use rcluster_core::store::writer::Store;

type Words = Arc<[AtomicU64]>;

const KEYS: u64 = 200;
const ROUNDS: u64 = 400;
/// Revisions in each round.
const STEP: u64 = 1000;

/// A stored value, as the server has it.
fn kept(revision: u64, value: u64) -> Vec<u8> {
    #[allow(clippy::cast_precision_loss, reason = "the revisions are small")]
    let revision = revision as f64;
    [&revision.to_le_bytes()[..], &0_f64.to_le_bytes(), &[2], &value.to_le_bytes()].concat()
}

/// The keys of a round: half of them are in every second round only.
fn keys(round: u64) -> impl Iterator<Item = u64> {
    (0..KEYS).filter(move |key| key % 2 == 0 || round.is_multiple_of(2))
}

/// All values of a round are its number. In every third round, some of their revisions are older than those before.
fn contents(round: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let base = if round.is_multiple_of(3) { round.saturating_sub(2) } else { round } * STEP;
    keys(round).map(|key| (key.to_string().into_bytes(), kept(base + key + 1, round))).collect()
}

/// Follows the store until the writer ends. Whenever the walk knows the store, that is one of the rounds, and no change
/// follows but the report that everything is replaced. Returns how often it knew the store.
fn follow(view: &View<Words>, history: bool, is_over: &AtomicBool) -> u64 {
    let (mut entry, mut synced) = (LogEntry::default(), 0);
    let mut start = Start::Snapshot;
    while !is_over.load(Ordering::Relaxed) {
        let Some(mut cursor) = Cursor::new(view, Filter::Prefix(Vec::new()), start, history) else {
            start = Start::Snapshot;
            continue;
        };
        let (mut copy, mut knows) = (BTreeMap::new(), start != Start::Snapshot);
        loop {
            match cursor.next(view, &mut entry, 300).unwrap() {
                Progress::Change => {
                    assert!(!knows, "{:?} of {:?} after the walk knew the store", entry.change, entry.key);
                    assert_eq!(entry.change, Change::Set);
                    let value = u64::from_le_bytes(entry.value.bytes.as_slice().try_into().unwrap());
                    copy.insert(entry.key.clone(), value);
                }
                Progress::Synced(revision) => {
                    knows = true;
                    synced += 1;
                    if start == Start::Snapshot {
                        let round = revision / STEP;
                        let wanted = keys(round).map(|key| (key.to_string().into_bytes(), round)).collect();
                        assert_eq!(copy, wanted, "at revision {revision}");
                    }
                    // The next walk begins where this one ends, without the values.
                    start = Start::Since(revision);
                }
                Progress::More => {}
                Progress::Idle if is_over.load(Ordering::Relaxed) => break,
                Progress::Idle => std::hint::spin_loop(),
                Progress::Compacted => {
                    start = if synced % 2 == 0 { start } else { Start::Snapshot };
                    break;
                }
            }
        }
    }
    synced
}

#[test]
fn walks_see_all_of_a_replacement_or_nothing() {
    let geometry = Geometry::of_blocks(1024, 32);
    let words: Words = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    let mut store =
        Store::create(Arc::clone(&words), geometry, (1, 2), Eviction::None, Box::new(|_| true)).unwrap();
    store.reload(STEP - 1, &contents(0), 0, true).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers = [false, true].map(|history| {
            let view = View::new(Arc::clone(&words)).unwrap();
            let is_over = &is_over;
            scope.spawn(move || follow(&view, history, is_over))
        });
        for round in 1..=ROUNDS {
            store.reload(round * STEP + STEP - 1, &contents(round), 0, false).unwrap();
            if round % 5 == 0 {
                thread::yield_now();
            }
        }
        is_over.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0, "the walk knew the store at least once");
        }
    });
    store.check();
}
