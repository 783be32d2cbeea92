//! A store that follows another one: changes arrive with their revisions, and nothing is decided here.

use std::collections::HashMap;

use super::atomic::{AtomicU64, Ordering, Words, fence};
use super::geometry::{Field, MAX_KEY, SERVER_TEXT};
use super::memory::NoRoom;
use super::ops::Eviction;
use super::plan::{Planned, removal};
use super::record::{Change, read_bytes};
use super::remote::payload::{self, Group, read_kept};
use super::remote::status::Status;
use super::view::{Value, View};
use super::writer::{EFFORT, Store};

/// This store has less room than the one that it follows, and no longer equals it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

impl From<NoRoom> for Overflow {
    fn from(NoRoom: NoRoom) -> Self {
        Self
    }
}

/// Converts a time of the server to the clock of this machine; 0 means no expiry in both.
fn until(expires: u64, ahead: i64) -> u64 {
    if expires == 0 { 0 } else { expires.saturating_add_signed(ahead).max(1) }
}

impl<W: Words + AsRef<[AtomicU64]>> Store<W> {
    /// Applies the changes of one revision. `ahead` is the most that this machine's clock may be ahead of the server's,
    /// in ms. Expiry times are in the server's time.
    pub fn follow(&mut self, group: &Group<'_>, ahead: i64) -> Result<(), Overflow> {
        let result = self.apply_group(group, ahead);
        // The group may contain only changes that were no-ops here.
        self.revision = group.revision;
        self.memory.publish(self.revision);
        result
    }

    fn apply_group(&mut self, group: &Group<'_>, ahead: i64) -> Result<(), Overflow> {
        // Each write increments the revision.
        self.revision = group.revision.saturating_sub(1);
        match group.changes.as_slice() {
            [payload::Told { change: Change::Clear, key, .. }] => {
                self.clear(key).map_err(|_| Overflow)?;
            }
            [payload::Told { change: Change::Expire, key, .. }] => self.drop_expired(key)?,
            changes => {
                let plan: Vec<Planned<'_>> = changes
                    .iter()
                    .filter(|told| matches!(told.change, Change::Set | Change::Delete))
                    .map(|told| Planned {
                        key: self.memory.view.key(told.key),
                        value: (told.change == Change::Set).then(|| (told.kind, told.value.into())),
                        expires: until(told.expires, ahead),
                    })
                    .filter(|planned| planned.value.is_some() || self.memory.find(planned.key).is_some())
                    .collect();
                self.write_all(&plan)?;
            }
        }
        Ok(())
    }

    fn write_all(&mut self, plan: &[Planned<'_>]) -> Result<(), Overflow> {
        let longest = self.memory.geometry().max_record();
        let fits = |planned: &Planned<'_>| {
            planned.key.bytes.len() <= MAX_KEY && planned.draft(0).charge() <= longest
        };
        if plan.is_empty() {
            return Ok(());
        }
        if !plan.iter().all(fits) || self.eviction != Eviction::None {
            return Err(Overflow);
        }
        let words = plan.iter().map(|planned| planned.draft(0).words()).sum();
        self.limit(plan, words, &mut |_| false)?;
        self.commit(plan)?;
        self.tidy(words * EFFORT);
        Ok(())
    }

    /// Makes the store equal to another one at `revision`. `values` are in the format of [`read_kept`].
    /// Unchanged values stay. Watchers are notified that they missed changes, unless this is the first load.
    pub fn reload(
        &mut self,
        revision: u64,
        values: &[(Vec<u8>, Vec<u8>)],
        ahead: i64,
        is_first: bool,
    ) -> Result<(), Overflow> {
        // A walk that sees any of what follows also sees the version, and starts over.
        if !is_first {
            self.memory.bump(Field::Contents);
        }
        let mut result = self.make_same(revision, values, ahead);
        self.revision = revision;
        self.memory.forget_history(revision);
        self.memory.publish(self.revision);
        if !is_first {
            result = result.and(self.begin_log_anew(revision));
            self.memory.publish(self.revision);
            self.memory.bump(Field::Contents);
        }
        result
    }

    fn make_same(
        &mut self,
        revision: u64,
        values: &[(Vec<u8>, Vec<u8>)],
        ahead: i64,
    ) -> Result<(), Overflow> {
        let mut wanted = HashMap::with_capacity(values.len());
        for (key, raw) in values {
            let kept = read_kept(raw).ok_or(Overflow)?;
            if key.len() > MAX_KEY {
                return Err(Overflow);
            }
            wanted.insert(key.as_slice(), kept);
        }
        for key in self.keys_that(|key| !wanted.contains_key(key)) {
            self.revision = revision.saturating_sub(1);
            let key = self.memory.view.key(&key);
            self.write_all(&[Planned { key, value: None, expires: 0 }])?;
        }
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_unstable_by_key(|(_, kept)| kept.revision);
        let mut known = Value::default();
        for (key, kept) in wanted {
            let key = self.memory.view.key(key);
            let expires = until(kept.expires, ahead);
            // The revision alone does not say that a value is the same: the server may be another one.
            let is_same = self.memory.view.get(key, || 0, &mut known) == Ok(true)
                && (known.revision, known.kind, known.expires) == (kept.revision, kept.kind, expires)
                && known.bytes == kept.value;
            if is_same {
                continue;
            }
            self.revision = kept.revision.saturating_sub(1);
            let value = Some((kept.kind, kept.value.into()));
            self.write_all(&[Planned { key, value, expires }])?;
        }
        Ok(())
    }

    /// Moves all current records to the head of the log, so that no watcher's position remains in the log.
    fn begin_log_anew(&mut self, revision: u64) -> Result<(), Overflow> {
        // A watcher that has read everything waits at the end of the log, which may be in a block that has
        // not begun.
        let draft = removal(Change::Delete, b"", revision);
        self.make_room(draft.words())?;
        self.memory.append(&draft)?;
        // Compacted records stay readable until their block is free, so the whole block must be freed.
        self.memory.end_block();
        let end = self.memory.next();
        while self.memory.begins_before(end) {
            self.compact_one()?;
        }
        Ok(())
    }

    /// Publishes the status of the link to the server.
    pub fn tell(&self, status: &Status) {
        let fields = [
            (Field::ServerSynced, status.synced_at),
            (Field::ServerQueued, status.queued),
            (Field::ServerConnects, status.connects),
            (Field::ServerDisconnects, status.disconnects),
            (Field::ServerLoads, status.loads),
            (Field::ServerState, status.state.number()),
        ];
        let error = status.error.as_deref().unwrap_or_default();
        // The error comes last, because it may have several lines.
        let lost = status.lost.replace('\n', " ");
        let text = format!("{}\n{}\n{lost}\n{error}", status.url, status.place);
        let mut end = text.len().min(SERVER_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.memory.put_words(&fields, &text.as_bytes()[..end]);
    }
}

/// The text fields of the status that [`Store::tell`] publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The server's URL, without its password.
    pub url: String,
    /// The last entry of the stream that was applied.
    pub place: String,
    /// Why the last connection was lost.
    pub lost: Option<String>,
    /// The last error.
    pub error: Option<String>,
}

/// Reads the text fields of the server's status. `None` while they are being written.
#[must_use]
pub fn read_told(view: &View<impl Words>) -> Option<Told> {
    let version = view.field(Field::ServerText);
    let mut bytes = Vec::new();
    read_bytes(&view.words, Field::ServerText as usize + 1, SERVER_TEXT, &mut bytes);
    fence(Ordering::Acquire);
    let after = view.words.load(Field::ServerText as usize, Ordering::Relaxed);
    if version % 2 == 1 || version != after {
        return None;
    }
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = text.splitn(4, '\n').map(ToOwned::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    let filled = |text: String| Some(text).filter(|text| !text.is_empty());
    Some(Told { url: next(), place: next(), lost: filled(next()), error: filled(next()) })
}

#[cfg(all(test, not(rcluster_loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::cursor::{Cursor, Filter, Progress, Start};
    use crate::store::geometry::Geometry;
    use crate::store::view::LogEntry;

    type Page = Arc<[AtomicU64]>;

    fn store() -> (Store<Page>, View<Page>) {
        let geometry = Geometry::of_blocks(256, 16);
        let words: Page = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
        let reserve = Box::new(|_| true);
        let store = Store::create(Arc::clone(&words), geometry, (1, 2), Eviction::None, reserve).unwrap();
        (store, View::new(words).unwrap())
    }

    fn told<'a>(change: Change, key: &'a [u8], value: &'a [u8], expires: u64) -> payload::Told<'a> {
        payload::Told { change, kind: 2, key, value, expires }
    }

    fn raw(revision: f64, value: &[u8]) -> Vec<u8> {
        [&revision.to_le_bytes()[..], &0_f64.to_le_bytes(), &[2], value].concat()
    }

    /// All results of a walk until it is idle.
    fn walk(cursor: &mut Cursor, view: &View<Page>) -> Vec<(Progress, Vec<u8>)> {
        let (mut all, mut entry) = (Vec::new(), LogEntry::default());
        loop {
            match cursor.next(view, &mut entry, 1 << 20).unwrap() {
                Progress::Idle => return all,
                Progress::Compacted => {
                    all.push((Progress::Compacted, Vec::new()));
                    return all;
                }
                progress => all.push((progress, entry.key.clone())),
            }
        }
    }

    #[test]
    fn changes_come_with_their_revisions() {
        let (mut store, view) = store();
        let set = [told(Change::Set, b"a", b"1", 0), told(Change::Set, b"b", b"2", 1_000)];
        store.follow(&Group { before: 499, revision: 500, changes: set.to_vec() }, -400).unwrap();
        assert_eq!(view.revision_of(view.key(b"a")), Ok(500));
        assert_eq!(store.next_expiry(), Some(600));
        assert!(!store.has_expired(599) && store.has_expired(600));
        let expired = Group { before: 500, revision: 501, changes: vec![told(Change::Expire, b"b", b"", 0)] };
        store.follow(&expired, 0).unwrap();
        assert!(!store.has_expired(600));
        let clear = Group { before: 501, revision: 502, changes: vec![told(Change::Clear, b"x", b"", 0)] };
        store.follow(&clear, 0).unwrap();
        assert_eq!((store.revision(), view.field(Field::Revision)), (502, 502));
        assert_eq!(view.revision_of(view.key(b"a")), Ok(500));
        store.check();
    }

    #[test]
    fn watchers_start_over_after_a_reload() {
        let (mut store, view) = store();
        let first = [(b"stays".to_vec(), raw(7.0, b"1")), (b"goes".to_vec(), raw(8.0, b"2"))];
        store.reload(8, &first, 0, true).unwrap();
        let mut cursor = Cursor::new(&view, Filter::Prefix(Vec::new()), Start::Snapshot, false).unwrap();
        let told: Vec<_> = walk(&mut cursor, &view).into_iter().map(|(_, key)| key).collect();
        assert_eq!(told[..2], [b"stays".to_vec(), b"goes".to_vec()]);
        // One cursor that is up to date, and one that starts later.
        let since = Cursor::new(&view, Filter::Prefix(Vec::new()), Start::Since(8), true).unwrap();
        let second = [(b"stays".to_vec(), raw(7.0, b"1")), (b"new".to_vec(), raw(5.0, b"3"))];
        store.reload(20, &second, 0, false).unwrap();
        for mut cursor in [cursor, since] {
            assert_eq!(walk(&mut cursor, &view).last().unwrap().0, Progress::Compacted);
        }
        assert!(Cursor::new(&view, Filter::Prefix(Vec::new()), Start::Since(19), false).is_none());
        let mut anew = Cursor::new(&view, Filter::Prefix(Vec::new()), Start::Snapshot, false).unwrap();
        let mut told = walk(&mut anew, &view);
        let (synced, _) = told.pop().unwrap();
        assert_eq!(synced, Progress::Synced(20));
        let mut keys: Vec<_> = told.into_iter().map(|(_, key)| key).collect();
        keys.sort();
        assert_eq!(keys, [b"new".to_vec(), b"stays".to_vec()]);
        assert_eq!(view.revision_of(view.key(b"goes")), Ok(0));
        store.check();
    }

    #[test]
    fn a_reload_replaces_what_differs_with_the_same_revision() {
        let (mut store, view) = store();
        let (mut value, all) = (Value::default(), |bytes| [(b"key".to_vec(), raw(7.0, bytes))]);
        store.reload(8, &all(b"lost"), 0, true).unwrap();
        store.reload(8, &all(b"kept"), 0, false).unwrap();
        assert_eq!(view.get(view.key(b"key"), || 0, &mut value), Ok(true));
        assert_eq!((value.revision, value.bytes.as_slice()), (7, &b"kept"[..]));
        store.check();
    }

    #[test]
    fn overflow_is_reported() {
        let (mut store, _) = store();
        let large = vec![0; 8 * 256];
        let group = Group { before: 0, revision: 1, changes: vec![told(Change::Set, b"a", &large, 0)] };
        assert_eq!(store.follow(&group, 0), Err(Overflow));
        store.check();
    }

    fn values(count: u32, bytes: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let value = vec![7; bytes];
        let pair = |number| (format!("key {number}").into_bytes(), raw(f64::from(number + 1), &value));
        (0..count).map(pair).collect()
    }

    #[test]
    fn a_store_that_has_overflowed_takes_what_fits() {
        for bytes in [8, 50, 100, 300] {
            let (mut store, _) = store();
            let mut load = |revision, count| {
                let result = store.reload(revision, &values(count, bytes), 0, false);
                store.check();
                result
            };
            // More often than there are blocks.
            for round in 0..20 {
                let revision = 10_000 + round * 1_000;
                assert_eq!(load(revision, 1000), Err(Overflow), "{bytes}, {round}");
                assert_eq!(load(revision + 1, 5), Ok(()), "{bytes}, {round}");
                assert_eq!(load(revision + 2, 0), Ok(()), "{bytes}, {round}");
            }
            let value = vec![7; bytes];
            for before in 40_000.. {
                let key = format!("{before}");
                let changes = vec![told(Change::Set, key.as_bytes(), &value, 0)];
                if store.follow(&Group { before, revision: before + 1, changes }, 0).is_err() {
                    break;
                }
            }
            store.check();
            assert_eq!(store.reload(90_000, &[], 0, false), Ok(()), "{bytes}");
            assert_eq!(store.memory.count(), 0);
        }
    }

    #[test]
    fn the_published_status_is_read() {
        let (store, view) = store();
        let status = Status {
            url: "redis://host".into(),
            place: "1-0".into(),
            lost: "two\nlines".into(),
            error: Some("ü".repeat(2000)),
            ..Status::default()
        };
        store.tell(&status);
        let read = read_told(&view).unwrap();
        assert_eq!((read.url.as_str(), read.place.as_str()), ("redis://host", "1-0"));
        assert_eq!(read.lost.as_deref(), Some("two lines"));
        assert!(read.error.unwrap().starts_with('ü'));
        store.tell(&Status::default());
        assert_eq!(read_told(&view), Some(Told::default()));
        assert_eq!(view.field(Field::ServerState), 1);
    }
}
