//! A watcher that follows a store and keeps a copy of it.

use std::collections::BTreeMap;

use rcluster_core::store::cursor::{Cursor, Filter, Progress, Start};
use rcluster_core::store::record::Change;
use rcluster_core::store::view::{LogEntry, Value, View};

use crate::Words;
use crate::model::{Model, apply};

pub(crate) struct Watcher {
    filter: Filter,
    history: bool,
    cursor: Cursor,
    copy: BTreeMap<Vec<u8>, Value>,
    pub(crate) synced: bool,
    /// The position in the model's history, if the watcher must get all of it.
    told: Option<usize>,
    /// The position in the model's history at which it began.
    began: usize,
    /// The position in the model's history up to which it knew the store before.
    knew: usize,
    /// Whether it began with the values.
    has_values: bool,
    /// How many changes it got before it was synced.
    pub(crate) before: usize,
}

fn is_wanted(filter: &Filter, key: &[u8]) -> bool {
    match filter {
        Filter::Key(wanted) => wanted == key,
        Filter::Prefix(prefix) => key.starts_with(prefix),
    }
}

impl Watcher {
    pub(crate) fn new(
        view: &View<Words>,
        filter: Filter,
        history: bool,
        since: Option<u64>,
        model: &Model,
    ) -> Self {
        let start = since.map_or(Start::Snapshot, Start::Since);
        let Some(cursor) = Cursor::new(view, filter.clone(), start, history) else {
            assert!(since.is_some_and(|since| since < model.revision()), "the last revision is known");
            return Self::new(view, filter, history, None, model);
        };
        let began = model.history.len();
        let mut watcher = Self {
            filter,
            history,
            cursor,
            copy: BTreeMap::new(),
            synced: false,
            told: None,
            began,
            knew: began,
            has_values: since.is_none(),
            before: 0,
        };
        if let Some(since) = since {
            // It knows the state at that revision.
            watcher.knew = model.history.partition_point(|entry| entry.value.revision <= since);
            for entry in &model.history[..watcher.knew] {
                apply(&mut watcher.copy, entry);
            }
            let filter = watcher.filter.clone();
            watcher.copy.retain(|key, _| is_wanted(&filter, key));
            watcher.told = history.then_some(watcher.knew);
        }
        watcher
    }

    fn wants(&self, key: &[u8]) -> bool {
        is_wanted(&self.filter, key)
    }

    fn wanted(&self, model: &Model) -> BTreeMap<Vec<u8>, Value> {
        let all = model.state().iter().filter(|(key, _)| self.wants(key));
        all.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Continues for some time. False if the log was removed by compaction: then the watcher has started again.
    pub(crate) fn follow(&mut self, view: &View<Words>, model: &Model, effort: usize) -> bool {
        let mut entry = LogEntry::default();
        let mut rest = effort;
        loop {
            match self.cursor.next(view, &mut entry, rest).unwrap() {
                Progress::Change => {
                    self.before += usize::from(!self.synced);
                    rest = rest.saturating_sub(40);
                    self.hear(&entry, model);
                }
                Progress::Synced(revision) => {
                    assert!(!self.synced, "once");
                    self.synced = true;
                    self.check_synced(revision, model);
                }
                Progress::Idle => {
                    assert!(self.synced);
                    return true;
                }
                Progress::More => return true,
                Progress::Compacted => {
                    *self = Self::new(view, self.filter.clone(), self.history, None, model);
                    return false;
                }
            }
        }
    }

    /// It knows the store as it was at the revision, or newer values.
    fn check_synced(&mut self, revision: u64, model: &Model) {
        let began = model.history[..self.began].last().map_or(0, |entry| entry.value.revision);
        let mut state = BTreeMap::new();
        let known = model.history.iter().take_while(|entry| entry.value.revision <= revision);
        let mut count = 0;
        for entry in known {
            apply(&mut state, entry);
            count += 1;
        }
        state.retain(|key, _| self.wants(key));
        if self.history {
            assert_eq!(self.copy, state, "all changes up to the revision");
            self.told.get_or_insert(count);
            return;
        }
        assert_eq!(revision, began, "what there was when it began, however much has been written since");
        let since = &model.history[self.knew..];
        let was_removed = |key: &Vec<u8>, revision| {
            since.iter().filter(|entry| entry.value.revision > revision).any(|entry| match entry.change {
                Change::Set => false,
                Change::Clear => key.starts_with(&entry.key),
                Change::Delete | Change::Expire | Change::Evict => *key == entry.key,
            })
        };
        for (key, value) in &state {
            match self.copy.get(key) {
                Some(copy) if copy.revision == value.revision => assert_eq!(copy, value),
                Some(copy) => assert!(copy.revision > revision || was_removed(key, value.revision), "newer"),
                None => assert!(was_removed(key, value.revision), "it has a value of each key"),
            }
        }
        let mut copy = self.copy.iter();
        let is_known =
            |(key, value): (&Vec<u8>, &Value)| state.contains_key(key) || value.revision > revision;
        assert!(copy.all(is_known), "nothing that was removed before");
        if self.has_values {
            assert_eq!(self.before, self.copy.len(), "one value of a key, and no removals");
        }
    }

    fn hear(&mut self, entry: &LogEntry, model: &Model) {
        assert!(entry.change == Change::Clear || self.wants(&entry.key), "only what was asked for");
        if let Some(known) = self.copy.get(&entry.key) {
            assert!(known.revision < entry.value.revision, "never backwards, and nothing twice");
        }
        if let Some(told) = &mut self.told {
            // The changes in between are of other keys.
            let wants = |other: &LogEntry| match (&self.filter, other.change) {
                (Filter::Key(key), Change::Clear) => key.starts_with(&other.key),
                (Filter::Prefix(prefix), Change::Clear) => {
                    prefix.starts_with(&other.key) || other.key.starts_with(prefix)
                }
                (Filter::Key(key), _) => *key == other.key,
                (Filter::Prefix(prefix), _) => other.key.starts_with(prefix),
            };
            while !wants(&model.history[*told]) {
                *told += 1;
            }
            assert_eq!(model.history[*told], *entry, "every change, in order");
            *told += 1;
        }
        apply(&mut self.copy, entry);
    }

    /// At the end, when all changes have been reported.
    pub(crate) fn check(&self, model: &Model) {
        assert!(self.synced);
        assert_eq!(self.copy, self.wanted(model));
    }
}
