//! Stores that outlive their primary: their files, and the thread that writes them.
//!
//! # Design
//! Reading a store takes no lock and disturbs no other process, so any thread that may block can copy it and
//! write it to a file: a thread of its own while the primary runs, the main thread when the primary ends. The
//! thread of the stores does not handle files. The thread that opens a store reads its file before the store
//! is created.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use thiserror::Error;

use super::client::Reader;
use super::refusal::Refusal;
use crate::io::clock::now;
use rcluster_core::frames::milliseconds;
use rcluster_core::store::cursor::snapshot;
use rcluster_core::store::geometry::{Field, MAX_SIZE};
use rcluster_core::store::ops::Status;
use rcluster_core::store::snapshot::{Damaged, Entry, Snapshot};
use rcluster_core::store::view::View;
use rcluster_core::store::writer::Store;
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::save_file::{SaveError, SaveFile};
use rcluster_sys::segment::{Published, Segment};

/// How often the stores are checked for changes.
const PERIOD: Duration = Duration::from_secs(1);

/// The wait after a save, as a multiple of its duration: saving takes at most a twentieth of a core.
const REST: u32 = 20;

/// How often a snapshot is restarted because the log was compacted meanwhile.
const TRIES: usize = 100;

/// The maximum size of a file. Records take more memory than their entries in a file.
const MAX_FILE: u64 = MAX_SIZE;

/// Why a store cannot be kept in a file.
#[derive(Debug, Error)]
pub enum PersistError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] SaveError),
    /// The content is not a valid store.
    #[error("{path:?} cannot be loaded: {why}. Nothing has been loaded of it")]
    Damaged {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with it.
        why: Damaged,
    },
    /// The store cannot be read.
    #[error("the store {0:?} cannot be read")]
    Unreadable(String),
}

impl PersistError {
    /// Whether another process has locked the file.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::File(SaveError::Locked(_)))
    }
}

/// A file that this process has locked, and its content.
#[derive(Debug)]
pub struct Restored {
    file: SaveFile,
    snapshot: Option<Snapshot>,
}

/// The last save of a kept store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// When, in ms since 1970.
    pub at: u64,
    /// The revision that was saved.
    pub revision: u64,
    /// The error of a save that failed since then.
    pub error: Option<String>,
}

/// A kept store.
#[derive(Debug)]
struct Kept {
    name: String,
    file: SaveFile,
    view: View<Reader>,
    saved: Mutex<Saved>,
}

#[derive(Debug, Default)]
struct Registry {
    kept: HashMap<String, Arc<Kept>>,
    /// Woken when a save has failed.
    failed: Option<Waker>,
    is_running: bool,
}

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// Notified when another store is to be kept.
static MORE: Condvar = Condvar::new();

fn with<T>(then: impl FnOnce(&mut Registry) -> T) -> T {
    let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    then(registry.get_or_insert_default())
}

fn all() -> Vec<Arc<Kept>> {
    with(|registry| registry.kept.values().cloned().collect())
}

/// Whether a store of this name is kept in a file.
#[must_use]
pub fn is_kept(name: &str) -> bool {
    with(|registry| registry.kept.contains_key(name))
}

/// The last save of a kept store.
#[must_use]
pub fn saved(name: &str) -> Option<Saved> {
    let kept = with(|registry| registry.kept.get(name).cloned())?;
    // While a save is in progress, there is nothing to report.
    let saved = kept.saved.try_lock().ok()?.clone();
    Some(saved)
}

/// A descriptor that becomes readable when a save has failed: see [`saved`].
pub fn failures() -> Result<OwnedFd, SysError> {
    let waker = Waker::new()?;
    let fd = duplicate(&waker)?;
    with(|registry| registry.failed = Some(waker));
    Ok(fd)
}

/// Locks a file and reads its content. May block.
pub fn restore(path: &Path) -> Result<Restored, PersistError> {
    let file = SaveFile::lock(path)?;
    let snapshot = match file.read(MAX_FILE)? {
        None => None,
        Some(bytes) => {
            let damaged = |why| PersistError::Damaged { path: path.to_owned(), why };
            Some(Snapshot::decode(&bytes).map_err(damaged)?)
        }
    };
    Ok(Restored { file, snapshot })
}

/// Registers a store to be kept; `segment` is its memory.
pub(super) fn keep(name: &str, file: SaveFile, segment: &OwnedFd) -> Result<(), SysError> {
    let invalid = SysError::invalid("reading a store that is to be kept");
    let view = View::new(Reader(Published::open(segment)?)).map_err(|_| invalid)?;
    let kept = Arc::new(Kept { name: name.to_owned(), file, view, saved: Mutex::default() });
    let starts = with(|registry| {
        registry.kept.insert(name.to_owned(), kept);
        !std::mem::replace(&mut registry.is_running, true)
    });
    if !starts {
        MORE.notify_one();
        return Ok(());
    }
    let thread = std::thread::Builder::new().name("rcluster-save".into());
    let started = thread.spawn(save_repeatedly).doing("starting the thread that saves stores");
    if started.is_err() {
        with(|registry| {
            // Its file is unlocked, and the next store starts the thread.
            registry.kept.remove(name);
            registry.is_running = false;
        });
    }
    started.map(drop)
}

impl Restored {
    /// Puts the content of the file into a new store.
    pub(super) fn fill(&self, store: &mut Store<Segment>) -> Result<(), Refusal> {
        let Some(kept) = &self.snapshot else { return Ok(()) };
        if store.restore(kept, since_1970(), now()) == Status::Done {
            return Ok(());
        }
        let path = self.file.path().display();
        let message = format!("What is in {path} does not fit into a store of this size");
        Err(Refusal { code: "ERR_RCLUSTER_PERSIST", message })
    }

    pub(super) fn into_file(self) -> SaveFile {
        self.file
    }
}

impl Kept {
    /// Writes the store to its file, unless the file is up to date.
    fn save(&self) -> Result<(), PersistError> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if self.view.field(Field::Revision) == saved.revision && saved.error.is_none() {
            return Ok(());
        }
        match self.write() {
            Ok((revision, at)) => {
                *saved = Saved { at, revision, error: None };
                Ok(())
            }
            Err(error) => {
                saved.error = Some(error.to_string());
                Err(error)
            }
        }
    }

    fn write(&self) -> Result<(u64, u64), PersistError> {
        let (boot, wall) = (now(), since_1970());
        let taken = (0..TRIES).find_map(|_| snapshot(&self.view, b"", boot, true));
        let (revision, entries) = taken.ok_or_else(|| PersistError::Unreadable(self.name.clone()))?;
        let in_file = |expires| if expires == 0 { 0 } else { wall + (expires - boot) };
        let entries = entries.into_iter().map(|entry| Entry {
            key: entry.key,
            kind: entry.value.kind,
            expires: in_file(entry.value.expires),
            value: entry.value.bytes,
        });
        let snapshot = Snapshot { revision, entries: entries.collect() };
        self.file.write(&snapshot.encode())?;
        Ok((revision, wall))
    }
}

/// Saves all stores that have changed, when this process ends. May block. Returns why saves failed.
#[must_use]
pub fn save_all() -> Vec<String> {
    let describe = |kept: &Kept, error: PersistError| format!("{:?}: {error}", kept.name);
    all().iter().filter_map(|kept| kept.save().err().map(|error| describe(kept, error))).collect()
}

/// The body of the saving thread, which ends with the process.
fn save_repeatedly() {
    let mut due: HashMap<String, Instant> = HashMap::new();
    loop {
        for kept in all() {
            let begin = Instant::now();
            if due.get(&kept.name).is_some_and(|due| begin < *due) {
                continue;
            }
            if kept.save().is_err() {
                with(|registry| registry.failed.iter().for_each(Waker::wake));
            }
            due.insert(kept.name.clone(), Instant::now() + begin.elapsed() * REST);
        }
        let registry: MutexGuard<'_, _> = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        // Waking early does no harm.
        let _guard = MORE.wait_timeout(registry, PERIOD);
    }
}

fn since_1970() -> u64 {
    milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
