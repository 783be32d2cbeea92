//! The model of a store: a map, and the list of all changes.

use std::collections::BTreeMap;

use rcluster_core::store::cursor::{Cursor, Filter, Progress, Start};
use rcluster_core::store::ops::{Condition, Lifetime, Op, Outcome, Status};
use rcluster_core::store::record::Change;
use rcluster_core::store::view::{LogEntry, Value, View};
use rcluster_core::store::writer::NUMBER;

use crate::Words;

type State = BTreeMap<Vec<u8>, Value>;

pub(crate) struct Model {
    state: State,
    /// All changes, in order.
    pub(crate) history: Vec<LogEntry>,
    cursor: Cursor,
    /// One operation has cleaned up the whole log, so the expected state is unknown.
    pub(crate) lost: bool,
}

/// Whether an operation reads or writes the key.
fn is_about(op: &Op<'_>, key: &[u8]) -> bool {
    match op {
        Op::Clear { prefix } => key.starts_with(prefix),
        _ => op.key() == key,
    }
}

/// The expected result of an operation.
struct Expected {
    status: Status,
    revision: u64,
    number: Option<f64>,
    changes: Vec<LogEntry>,
}

impl Model {
    pub(crate) fn new(view: &View<Words>) -> Self {
        let cursor = Cursor::new(view, Filter::Prefix(Vec::new()), Start::Since(0), true).unwrap();
        Self { state: State::new(), history: Vec::new(), cursor, lost: false }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.history.last().map_or(0, |entry| entry.value.revision)
    }

    pub(crate) fn get(&self, key: &[u8], now: u64) -> Option<Value> {
        self.state.get(key).filter(|value| value.expires == 0 || value.expires > now).cloned()
    }

    pub(crate) fn revision_of(&self, key: &[u8], now: u64) -> u64 {
        self.get(key, now).map_or(0, |value| value.revision)
    }

    pub(crate) fn with_prefix(&self, prefix: &[u8], now: u64) -> Vec<(Vec<u8>, Value)> {
        let all = self.state.keys().filter(|key| key.starts_with(prefix));
        all.filter_map(|key| Some((key.clone(), self.get(key, now)?))).collect()
    }

    /// All keys, whether or not they have expired.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The changes of the store since the last call.
    fn news(&mut self, view: &View<Words>) -> Vec<LogEntry> {
        let mut news = Vec::new();
        let mut entry = LogEntry::default();
        loop {
            match self.cursor.next(view, &mut entry, usize::MAX).unwrap() {
                Progress::Change => news.push(entry.clone()),
                Progress::Synced(_) => {}
                Progress::Idle => return news,
                Progress::Compacted => {
                    self.lost = true;
                    return Vec::new();
                }
                Progress::More => unreachable!("all effort is spent"),
            }
        }
    }

    /// Compares the changes and the outcome of an operation with the model.
    pub(crate) fn check(
        &mut self,
        view: &View<Words>,
        ops: &[Op<'_>],
        outcome: Outcome,
        now: u64,
        may_evict: bool,
        may_lack_memory: bool,
    ) {
        let mut news = self.news(view);
        if self.lost {
            return;
        }
        // What has expired among the keys is removed first.
        let expired = news.iter().take_while(|entry| entry.change == Change::Expire).count();
        for entry in news.drain(..expired) {
            assert!(ops.iter().any(|op| is_about(op, &entry.key)), "{ops:?}");
            self.expire(entry, now);
        }
        let is_over = |value: &Value| value.expires != 0 && value.expires <= now;
        let mut kept = self.state.iter().filter(|(key, _)| ops.iter().any(|op| is_about(op, key)));
        let without_room = kept.any(|(_, value)| is_over(value));
        assert!(!without_room || outcome.status == Status::Full, "{ops:?}");
        // Evictions come before the operation.
        let evicted = news.iter().take_while(|entry| entry.change == Change::Evict).count();
        assert!(evicted == 0 || may_evict);
        let expected = self.expect(ops, now);
        for entry in news.drain(..evicted) {
            assert!(self.state.contains_key(&entry.key), "what is evicted was there");
            self.take(entry);
        }
        match outcome.status {
            Status::Full => {
                assert_eq!(news, []);
                assert!(expected.status == Status::Done || without_room);
                let used: usize =
                    self.state.iter().map(|(key, value)| 5 + (key.len() + value.bytes.len()) / 8).sum();
                let share = used * 100 / view.geometry().live_limit();
                assert!(may_lack_memory || share > 45, "full at {share} %");
            }
            Status::TooLarge => {
                assert_eq!(news, []);
                // Without the words around the key and the value.
                let longest = view.geometry().max_record() * 8 - 112;
                assert!(ops.iter().any(|op| matches!(op, Op::Set { value, .. } if value.len() > longest)
                    || matches!(op, Op::Touch { .. })));
            }
            status => {
                assert_eq!(status, expected.status, "{ops:?}");
                if let Some(number) = expected.number {
                    assert_eq!(outcome.number.to_bits(), number.to_bits());
                }
                assert_eq!(news.len(), expected.changes.len(), "{ops:?}");
                for (entry, mut expected) in news.into_iter().zip(expected.changes) {
                    expected.value.revision += evicted as u64;
                    assert_eq!(entry, expected);
                    assert_eq!(outcome.revision, entry.value.revision);
                    self.take(entry);
                }
                if status != Status::Done {
                    assert_eq!(outcome.revision, expected.revision);
                }
            }
        }
    }

    /// Checks that keys reported as expired have expired. Returns their number.
    pub(crate) fn check_expiry(&mut self, view: &View<Words>, now: u64) -> u64 {
        let news = self.news(view);
        let count = news.len() as u64;
        for entry in news {
            self.expire(entry, now);
        }
        count
    }

    fn expire(&mut self, entry: LogEntry, now: u64) {
        assert_eq!(entry.change, Change::Expire);
        let value = self.state.get(&entry.key).expect("what expires was there");
        assert!(value.expires != 0 && value.expires <= now);
        self.take(entry);
    }

    fn take(&mut self, entry: LogEntry) {
        let revision = self.revision();
        assert!(entry.value.revision == revision || entry.value.revision == revision + 1, "no gap");
        apply(&mut self.state, &entry);
        self.history.push(entry);
    }

    fn expect(&self, ops: &[Op<'_>], now: u64) -> Expected {
        let next = self.revision() + 1;
        let mut state = self.state.clone();
        let mut changes: Vec<LogEntry> = Vec::new();
        let mut number = None;
        for op in ops {
            let key = op.key();
            let alive = |state: &State| {
                state.get(key).filter(|value| value.expires == 0 || value.expires > now).cloned()
            };
            let current = alive(&state);
            let revision = current.as_ref().map_or(0, |value| value.revision);
            // The other operations are not executed, either.
            let before = alive(&self.state).map_or(0, |value| value.revision);
            let refused = |status| Expected { status, revision: before, number: None, changes: Vec::new() };
            let until = |lifetime| match lifetime {
                Lifetime::Forever => 0,
                Lifetime::Keep => current.as_ref().map_or(0, |value| value.expires),
                Lifetime::Ms(ms) => now + ms,
            };
            let condition = match *op {
                Op::Set { condition, .. } | Op::Delete { condition, .. } | Op::Check { condition, .. } => {
                    condition
                }
                _ => Condition::Any,
            };
            if matches!(condition, Condition::Revision(wanted) if wanted != revision) {
                return refused(Status::Unmet);
            }
            let set = |kind, bytes: Vec<u8>, expires| LogEntry {
                change: Change::Set,
                key: key.to_vec(),
                value: Value { kind, bytes, revision: next, expires },
                ..LogEntry::default()
            };
            let removal = |change| LogEntry {
                change,
                key: key.to_vec(),
                value: Value { revision: next, ..Value::default() },
                ..LogEntry::default()
            };
            let change = match *op {
                Op::Check { .. } => continue,
                Op::Clear { prefix } => {
                    let count = state.keys().filter(|key| key.starts_with(prefix)).count();
                    number = Some(count as f64);
                    if count == 0 {
                        continue;
                    }
                    removal(Change::Clear)
                }
                Op::Set { kind, value, lifetime, .. } => set(kind, value.to_vec(), until(lifetime)),
                Op::Delete { .. } | Op::Touch { .. } if current.is_none() => {
                    return refused(Status::Unmet);
                }
                Op::Delete { .. } => removal(Change::Delete),
                Op::Touch { lifetime, .. } => {
                    let value = current.clone().unwrap();
                    set(value.kind, value.bytes, until(lifetime))
                }
                Op::Increment { by, initial, lifetime, .. } => {
                    let (before, expires) = match &current {
                        None => (initial, until(lifetime)),
                        Some(value) if value.kind == NUMBER => {
                            (f64::from_le_bytes(value.bytes.as_slice().try_into().unwrap()), value.expires)
                        }
                        Some(_) => return refused(Status::NotNumber),
                    };
                    if !(before + by).is_finite() {
                        return refused(Status::NotNumber);
                    }
                    number = Some(before + by);
                    set(NUMBER, (before + by).to_le_bytes().to_vec(), expires)
                }
            };
            apply(&mut state, &change);
            changes.retain(|earlier| earlier.key != change.key);
            changes.push(change);
        }
        changes.retain(|change| change.change != Change::Delete || self.state.contains_key(&change.key));
        Expected { status: Status::Done, revision: next, number, changes }
    }
}

/// Applies a change to a map.
pub(crate) fn apply(state: &mut State, entry: &LogEntry) {
    match entry.change {
        Change::Set => drop(state.insert(entry.key.clone(), entry.value.clone())),
        Change::Clear => state.retain(|key, _| !key.starts_with(&entry.key)),
        Change::Delete | Change::Expire | Change::Evict => drop(state.remove(&entry.key)),
    }
}
