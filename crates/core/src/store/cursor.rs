//! Follows the changes of a store by walking along its log.
//!
//! The log is the buffer, so a slow watcher costs no memory, neither here nor in the primary. A watcher that
//! needs only the newest state of each key does not get a record that was replaced: the replacement comes
//! later. If compaction overtakes a walk, the walk ends and reports that.

use super::atomic::{Ordering, Words};
use super::geometry::Field;
use super::record::Change;
use super::view::{Corrupt, LogEntry, Step, View};

/// The keys that a walk reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// This key alone.
    Key(Vec<u8>),
    /// All keys with this prefix.
    Prefix(Vec<u8>),
}

impl Filter {
    fn wants(&self, entry: &LogEntry) -> bool {
        match (self, entry.change) {
            // A clear of a prefix may affect keys that match the filter.
            (Self::Key(key), Change::Clear) => key.starts_with(&entry.key),
            (Self::Prefix(prefix), Change::Clear) => {
                prefix.starts_with(&entry.key) || entry.key.starts_with(prefix)
            }
            (Self::Key(key), _) => *key == entry.key,
            (Self::Prefix(prefix), _) => entry.key.starts_with(prefix),
        }
    }
}

/// How a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the values of all keys.
    Snapshot,
    /// After this revision.
    Since(u64),
}

/// The result of one step of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A change was copied.
    Change,
    /// Everything up to this revision has been reported. Returned once.
    Synced(u64),
    /// There are no more changes.
    Idle,
    /// The effort has been spent, and there are more changes.
    More,
    /// The next change is no longer in the log.
    Compacted,
}

/// A walk along the log.
#[derive(Clone, Debug)]
pub struct Cursor {
    filter: Filter,
    /// Whether every change is reported, and not only the newest of each key.
    history: bool,
    address: u64,
    /// The tail of the log when the walk began.
    begin: u64,
    /// Records before this address are the initial snapshot.
    live_from: u64,
    /// The watcher knows everything up to this revision.
    since: u64,
    last: u64,
    synced: bool,
}

impl Cursor {
    /// Begins a walk. `None` if the log does not reach back to the revision, or the store has not reached it:
    /// then it is a revision of an earlier store of the name, whose changes say nothing about this one.
    #[must_use]
    pub fn new(view: &View<impl Words>, filter: Filter, start: Start, history: bool) -> Option<Self> {
        // The order matters: the walk itself finds what is written in between.
        let begin = view.field(Field::Tail);
        let head = view.field(Field::Head);
        let compacted = view.field(Field::Compacted);
        let (since, live_from) = match start {
            Start::Snapshot => (0, head),
            Start::Since(revision) => (revision, begin),
        };
        let known = compacted..=view.field(Field::Revision);
        if start != Start::Snapshot && !known.contains(&since) {
            return None;
        }
        let (last, synced) = (since.max(compacted), false);
        Some(Self { filter, history, address: begin, begin, live_from, since, last, synced })
    }

    /// Advances to the next change and copies it to `entry`. `effort` limits the words of the log to pass.
    pub fn next(
        &mut self,
        view: &View<impl Words>,
        entry: &mut LogEntry,
        mut effort: usize,
    ) -> Result<Progress, Corrupt> {
        loop {
            if self.address >= view.field(Field::Head) {
                if self.synced {
                    return Ok(Progress::Idle);
                }
                self.synced = true;
                return Ok(Progress::Synced(self.last));
            }
            if effort == 0 {
                return Ok(Progress::More);
            }
            let place = self.address;
            // The record is before the head, so if it is missing, it has been removed by compaction.
            let words = match view.step(place, entry) {
                Err(_) => return Ok(Progress::Compacted),
                Ok(Step::Pad(words)) => {
                    self.address += words as u64;
                    continue;
                }
                Ok(Step::Record(words)) => words,
            };
            self.address += words as u64;
            effort = effort.saturating_sub(words);
            self.last = self.last.max(entry.value.revision);
            if self.is_told(view, entry, place)? {
                return Ok(Progress::Change);
            }
        }
    }

    fn is_told(&self, view: &View<impl Words>, entry: &LogEntry, place: u64) -> Result<bool, Corrupt> {
        if !self.filter.wants(entry) || entry.value.revision <= self.since {
            return Ok(false);
        }
        if place < self.live_from {
            // The initial snapshot: each current value, at the first place at which the walk finds it.
            let passed = entry.moved && entry.origin >= self.begin;
            return Ok(entry.change == Change::Set && !passed && is_current(view, entry)?);
        }
        if entry.moved {
            return Ok(false);
        }
        Ok(self.history || entry.change == Change::Clear || is_current(view, entry)?)
    }
}

/// Whether no later change has replaced this one.
fn is_current(view: &View<impl Words>, entry: &LogEntry) -> Result<bool, Corrupt> {
    let revision = view.revision_of(view.key(&entry.key))?;
    Ok(if entry.change == Change::Set { revision == entry.value.revision } else { revision == 0 })
}

/// Copies all keys with `prefix` as they were at one revision, which is returned too. `None` if compaction
/// overtook the copy.
pub fn snapshot(
    view: &View<impl Words>,
    prefix: &[u8],
    now: u64,
    with_values: bool,
) -> Option<(u64, Vec<LogEntry>)> {
    let begin = view.words.load(Field::Tail as usize, Ordering::Acquire);
    let head = view.words.load(Field::Head as usize, Ordering::Acquire);
    let mut last = view.field(Field::Compacted);
    let mut found: std::collections::HashMap<Vec<u8>, LogEntry> = std::collections::HashMap::new();
    let (mut address, mut entry) = (begin, LogEntry::default());
    while address < head {
        let words = match view.step(address, &mut entry).ok()? {
            Step::Pad(words) => {
                address += words as u64;
                continue;
            }
            Step::Record(words) => words,
        };
        address += words as u64;
        last = last.max(entry.value.revision);
        match entry.change {
            Change::Clear => {
                let (prefix, revision) = (&entry.key, entry.value.revision);
                found.retain(|key, entry| !key.starts_with(prefix) || entry.value.revision > revision);
            }
            _ if !entry.key.starts_with(prefix) => {}
            Change::Set => {
                if !with_values {
                    entry.value.bytes = Vec::new();
                }
                // A copy of an older record never follows a newer one: only current records are copied.
                found.insert(entry.key.clone(), entry.clone());
            }
            Change::Delete | Change::Expire | Change::Evict => {
                found.remove(&entry.key);
            }
        }
    }
    let mut entries: Vec<LogEntry> =
        found.into_values().filter(|entry| entry.value.expires == 0 || entry.value.expires > now).collect();
    entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Some((last, entries))
}
