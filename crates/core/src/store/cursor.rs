//! Following the changes of a store: a walk along its log.
//!
//! The log is the buffer, so a watcher that is slow costs no memory, neither here nor in the primary. Whoever wants
//! the newest state of each key only is not told of a record that another one has replaced: that one comes later.
//! When the log has been cleaned away under a walk, the walk ends and says so.

use super::atomic::{Ordering, Words};
use super::geometry::Field;
use super::record::Change;
use super::view::{Corrupt, LogEntry, Step, View};

/// Which keys a walk tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// One.
    Key(Vec<u8>),
    /// All that begin with this.
    Prefix(Vec<u8>),
}

impl Filter {
    fn wants(&self, entry: &LogEntry) -> bool {
        match (self, entry.change) {
            // All keys that begin with the one may be among those that are wanted.
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
    /// With what all keys have.
    Snapshot,
    /// Behind this revision.
    Since(u64),
}

/// What a walk comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A change, which has been copied.
    Change,
    /// All that had happened up to this revision has been told. Once.
    Synced(u64),
    /// Nothing more has happened.
    Idle,
    /// The given effort has been spent and there is more.
    More,
    /// What comes next is no longer in the log.
    Compacted,
}

/// A walk along the log.
#[derive(Clone, Debug)]
pub struct Cursor {
    filter: Filter,
    /// Every change is told, and not only the newest of each key.
    history: bool,
    address: u64,
    /// Where the log began when the walk did.
    begin: u64,
    /// Records before this one are what there was when the walk began.
    live_from: u64,
    /// Up to this revision the watcher knows everything.
    since: u64,
    last: u64,
    synced: bool,
}

impl Cursor {
    /// Begins a walk. `None` if the log does not go back to the revision.
    #[must_use]
    pub fn new(view: &View<impl Words>, filter: Filter, start: Start, history: bool) -> Option<Self> {
        // In this order: what is written in between is found by the walk itself.
        let begin = view.field(Field::Tail);
        let head = view.field(Field::Head);
        let compacted = view.field(Field::Compacted);
        let (since, live_from) = match start {
            Start::Snapshot => (0, head),
            Start::Since(revision) => (revision, begin),
        };
        if since < compacted && start != Start::Snapshot {
            return None;
        }
        let (last, synced) = (since.max(compacted), false);
        Some(Self { filter, history, address: begin, begin, live_from, since, last, synced })
    }

    /// Goes on to the next change, which is copied to `entry`. `effort` is how many words of the log it may pass.
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
            // The head is behind it, so a record that is not there has been cleaned away.
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
            // What there was: current values, each where the walk comes to it first.
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

/// Copies all keys, or all that begin with `prefix`, as they were at one revision, which is returned. `None` if the
/// log has been cleaned away meanwhile.
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
                // A copy of an older record is never behind a newer one: only what is current is copied.
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
