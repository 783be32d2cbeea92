//! Every order in which a reader and the writer of a store can meet, and a process and the writer at a ring.
//!
//! loom looks for races with the last access to the same word only, and the writer reads most words before it writes
//! them, which hides what a reader has read before. So here the writer reads by operations that count as writing.
#![cfg(rcluster_loom)]

use std::sync::Arc;
use std::time::Duration;

use loom::thread;
use rcluster_core::store::atomic::{AtomicU64, Ordering, Words as Readable};
use rcluster_core::store::geometry::Geometry;
use rcluster_core::store::ops::{Condition, Eviction, Lifetime, Op, Outcome, Status};
use rcluster_core::store::ring::{Inbox, Pushed, Requests, Wanted};
use rcluster_core::store::view::{Value, View};
use rcluster_core::store::writer::Store;

type Words = Arc<[AtomicU64]>;

fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound = builder.preemption_bound.or(Some(1));
    // Not all orders of the longer ones can be tried in a time that anybody waits for.
    builder.max_duration = builder.max_duration.or(Some(Duration::from_secs(60)));
    builder.check(test);
}

fn words(count: usize) -> Words {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// The memory as the writer sees it.
struct Written(Words);

impl Readable for Written {
    fn load(&self, at: usize, order: Ordering) -> u64 {
        self.0[at].fetch_or(0, order)
    }
}

impl AsRef<[AtomicU64]> for Written {
    fn as_ref(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// Plays `write` and `read` at the same time.
fn race(
    prepare: fn(&mut Store<Written>),
    write: fn(&mut Store<Written>),
    read: fn(&dyn Fn(&[u8]) -> Option<u64>),
) {
    model(move || {
        let geometry = Geometry::of_blocks(32, 6);
        let words = words(geometry.words());
        let written = Written(Arc::clone(&words));
        let store = Store::create(written, geometry, (1, 2), Eviction::None, Box::new(|_| true));
        let mut store = store.unwrap();
        prepare(&mut store);
        let view = View::new(words).unwrap();
        let writer = thread::spawn(move || write(&mut store));
        read(&|key| get(&view, key));
        writer.join().unwrap();
    });
}

/// Two words that are the same.
fn set(store: &mut Store<Written>, key: &[u8], number: u64) {
    let value: Vec<u8> = [number.to_le_bytes(), number.to_le_bytes()].concat();
    let (lifetime, condition) = (Lifetime::Forever, Condition::Any);
    let outcome =
        store.apply(&[Op::Set { key, kind: 0, value: &value, lifetime, condition }], 0, &mut |_| false);
    assert_eq!(outcome.status, Status::Done);
}

fn get(view: &View<impl Readable>, key: &[u8]) -> Option<u64> {
    let mut value = Value::default();
    let found = view.get(view.key(key), || 0, &mut value).unwrap();
    let (first, second) = value.bytes.split_at_checked(8)?;
    assert_eq!(first, second, "the two halves belong together");
    found.then(|| u64::from_le_bytes(first.try_into().unwrap()))
}

#[test]
fn a_reader_sees_whole_values_and_never_an_older_one_behind_a_newer() {
    race(
        |store| set(store, b"a", 1),
        |store| {
            set(store, b"a", 2);
            set(store, b"b", 3);
        },
        |get| {
            let first = get(b"a").unwrap();
            let second = get(b"a").unwrap();
            assert!((1..=2).contains(&first) && first <= second && second <= 2);
        },
    );
}

#[test]
#[ignore = "a block is used again only behind many writes: it takes hours"]
fn a_reader_notices_that_a_block_is_used_again() {
    race(
        |store| (1..=14).for_each(|number| set(store, b"a", number)),
        |store| (15..=32).for_each(|number| set(store, b"a", number)),
        |get| assert!((14..=32).contains(&get(b"a").unwrap())),
    );
}

#[test]
fn a_key_is_found_while_it_moves_in_the_index() {
    // Their homes are the same, so the second moves when the first is deleted.
    const KEYS: [&[u8]; 2] = [b"14", b"5"];
    race(
        |store| {
            set(store, KEYS[0], 1);
            set(store, KEYS[1], 2);
        },
        |store| {
            store.apply(&[Op::Delete { key: KEYS[0], condition: Condition::Any }], 0, &mut |_| false);
        },
        |get| assert_eq!(get(KEYS[1]), Some(2)),
    );
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
