//! The processes of workers, until the app has been notified of their exit.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::io::control;
use rcluster_core::ids::WorkerId;
use rcluster_sys::error::SysError;

/// A process, until the app has been notified of its exit.
struct Process {
    pidfd: Arc<OwnedFd>,
    pid: i32,
}

/// Written by both threads, because each starts workers.
#[derive(Default)]
pub(super) struct Processes(Mutex<HashMap<WorkerId, Process>>);

impl Processes {
    pub(super) fn add(&self, worker: WorkerId, pidfd: Arc<OwnedFd>, pid: i32) {
        self.locked().insert(worker, Process { pidfd, pid });
    }

    /// The app has been notified of the worker's exit.
    pub(super) fn remove(&self, worker: WorkerId) {
        self.locked().remove(&worker);
    }

    /// Sends a signal, by number. `None` if the worker is not known any more.
    pub(super) fn signal(&self, worker: WorkerId, signal: i32) -> Option<Result<(), SysError>> {
        self.locked().get(&worker).map(|process| control::signal(&process.pidfd, signal))
    }

    /// The process ids of all workers.
    pub(super) fn pids(&self) -> Vec<i32> {
        self.locked().values().map(|process| process.pid).collect()
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<WorkerId, Process>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
