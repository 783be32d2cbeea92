//! When the successor of a worker takes its place: not before it serves what nobody else does.
//!
//! An app may open its servers one after the other. When the first one is up it is ready, as far as it knows; but if the
//! old worker went now, there would be nobody at an address that the new one opens a moment later.

use std::time::Duration;

use super::cluster::Cluster;
use super::worker::Role;
use crate::ids::WorkerId;

/// How long a successor waits for what it does not serve. The new code may never serve it.
pub const TAKEOVER: Duration = Duration::from_secs(10);

impl Cluster {
    /// On so many listeners a worker is the only one that serves.
    pub(super) fn on_serves_alone(&mut self, worker: WorkerId, listeners: usize) {
        if let Some(index) = self.find(worker) {
            self.worker_mut(index).on_serves_alone(listeners);
        }
    }

    /// A worker has come as far as is asked for. False if it is a successor that has to wait.
    pub(super) fn on_able(&mut self, index: usize) -> bool {
        let waits = self.must_wait(index);
        let ready_by = waits.then(|| self.in_time(TAKEOVER));
        self.worker_mut(index).on_able(ready_by);
        !waits
    }

    /// Whether a worker has waited, and need not any more.
    pub(super) fn has_waited(&self, index: usize) -> bool {
        let it = self.worker(index);
        it.is_able() && it.is_starting() && !self.must_wait(index)
    }

    fn must_wait(&self, index: usize) -> bool {
        let Role::Successor(slot) = self.worker(index).role() else { return false };
        self.current(slot).map(|old| self.worker(old)).is_some_and(|old| old.is_ready() && old.serves_alone())
    }
}
