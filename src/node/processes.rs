//! The processes of workers, until the app has been notified of their exit.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::io::control;
use rcluster_core::ids::WorkerId;
use rcluster_sys::error::SysError;

/// Written by both threads, because each starts workers.
#[derive(Default)]
pub(super) struct Processes {
    pidfds: Mutex<HashMap<WorkerId, Arc<OwnedFd>>>,
    /// The workers that the main thread has started. Workers of the control thread are not in here.
    pids: Mutex<HashMap<WorkerId, i32>>,
}

impl Processes {
    pub(super) fn add(&self, worker: WorkerId, pidfd: Arc<OwnedFd>) {
        locked(&self.pidfds).insert(worker, pidfd);
    }

    /// Adds a worker that the main thread has started.
    pub(super) fn add_child(&self, worker: WorkerId, pidfd: Arc<OwnedFd>, pid: i32) {
        self.add(worker, pidfd);
        locked(&self.pids).insert(worker, pid);
    }

    /// The app has been notified of the worker's exit.
    pub(super) fn remove(&self, worker: WorkerId) {
        locked(&self.pidfds).remove(&worker);
        locked(&self.pids).remove(&worker);
    }

    /// Sends a signal, by number. `None` if the worker is not known any more.
    pub(super) fn signal(&self, worker: WorkerId, signal: i32) -> Option<Result<(), SysError>> {
        locked(&self.pidfds).get(&worker).map(|pidfd| control::signal(pidfd, signal))
    }

    /// The process ids of the workers that the main thread has started.
    pub(super) fn children(&self) -> Vec<i32> {
        locked(&self.pids).values().copied().collect()
    }
}

fn locked<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}
