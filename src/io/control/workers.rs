//! The workers that have not been reaped yet.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::launch::{Link, Newcomer};
use super::logs::SharedLogs;
use super::messages::{Event, ThreadEvent};
use super::reaper::{Reaped, Reaper};
use super::socket::SocketError;
use super::stack::{OnStack, STACK_LIMIT};
use super::worker::{StillLoop, SupervisedWorker, WorkerHandle};
use rcluster_core::control::supervise::{ExitKind, KillSignal, Stats, Vitals};
use rcluster_core::frames::ToWorker;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::metrics::Spent;
use rcluster_sys::cgroup::Cgroups;
use rcluster_sys::error::SysError;

/// A worker that has been reaped.
pub(super) struct Ended {
    pub(super) exit: ExitKind,
    /// `None` for a standby.
    pub(super) slot: Option<Slot>,
    pub(super) is_supervised: bool,
    /// The resources that it has used, if it had a slot and is supervised.
    pub(super) spent: Option<(Slot, Spent)>,
    /// A warning about its end for the app.
    pub(super) warning: Option<Event>,
}

/// See the module.
pub(super) struct Workers {
    all: HashMap<WorkerId, WorkerHandle>,
    reaper: Reaper,
    events: mpsc::Sender<ThreadEvent>,
    logs: SharedLogs,
}

impl Workers {
    /// Creates the table without workers. `events` receives their events.
    pub(super) fn new(events: mpsc::Sender<ThreadEvent>, logs: SharedLogs) -> Self {
        Self { all: HashMap::new(), reaper: Reaper::default(), events, logs }
    }

    /// From now on, supervised workers that the kernel's OOM killer has killed are recognized.
    pub(super) fn count_oom_kills(&mut self, groups: &Cgroups) {
        self.reaper.count_oom_kills(groups);
    }

    /// Starts to read from a worker and to wait for its end. Returns the error if its link cannot be used.
    pub(super) fn adopt(
        &mut self,
        worker: WorkerId,
        slot: Option<Slot>,
        pidfd: Arc<OwnedFd>,
        link: Link,
        supervised: Option<SupervisedWorker>,
    ) -> Option<SysError> {
        let (mut handle, failure) =
            WorkerHandle::adopt(worker, slot, pidfd, link, (&self.events, self.logs.clone()));
        handle.supervised = supervised;
        self.all.insert(worker, handle);
        failure
    }

    pub(super) fn get(&self, worker: WorkerId) -> Option<&WorkerHandle> {
        self.all.get(&worker)
    }

    /// All workers that have not been reaped.
    pub(super) fn ids(&self) -> impl Iterator<Item = WorkerId> {
        self.all.keys().copied()
    }

    pub(super) fn contains(&self, worker: WorkerId) -> bool {
        self.all.contains_key(&worker)
    }

    /// A standby gets a slot. Returns the [`Newcomer`] that gives it connections; `None` if it has ended, or
    /// is no standby.
    pub(super) fn promote(&mut self, worker: WorkerId, slot: Slot) -> Option<Newcomer> {
        let handle = self.all.get_mut(&worker)?;
        let newcomer = handle.supervised.as_mut()?.newcomer.take()?;
        handle.slot = Some(slot);
        Some(newcomer)
    }

    /// A worker listens on an address of its own. Returns whether this is the first time.
    pub(super) fn on_listens_alone(&mut self, worker: WorkerId) -> bool {
        let handle = self.all.get_mut(&worker);
        handle.is_some_and(|handle| !std::mem::replace(&mut handle.listens_alone, true))
    }

    /// Sends a frame to a worker, unless it has exited or is cut off.
    pub(super) fn send(
        &self,
        worker: WorkerId,
        frame: &ToWorker,
        fd: Option<OwnedFd>,
    ) -> Result<(), SocketError> {
        self.get(worker).map_or(Ok(()), |handle| handle.send(frame, fd))
    }

    /// Cuts a worker off.
    pub(super) fn unlink(&mut self, worker: WorkerId) {
        if let Some(handle) = self.all.get_mut(&worker) {
            handle.unlink();
        }
    }

    pub(super) fn kill(&self, worker: WorkerId, signal: KillSignal) {
        if let Some(handle) = self.get(worker) {
            handle.kill(signal);
        }
    }

    /// Requests a worker's stack. `then` gets it within `limit`.
    pub(super) fn capture_stack(&self, worker: WorkerId, limit: Duration, then: OnStack) {
        WorkerHandle::capture_stack(self.get(worker), limit, then);
    }

    /// Requests the stack of a worker that is to be replaced, for [`ThreadEvent::Stack`].
    pub(super) fn report_stack(&self, worker: WorkerId) {
        let events = self.events.clone();
        let then = OnStack::new(move |stack| {
            // The reason for a missing stack is not needed when the worker is replaced. A full queue means
            // that this thread is behind, and then the stack is dropped.
            let _late = events.try_send(ThreadEvent::Stack(worker, stack.ok()));
        });
        self.capture_stack(worker, STACK_LIMIT, then);
    }

    /// Samples of all supervised workers.
    pub(super) fn vitals(&self) -> Vec<(WorkerId, Vitals)> {
        self.all.iter().filter_map(|(&worker, handle)| Some((worker, handle.vitals()?))).collect()
    }

    /// The event loops of supervised workers that have not turned lately.
    pub(super) fn still_loops(&self) -> Vec<(WorkerId, StillLoop)> {
        let supervised = self.all.iter().filter(|(_, handle)| handle.supervised.is_some());
        supervised.filter_map(|(&worker, handle)| Some((worker, handle.still_loop()?))).collect()
    }

    /// See [`WorkerHandle::take_ping`].
    pub(super) fn take_ping(&mut self, worker: WorkerId, event_loop: &StillLoop) -> bool {
        self.all.get_mut(&worker).is_some_and(|handle| handle.take_ping(event_loop))
    }

    /// The resources that the supervised workers with a slot have used so far.
    pub(super) fn spent(&self) -> impl Iterator<Item = (Slot, Spent)> {
        self.all.values().filter_map(|handle| Some((handle.slot?, handle.spent()?)))
    }

    /// Adds the figures of the processes to the statistics of supervision.
    pub(super) fn complete(&self, stats: &mut Stats) {
        for slot in &mut stats.slots {
            let Some(handle) = slot.worker.and_then(|worker| self.get(worker)) else { continue };
            slot.rss = handle.resident();
            slot.busy = handle.busy();
        }
    }

    /// Reaps a worker whose process has ended, and forgets it. `None` if another process traces it and gets its exit
    /// first: then its end is reported again later.
    pub(super) fn reap(&mut self, worker: WorkerId) -> Option<Ended> {
        let handle = self.all.get(&worker)?;
        let is_supervised = handle.supervised.is_some();
        // Read before reaping, because the kernel then forgets the process.
        let spent = handle.slot.zip(handle.spent());
        let (exit, warning) = match self.reaper.reap(worker, &handle.pidfd, is_supervised) {
            Reaped::Exited(exit) => (exit, None),
            Reaped::ByOthers(exit, warning) => (exit, Some(warning)),
            Reaped::NotYet => {
                WorkerHandle::poll_again(worker, self.events.clone());
                return None;
            }
        };
        let slot = handle.slot;
        self.all.remove(&worker);
        Some(Ended { exit, slot, is_supervised, spent, warning })
    }
}

#[cfg(test)]
mod tests;
