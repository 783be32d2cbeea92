//! Follows the changes of a store by walking along its log.
//!
//! The log is the buffer, so a slow watcher costs no memory, neither here nor in the primary. A watcher that
//! needs only the newest state of each key does not get a record that was replaced: the replacement comes
//! later. If compaction overtakes a walk, or all contents are replaced, the walk ends and reports that.
//!
//! # What there is, and what comes
//! A walk says once that its watcher knows the store, when it has passed the place that was the head when the
//! walk began. The head of that moment, because the head itself moves on, and a slow watcher never reaches it.
//! A key whose value was replaced meanwhile would be missing by then, so the walk reports its newest value in
//! place of the old one. It remembers these keys until it reaches the records of the newest values.
//!
//! With `history` changes are reported in order, so nothing can be reported early. Such a walk passes what was
//! written while it read the values too, and only then says it.

use std::collections::HashMap;

use super::atomic::{Ordering, Words, fence};
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
    /// Everything up to this revision has been reported, or what replaced it. Returned once.
    Synced(u64),
    /// There are no more changes.
    Idle,
    /// The effort has been spent, and there are more changes.
    More,
    /// The next change is no longer in the log, or all contents have been replaced.
    Compacted,
}

/// A walk along the log.
#[derive(Clone, Debug)]
pub struct Cursor {
    start: Start,
    /// The version of the contents that the walk reads. If it is odd, the walk waits until they have been replaced.
    contents: u64,
    filter: Filter,
    /// Whether every change is reported, and not only the newest of each key.
    history: bool,
    address: u64,
    /// The tail of the log when the walk began.
    begin: u64,
    /// Records before this address are the initial snapshot.
    live_from: u64,
    /// The watcher knows the store when the walk has passed this address.
    mark: u64,
    /// Whether the mark moves once more: to the head, when the walk has passed the initial snapshot.
    moves_mark: bool,
    /// The watcher knows everything up to this revision.
    since: u64,
    /// The revision when the walk began.
    known: u64,
    last: u64,
    synced: bool,
    /// The revisions of values that were reported before the walk came to their records.
    early: HashMap<Vec<u8>, u64>,
    /// The key whose newest value is reported first.
    owed: Option<Vec<u8>>,
}

impl Cursor {
    /// Begins a walk. `None` if the log does not reach back to the revision, or the store has not reached it:
    /// then it is a revision of an earlier store of the name, whose changes say nothing about this one.
    #[must_use]
    pub fn new(view: &View<impl Words>, filter: Filter, start: Start, history: bool) -> Option<Self> {
        // The order matters: the walk itself finds what is written in between. No record before the head has a
        // greater revision than what is read last.
        let contents = view.field(Field::Contents);
        let begin = view.field(Field::Tail);
        let compacted = view.field(Field::Compacted);
        let known = view.field(Field::Revision);
        let head = view.field(Field::Head);
        let revision = view.field(Field::Revision);
        let (mut last, mut owed) = (compacted, None);
        let (since, address, live_from) = match (start, &filter) {
            (Start::Since(since), _) => {
                if !(compacted..=revision).contains(&since) {
                    return None;
                }
                last = since;
                let address = if since == revision { head } else { seek(view, begin, head, since) };
                (since, address, address)
            }
            // The index has the value.
            (Start::Snapshot, Filter::Key(key)) if !history => {
                last = known.max(compacted);
                owed = Some(key.clone());
                (0, head, head)
            }
            (Start::Snapshot, _) => (0, begin, head),
        };
        Some(Self {
            start,
            contents,
            filter,
            history,
            address,
            begin,
            live_from,
            mark: head,
            moves_mark: history && start == Start::Snapshot,
            since,
            known,
            last,
            synced: false,
            early: HashMap::new(),
            owed,
        })
    }

    /// Advances to the next change and copies it to `entry`. `effort` limits the words of the log to pass.
    pub fn next(
        &mut self,
        view: &View<impl Words>,
        entry: &mut LogEntry,
        effort: usize,
    ) -> Result<Progress, Corrupt> {
        let is_replacing = |contents: u64| contents % 2 == 1;
        while is_replacing(self.contents) {
            if is_replacing(view.field(Field::Contents)) {
                return Ok(Progress::Idle);
            }
            match Self::new(view, self.filter.clone(), self.start, self.history) {
                None => return Ok(Progress::Compacted),
                Some(begun) => *self = begun,
            }
        }
        let progress = self.walk(view, entry, effort)?;
        // What was read above may be of the new contents, or of a block that they have freed.
        fence(Ordering::Acquire);
        let is_same = view.words.load(Field::Contents as usize, Ordering::Relaxed) == self.contents;
        Ok(if is_same { progress } else { Progress::Compacted })
    }

    fn walk(
        &mut self,
        view: &View<impl Words>,
        entry: &mut LogEntry,
        mut effort: usize,
    ) -> Result<Progress, Corrupt> {
        loop {
            if let Some(key) = self.owed.take() {
                entry.key = key;
                if self.tell_newest(view, entry, 0)? {
                    return Ok(Progress::Change);
                }
                continue;
            }
            let head = view.field(Field::Head);
            if !self.synced && self.address >= self.mark {
                if std::mem::take(&mut self.moves_mark) {
                    self.mark = head;
                    continue;
                }
                self.synced = true;
                return Ok(Progress::Synced(self.last));
            }
            if self.address >= head {
                return Ok(Progress::Idle);
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

    /// Whether to report the record, or what replaced it, which is then in `entry`.
    fn is_told(
        &mut self,
        view: &View<impl Words>,
        entry: &mut LogEntry,
        place: u64,
    ) -> Result<bool, Corrupt> {
        if !self.filter.wants(entry) || entry.value.revision <= self.since {
            return Ok(false);
        }
        if place < self.live_from {
            // The initial snapshot: each current value, at the first place at which the walk finds it.
            let passed = entry.moved && entry.origin >= self.begin;
            if entry.change != Change::Set || passed {
                return Ok(false);
            }
        } else if entry.moved {
            return Ok(false);
        } else if self.history {
            return Ok(true);
        }
        if entry.change == Change::Clear {
            // Who gets it forgets values that were set after it and reported before it: they come again.
            self.early.retain(|key, _| !key.starts_with(&entry.key));
            return Ok(true);
        }
        if self.was_early(entry) {
            return Ok(false);
        }
        if is_current(view, entry)? {
            return Ok(true);
        }
        if self.history || place >= self.mark {
            return Ok(false);
        }
        self.tell_newest(view, entry, self.known)
    }

    /// Whether the watcher already knows this change, or a later one of the key.
    fn was_early(&mut self, entry: &LogEntry) -> bool {
        let Some(early) = self.early.get(&entry.key).copied() else { return false };
        if entry.value.revision >= early {
            self.early.remove(&entry.key);
            if self.early.is_empty() {
                self.early = HashMap::new();
            }
        }
        entry.value.revision <= early
    }

    /// Replaces the value of `entry` by the newest one of its key. False if it has none after the revision.
    fn tell_newest(
        &mut self,
        view: &View<impl Words>,
        entry: &mut LogEntry,
        after: u64,
    ) -> Result<bool, Corrupt> {
        // As in the log, an expired value counts until it is removed.
        let has = view.get(view.key(&entry.key), || 0, &mut entry.value)?;
        if !has || entry.value.revision <= after {
            return Ok(false);
        }
        (entry.change, entry.moved, entry.origin) = (Change::Set, false, 0);
        self.early.insert(entry.key.clone(), entry.value.revision);
        Ok(true)
    }
}

/// Whether no later change has replaced this one.
fn is_current(view: &View<impl Words>, entry: &LogEntry) -> Result<bool, Corrupt> {
    let revision = view.revision_of(view.key(&entry.key))?;
    Ok(if entry.change == Change::Set { revision == entry.value.revision } else { revision == 0 })
}

/// The last beginning of a block from which a walk finds all changes after a revision. A block begins with a
/// record, and changes are in the order of their revisions.
fn seek(view: &View<impl Words>, begin: u64, head: u64, since: u64) -> u64 {
    let geometry = view.geometry();
    let blocks = geometry.block_of(begin) + 1..=geometry.block_of(head);
    let mut starts = blocks.rev().take(geometry.blocks).map(|block| block * geometry.block_words as u64);
    let known = |start: &u64| view.first_change(*start, head).is_some_and(|revision| revision <= since);
    starts.find(known).unwrap_or(begin)
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
    let mut found: HashMap<Vec<u8>, LogEntry> = HashMap::new();
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
