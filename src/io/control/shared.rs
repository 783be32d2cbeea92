//! What JavaScript and the control thread both look at.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::forwarding::Forwarding;
use crate::io::barrier::Barrier;
use crate::io::dispatcher::{Command, Dispatcher};
use rcluster_core::control::slots::Slots;
use rcluster_core::ids::WorkerId;

/// What the control thread shares with the thread that owns it.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) forwarding: Forwarding,
    pub(super) slots: SharedSlots,
    pub(super) numbers: WorkerNumbers,
    pub(super) inspectors: InspectorCount,
    pub(super) leaving: LeavingWorkers,
}

impl Common {
    /// Lets the primary's thread go on once the dispatcher has done what it was told so far: it closes
    /// the sockets.
    pub(super) fn answer_behind_dispatcher(&self, done: Sender<()>) {
        self.behind_dispatcher(move || {
            // Nobody waits any more when the primary's thread is gone.
            let _ = done.send(());
        });
    }

    /// All workers drain, and this one is next. The answer comes when the dispatcher has passed on what waited.
    pub(super) fn last_call(&self, worker: WorkerId) -> oneshot::Receiver<()> {
        self.forwarding.leaving(worker);
        let (called, on_called) = oneshot::channel();
        self.dispatcher.tell(Command::AcceptAllAndClose);
        self.behind_dispatcher(move || {
            let _ended = called.send(());
        });
        on_called
    }

    fn behind_dispatcher(&self, act: impl FnOnce() + Send + 'static) {
        self.dispatcher.tell(Command::Barrier(Barrier::new(act)));
    }
}

/// Taken where workers are spawned, and freed where they end: before the application can hear of it and spawn
/// another.
#[derive(Clone, Default)]
pub(super) struct SharedSlots(Arc<Mutex<Slots>>);

impl SharedSlots {
    pub(super) fn lock(&self) -> MutexGuard<'_, Slots> {
        // A thread that panicked with it has left a table that holds; the panic has been told where it happened.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The numbers of workers, which JavaScript and the control thread both give out.
#[derive(Clone, Debug, Default)]
pub struct WorkerNumbers(Arc<AtomicU32>);

impl WorkerNumbers {
    /// The next one, never given out before.
    #[must_use]
    pub fn next(&self) -> WorkerId {
        WorkerId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// How many inspectors' ports have been given out, by JavaScript and by the control thread.
#[derive(Clone, Debug, Default)]
pub struct InspectorCount(Arc<AtomicU32>);

impl InspectorCount {
    /// The number of the next one: 1, 2, 3 …
    #[must_use]
    pub fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }
}

/// The workers that leave by agreement. JavaScript looks here when it learns of the end of a worker, because the
/// news that it was told to leave may come later.
#[derive(Clone, Debug, Default)]
pub struct LeavingWorkers(Arc<Mutex<HashSet<WorkerId>>>);

impl LeavingWorkers {
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
