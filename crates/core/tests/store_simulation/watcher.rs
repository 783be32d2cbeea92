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
    synced: bool,
    /// The position in the model's history, if the watcher must get all of it.
    told: Option<usize>,
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
        let cursor = Cursor::new(view, filter.clone(), start, history).expect("it is the last revision");
        let mut watcher = Self { filter, history, cursor, copy: BTreeMap::new(), synced: false, told: None };
        if since.is_some() {
            // It knows the initial state.
            watcher.copy = watcher.wanted(model);
            watcher.told = history.then_some(model.history.len());
        }
        watcher
    }

    fn wants(&self, key: &[u8]) -> bool {
        match &self.filter {
            Filter::Key(wanted) => wanted == key,
            Filter::Prefix(prefix) => key.starts_with(prefix),
        }
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
                    rest = rest.saturating_sub(40);
                    self.hear(&entry, model);
                }
                Progress::Synced(revision) => {
                    self.synced = true;
                    assert_eq!(revision, model.revision(), "nobody writes meanwhile");
                    assert_eq!(self.copy, self.wanted(model), "what has been told is the whole state");
                    if self.history && self.told.is_none() {
                        self.told = Some(model.history.len());
                    }
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
