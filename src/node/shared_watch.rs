//! Watches and snapshots of a shared store, for JavaScript.

use std::cell::RefCell;
use std::rc::Rc;

use napi::bindgen_prelude::Unknown;
use napi::{Env, Result};
use napi_derive::napi;

use super::shared::{Shared, SharedStore, failure};
use super::shared_value::{self, Held};
use rcluster_core::store::cursor::{Cursor, Filter, Progress, Start, snapshot};
use rcluster_core::store::geometry::MAX_KEY;
use rcluster_core::store::ring::Wanted;
use rcluster_core::store::view::LogEntry;

/// The maximum number of words of the log that a watch skips in one call.
const EFFORT: usize = 1 << 16;

/// How often a snapshot is restarted because the log was compacted meanwhile.
const TRIES: usize = 100;

/// JavaScript creates the error from the code and the message.
fn too_long() -> napi::Error {
    failure(format!("ERR_RCLUSTER_TOO_LARGE A key has {MAX_KEY} bytes at the most"))
}

#[napi]
impl SharedStore {
    /// Starts watching a key, or all keys that begin with `text`. `since` is a revision; with -1, the present
    /// entries come first. None if the history does not go back that far.
    #[napi]
    pub fn watch(
        &self,
        env: &Env,
        text: Unknown<'_>,
        prefix: bool,
        since: f64,
        history: bool,
    ) -> Result<Option<SharedWatch>> {
        let mut name = self.shared.key.borrow_mut();
        let key = shared_value::read_key(*env, &text, &mut name)?.ok_or_else(too_long)?;
        let filter = if prefix { Filter::Prefix(key.to_vec()) } else { Filter::Key(key.to_vec()) };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "JavaScript has checked it"
        )]
        let start = if since < 0.0 { Start::Snapshot } else { Start::Since(since as u64) };
        let cursor = Cursor::new(self.shared.client.view(), filter, start, history);
        Ok(cursor.map(|cursor| SharedWatch {
            shared: Rc::clone(&self.shared),
            cursor: RefCell::new(cursor),
            entry: RefCell::default(),
            held: RefCell::default(),
        }))
    }

    /// All keys, or all that begin with `prefix`, at one moment.
    #[napi]
    pub fn snapshot(&self, env: &Env, prefix: Unknown<'_>, with_values: bool) -> Result<SharedSnapshot> {
        let mut name = self.shared.key.borrow_mut();
        let prefix = shared_value::read_key(*env, &prefix, &mut name)?.ok_or_else(too_long)?;
        let client = &self.shared.client;
        let taken = (0..TRIES).find_map(|_| snapshot(client.view(), prefix, client.now(), with_values));
        let (revision, entries) =
            taken.ok_or_else(|| failure("the store changes faster than it can be read"))?;
        Ok(SharedSnapshot { revision, entries: RefCell::new(entries.into_iter()), held: RefCell::default() })
    }
}

/// A watch on the changes of a store.
#[napi]
pub struct SharedWatch {
    shared: Rc<Shared>,
    cursor: RefCell<Cursor>,
    entry: RefCell<LogEntry>,
    held: RefCell<Held>,
}

#[napi]
impl SharedWatch {
    /// Advances to the next change: 1 set, 2 delete, 3 expire, 4 evict, 5 clear, 6 everything up to here has
    /// been reported, 7 the next changes are no longer in the history, 8 there is more. 0: no further change;
    /// `on_news` will be called for the next one.
    #[napi]
    pub fn next(&self) -> Result<u32> {
        let client = &self.shared.client;
        let mut cursor = self.cursor.borrow_mut();
        let mut entry = self.entry.borrow_mut();
        let mut progress = cursor.next(client.view(), &mut entry, EFFORT).map_err(failure)?;
        if progress == Progress::Idle {
            client.want(Wanted::Changes);
            progress = cursor.next(client.view(), &mut entry, EFFORT).map_err(failure)?;
        }
        Ok(match progress {
            Progress::Idle => 0,
            Progress::Change => {
                self.held.borrow_mut().set(&mut entry.value);
                entry.change.number().into()
            }
            Progress::Synced(revision) => {
                self.held.borrow_mut().entry().revision = revision;
                6
            }
            Progress::Compacted => 7,
            Progress::More => 8,
        })
    }

    /// The key of the change.
    #[napi]
    pub fn key<'env>(&self, env: &'env Env) -> Result<Unknown<'env>> {
        shared_value::key(*env, &self.entry.borrow().key)
    }

    /// The kind of the value that was set.
    #[napi]
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.held.borrow().kind()
    }

    /// The value that was set.
    #[napi]
    pub fn value<'env>(&self, env: &'env Env) -> Result<Unknown<'env>> {
        self.held.borrow().value(*env)
    }

    /// The revision, and in how many ms the value that was set expires; Infinity if it does not.
    #[napi]
    #[must_use]
    pub fn times(&self) -> Vec<f64> {
        self.held.borrow().times(self.shared.client.now())
    }
}

/// The entries of a store at one moment.
#[napi]
pub struct SharedSnapshot {
    revision: u64,
    entries: RefCell<std::vec::IntoIter<LogEntry>>,
    held: RefCell<(Vec<u8>, Held)>,
}

#[napi]
impl SharedSnapshot {
    /// The revision of the last change.
    #[napi]
    #[must_use]
    pub fn revision(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, which no store comes near")]
        let revision = self.revision as f64;
        revision
    }

    /// Advances to the next key. Returns false at the end.
    #[napi]
    #[must_use]
    pub fn next(&self) -> bool {
        let Some(mut entry) = self.entries.borrow_mut().next() else { return false };
        let (key, held) = &mut *self.held.borrow_mut();
        *key = entry.key;
        held.set(&mut entry.value);
        true
    }

    /// The key.
    #[napi]
    pub fn key<'env>(&self, env: &'env Env) -> Result<Unknown<'env>> {
        shared_value::key(*env, &self.held.borrow().0)
    }

    /// The kind of its value.
    #[napi]
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.held.borrow().1.kind()
    }

    /// Its value.
    #[napi]
    pub fn value<'env>(&self, env: &'env Env) -> Result<Unknown<'env>> {
        self.held.borrow().1.value(*env)
    }
}
