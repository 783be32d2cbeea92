//! Every order in which a reader and the writer of a store can meet, and a process and the writer at a ring.
#![cfg(rcluster_loom)]

use std::sync::Arc;

use loom::thread;
use rcluster::core::store::atomic::AtomicU64;
use rcluster::core::store::geometry::Geometry;
use rcluster::core::store::ops::{Condition, Eviction, Lifetime, Op, Outcome, Status};
use rcluster::core::store::ring::{Inbox, Pushed, Requests, Wanted};
use rcluster::core::store::view::{Value, View};
use rcluster::core::store::writer::Store;

type Words = Arc<[AtomicU64]>;

fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(test);
}

fn words(count: usize) -> Words {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

fn store() -> (Store<Words>, View<Words>) {
    let geometry = Geometry::of_blocks(64, 6);
    let words = words(geometry.words());
    let store = Store::create(Arc::clone(&words), geometry, (1, 2), Eviction::None, Box::new(|_| true));
    let view = View::new(words).unwrap();
    (store.unwrap(), view)
}

/// Two words that are the same.
fn set(store: &mut Store<Words>, key: &[u8], number: u64) {
    let value: Vec<u8> = [number.to_le_bytes(), number.to_le_bytes()].concat();
    let (lifetime, condition) = (Lifetime::Forever, Condition::Any);
    let outcome =
        store.apply(&[Op::Set { key, kind: 0, value: &value, lifetime, condition }], 0, &mut |_| false);
    assert_eq!(outcome.status, Status::Done);
}

fn get(view: &View<Words>, key: &[u8]) -> Option<u64> {
    let mut value = Value::default();
    let found = view.get(view.key(key), || 0, &mut value).unwrap();
    let (first, second) = value.bytes.split_at_checked(8)?;
    assert_eq!(first, second, "the two halves belong together");
    found.then(|| u64::from_le_bytes(first.try_into().unwrap()))
}

#[test]
fn a_reader_sees_whole_values_and_never_an_older_one_behind_a_newer() {
    model(|| {
        let (mut store, view) = store();
        set(&mut store, b"a", 1);
        let writer = thread::spawn(move || {
            set(&mut store, b"a", 2);
            set(&mut store, b"b", 3);
        });
        let first = get(&view, b"a").unwrap();
        let second = get(&view, b"a").unwrap();
        assert!((1..=2).contains(&first) && first <= second && second <= 2);
        writer.join().unwrap();
        assert_eq!(get(&view, b"a"), Some(2));
    });
}

#[test]
fn a_reader_notices_that_a_block_is_used_again() {
    model(|| {
        let (mut store, view) = store();
        // The block in which the first value is comes to be used again while the writer goes on.
        for number in 1..=30 {
            set(&mut store, b"a", number);
        }
        let writer = thread::spawn(move || {
            for number in 31..=60 {
                set(&mut store, b"a", number);
            }
        });
        let seen = get(&view, b"a").unwrap();
        assert!((30..=60).contains(&seen));
        writer.join().unwrap();
    });
}

#[test]
fn a_key_is_found_while_it_moves_in_the_index() {
    model(|| {
        let (mut store, view) = store();
        // Two keys with the same home, so that the second moves when the first is deleted.
        let home = |number: u64| view.key(&number.to_le_bytes()).hash >> 56;
        let pair = (1..).find_map(|a| (0..a).find(|b| home(a) == home(*b)).map(|b| (a, b)));
        let (a, b) = pair.map(|(a, b)| (a.to_le_bytes(), b.to_le_bytes())).unwrap();
        set(&mut store, &a, 1);
        set(&mut store, &b, 2);
        let writer = thread::spawn(move || {
            store.apply(&[Op::Delete { key: &a, condition: Condition::Any }], 0, &mut |_| false);
        });
        assert_eq!(get(&view, &b), Some(2));
        writer.join().unwrap();
        assert_eq!((get(&view, &a), get(&view, &b)), (None, Some(2)));
    });
}

#[test]
fn nobody_sleeps_while_there_is_something_to_do() {
    model(|| {
        let page = words(32 + 1024 + 3 * 1024 + 64);
        let mut requests = Requests::new(Arc::clone(&page)).unwrap();
        let mut inbox = Inbox::new(page).unwrap();
        let writer = thread::spawn(move || {
            let mut request = Vec::new();
            let mut answered = 0;
            let mut woken = false;
            if inbox.next(&mut request).unwrap() {
                assert_eq!(request, 7_u64.to_le_bytes());
                inbox.answer(Outcome { status: Status::Done, revision: 9, number: 0.0 });
                answered = 1;
                woken = inbox.take_wanted(Wanted::Answers);
            }
            (inbox.sleep(), answered, woken)
        });
        let wake = requests.push(&[7]);
        requests.want(Wanted::Answers);
        let answer = requests.answer();
        let (asleep, answered, woken) = writer.join().unwrap();
        if answered == 0 && asleep {
            assert_eq!(wake, Pushed::Done { wake: true }, "the writer sleeps over a request");
        }
        if answered == 1 {
            assert!(answer.is_some() || woken, "the process sleeps over an answer");
        }
    });
}
