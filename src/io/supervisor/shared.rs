//! What JavaScript and the supervisor's thread both look at.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::ids::WorkerId;

/// The numbers of workers, which JavaScript and the supervisor's thread both give out.
#[derive(Clone, Debug, Default)]
pub struct WorkerNumbers(Arc<AtomicU32>);

impl WorkerNumbers {
    /// The next one, never given out before.
    #[must_use]
    pub fn next(&self) -> WorkerId {
        WorkerId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// How many inspectors' ports have been given out, by JavaScript and by the supervisor's thread.
#[derive(Clone, Debug, Default)]
pub struct InspectorCount(Arc<AtomicU32>);

impl InspectorCount {
    /// The number of the next one: 1, 2, 3 …
    #[must_use]
    pub fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }
}

/// Which workers leave by agreement. JavaScript looks here when it learns of the end of a worker, because the
/// news that it was told to leave may come later.
#[derive(Clone, Debug, Default)]
pub struct Leavers(Arc<Mutex<HashSet<WorkerId>>>);

impl Leavers {
    pub(super) fn add(&self, worker: WorkerId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(worker);
    }

    /// Whether this worker leaves, or has left, by agreement.
    #[must_use]
    pub fn contains(&self, worker: WorkerId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&worker)
    }

    /// The application knows that the worker is dead.
    pub fn remove(&self, worker: WorkerId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&worker);
    }
}
