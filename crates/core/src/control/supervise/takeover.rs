//! When a successor takes its slot: not before it serves every listener that only the old worker serves.
//!
//! An app may open its servers one after the other. The worker counts as ready when the first one is up; but
//! if the old worker left now, an address that the new one opens a moment later would have no server.

use std::time::Duration;

use super::cluster::Cluster;
use super::worker::Role;
use crate::ids::WorkerId;

/// How long a successor waits for listeners that it does not serve. The new code may never serve them.
pub const TAKEOVER: Duration = Duration::from_secs(10);

impl Cluster {
    /// On this many listeners the worker is the only one that serves.
    pub(super) fn on_serves_alone(&mut self, worker: WorkerId, listeners: usize) {
        if let Some(index) = self.find(worker) {
            self.worker_mut(index).on_serves_alone(listeners);
        }
    }

    /// A worker has reached the required stage of its start. False if it is a successor that must wait.
    pub(super) fn on_able(&mut self, index: usize) -> bool {
        let waits = self.must_wait(index);
        let ready_by = waits.then(|| self.in_time(TAKEOVER));
        self.worker_mut(index).on_able(ready_by);
        !waits
    }

    /// Whether a worker that waited need not wait any more.
    pub(super) fn has_waited(&self, index: usize) -> bool {
        let it = self.worker(index);
        it.is_able() && it.is_starting() && !self.must_wait(index)
    }

    fn must_wait(&self, index: usize) -> bool {
        let Role::Successor(slot) = self.worker(index).role() else { return false };
        self.current(slot).map(|old| self.worker(old)).is_some_and(|old| old.is_ready() && old.serves_alone())
    }
}
