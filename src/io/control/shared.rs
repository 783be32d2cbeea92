//! State that JavaScript and the control thread share.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::forwarding::Forwarding;
use super::logs::SharedLogs;
use super::messages::ThreadEvent;
use crate::io::barrier::Barrier;
use crate::io::dispatcher::{Command, Dispatcher};
use crate::io::store;
use rcluster_core::control::slots::Slots;
use rcluster_core::frames::{Drain, milliseconds};
use rcluster_core::ids::WorkerId;
use rcluster_sys::listen::BoundPath;

/// What the control thread shares with its owner's thread.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) forwarding: Forwarding,
    pub(super) slots: SharedSlots,
    pub(super) numbers: WorkerNumbers,
    pub(super) inspectors: InspectorCount,
    pub(super) leaving: LeavingWorkers,
    pub(super) control_file: ControlFile,
    pub(super) metrics_file: ControlFile,
    pub(super) logs: SharedLogs,
}

/// How long a worker waits for its order to drain while connections wait for workers: those that are full, or blocked, may
/// never take them.
const PASSING_ON: Duration = Duration::from_secs(1);

/// A barrier, and what is told when it runs, or is dropped.
fn signal() -> (Barrier, oneshot::Receiver<()>) {
    let (reached, on_reached) = oneshot::channel();
    let act = Barrier::new(move || {
        let _not_awaited = reached.send(());
    });
    (act, on_reached)
}

impl Common {
    /// Answers the primary's main thread once the dispatcher has carried out the commands it has so far: it
    /// closes the sockets.
    pub(super) fn answer_behind_dispatcher(&self, done: Sender<()>) {
        self.behind_dispatcher(move || {
            // The send fails if the primary's main thread is gone.
            let _ = done.send(());
        });
    }

    /// All workers drain, and this one is next: it gets the order once all waiting connections have been passed on.
    /// A worker that drains does not wait for more than those that are in its channel, or connected to its port.
    pub(super) fn last_call(&self, worker: WorkerId, mut order: Drain, events: mpsc::Sender<ThreadEvent>) {
        let start = Instant::now();
        let (act, on_forwarded) = signal();
        self.forwarding.last_call(act);
        let (act, on_passed_on) = signal();
        self.dispatcher.tell(Command::AcceptAllAndClose(act));
        let forwarding = self.forwarding.clone();
        tokio::task::spawn_local(async move {
            // A thread that has ended has also closed its sockets, so the order is given in any case.
            let both = async { (on_forwarded.await, on_passed_on.await) };
            let _ended = tokio::time::timeout(PASSING_ON, both).await;
            forwarding.take_away(worker);
            order.timeout_ms = order.timeout_ms.saturating_sub(milliseconds(start.elapsed()));
            // The send fails only if the control thread has stopped, and everything with it.
            let _stopped = events.send(ThreadEvent::ReadyToDrain(worker, order)).await;
        });
    }

    /// A worker is leaving: it gets no more connections, and its slot is free.
    pub(super) fn withdraw(&self, worker: WorkerId) {
        self.slots.lock().free(worker);
        store::on_slot(worker, None);
        self.dispatcher.tell(Command::WorkerLeaving(worker));
        self.forwarding.leaving(worker);
    }

    /// A worker is dead.
    pub(super) fn forget(&self, worker: WorkerId) {
        self.slots.lock().free(worker);
        self.dispatcher.tell(Command::WorkerExited(worker));
        self.forwarding.gone(worker);
    }

    fn behind_dispatcher(&self, act: impl FnOnce() + Send + 'static) {
        self.dispatcher.tell(Command::Barrier(Barrier::new(act)));
    }
}

/// The socket file of operators or of metrics, if there is one. JavaScript removes it when the process exits,
/// which does not end the threads.
#[derive(Clone, Default)]
pub(super) struct ControlFile(Arc<Mutex<Option<BoundPath>>>);

impl ControlFile {
    pub(super) fn set(&self, file: Option<BoundPath>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }

    pub(super) fn remove(&self) {
        self.set(None);
    }
}

/// Taken when a worker is spawned, and freed when it exits, before the application is notified and can spawn
/// another.
#[derive(Clone, Default)]
pub(super) struct SharedSlots(Arc<Mutex<Slots>>);

impl SharedSlots {
    pub(super) fn lock(&self) -> MutexGuard<'_, Slots> {
        // A panic is reported where it happens, and the table is valid all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The source of worker numbers, used by JavaScript and the control thread.
#[derive(Clone, Debug, Default)]
pub struct WorkerNumbers(Arc<AtomicU32>);

impl WorkerNumbers {
    /// The next number, which is unique.
    #[must_use]
    pub fn next(&self) -> WorkerId {
        WorkerId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// The count of inspector ports given out, by JavaScript and by the control thread.
#[derive(Clone, Debug, Default)]
pub struct InspectorCount(Arc<AtomicU32>);

impl InspectorCount {
    /// The next count: 1, 2, 3 …
    #[must_use]
    pub fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }
}

/// The workers that are leaving by agreement. JavaScript checks this when a worker exits, because the event
/// about its order to leave may arrive later.
#[derive(Clone, Debug, Default)]
pub struct LeavingWorkers(Arc<Mutex<HashSet<WorkerId>>>);

impl LeavingWorkers {
    pub(super) fn add(&self, worker: WorkerId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(worker);
    }

    /// Whether this worker is leaving, or has left, by agreement.
    #[must_use]
    pub fn contains(&self, worker: WorkerId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&worker)
    }

    /// The application has been notified of the worker's exit.
    pub fn remove(&self, worker: WorkerId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&worker);
    }
}
