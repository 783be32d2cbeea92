//! A store whose memory is read while, or after, something has overwritten words of it. Reading may find anything or say
//! that the memory is corrupt; it may not panic, and it comes to an end. Where nothing was overwritten it finds what was written.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use rcluster_core::store::atomic::{AtomicU64, Ordering};
use rcluster_core::store::cursor::{Cursor, Filter, Progress, Start, snapshot};
use rcluster_core::store::geometry::Geometry;
use rcluster_core::store::ops::{Condition, Eviction, Lifetime, Op, Status};
use rcluster_core::store::snapshot::Snapshot;
use rcluster_core::store::view::{LogEntry, Value, View};
use rcluster_core::store::writer::Store;

/// What bytes mean is nothing that a store knows, but of numbers.
const BYTES: u8 = 7;

#[derive(Arbitrary, Debug)]
enum Step {
    Set { key: u8, value: Vec<u8>, ms: Option<u16> },
    Delete { key: u8 },
    Clear,
    Increment { key: u8 },
    Overwrite { at: u32, word: u64 },
    Flip { at: u32, bit: u8 },
}

fn name(key: u8) -> Vec<u8> {
    vec![key; usize::from(key % 20) + 1]
}

fn run(steps: Vec<Step>) {
    let geometry = Geometry::of_blocks(256, 12);
    let words: Arc<[AtomicU64]> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    let created = Store::create(Arc::clone(&words), geometry, (1, 2), Eviction::Lru, Box::new(|_| true));
    let mut store = created.expect("it is large enough");
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    // The writer has its own memory of what it has written, and does not go on with what is no longer so.
    let (mut is_sound, mut now) = (true, 1);
    for step in steps {
        now += 1;
        let mut apply = |op: Op<'_>| is_sound.then(|| store.apply(&[op], now, &mut |_| false).status);
        match step {
            Step::Set { key, value, ms } => {
                let (key, value) = (name(key), &value[..value.len().min(300)]);
                let lifetime = ms.map_or(Lifetime::Forever, |ms| Lifetime::Ms(60_000 + u64::from(ms)));
                let op = Op::Set { key: &key, kind: BYTES, value, lifetime, condition: Condition::Any };
                if apply(op) == Some(Status::Done) {
                    model.insert(key, value.to_vec());
                }
            }
            Step::Delete { key } => {
                if apply(Op::Delete { key: &name(key), condition: Condition::Any }).is_some() {
                    model.remove(&name(key));
                }
            }
            Step::Clear => {
                if apply(Op::Clear { prefix: b"" }).is_some() {
                    model.clear();
                }
            }
            Step::Increment { key } => {
                let key = name(key);
                let op = Op::Increment { key: &key, by: 1.0, initial: 0.0, lifetime: Lifetime::Forever };
                if apply(op) == Some(Status::Done) {
                    let old = model.remove(&key).and_then(|bytes| bytes.try_into().ok());
                    let number = old.map_or(0.0, f64::from_le_bytes) + 1.0;
                    model.insert(key, number.to_le_bytes().to_vec());
                }
            }
            Step::Overwrite { at, word } => {
                is_sound = false;
                words[at as usize % words.len()].store(word, Ordering::Relaxed);
            }
            Step::Flip { at, bit } => {
                is_sound = false;
                words[at as usize % words.len()].fetch_xor(1 << (bit % 64), Ordering::Relaxed);
            }
        }
    }
    if is_sound {
        store.check();
    }
    read(&words, is_sound.then_some(&model), now);
}

/// Reads everything in each way that there is.
fn read(words: &Arc<[AtomicU64]>, model: Option<&BTreeMap<Vec<u8>, Vec<u8>>>, now: u64) {
    let Ok(view) = View::new(Arc::clone(words)) else { return assert!(model.is_none()) };
    let mut value = Value::default();
    for key in 0..=u8::MAX {
        let found = view.get(view.key(&name(key)), || now, &mut value);
        if let Some(model) = model {
            // Keys may have been evicted.
            let expected = model.get(&name(key));
            assert!(found == Ok(false) || found == Ok(true) && Some(&value.bytes) == expected);
        }
    }
    let all = snapshot(&view, b"", now, true);
    if let Some(model) = model {
        let (_, entries) = all.expect("nobody cleans it");
        assert!(entries.iter().all(|entry| model.get(&entry.key) == Some(&entry.value.bytes)));
    }
    for (start, history) in [(Start::Snapshot, false), (Start::Since(0), true), (Start::Since(3), false)] {
        for filter in [Filter::Prefix(Vec::new()), Filter::Key(name(7))] {
            let Some(mut cursor) = Cursor::new(&view, filter, start, history) else { continue };
            let mut entry = LogEntry::default();
            // Each step passes a word at least.
            for _ in 0..=2 * words.len() {
                match cursor.next(&view, &mut entry, 64) {
                    Ok(Progress::Idle | Progress::Compacted) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    // What was kept of a store is a file, which may have anything in it.
    if let Ok(kept) = Snapshot::decode(data) {
        assert_eq!(Snapshot::decode(&kept.encode()).map(|again| again.encode()), Ok(kept.encode()));
    }
    if let Ok(steps) = Vec::arbitrary(&mut Unstructured::new(data)) {
        run(steps);
    }
});
