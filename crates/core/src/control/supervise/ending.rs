//! How workers end: by draining, by SIGTERM, by SIGKILL.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cluster::Cluster;
use super::worker::{Role, Stage};
use super::{Event, KillSignal, Output, Reason};
use crate::ids::WorkerId;

/// The minimum time in which an ordered process is expected. A process that appears later is killed, but not
/// waited for.
const SPAWNED: Duration = Duration::from_secs(1);

impl Cluster {
    /// A worker that has been healthy for long enough resets the failures of its slot.
    pub(super) fn note_health(&mut self, index: usize) {
        let (role, stage) = (self.worker(index).role(), self.worker(index).stage());
        let Stage::Ready { since } = stage else { return };
        if self.now().saturating_sub(since) < self.options().backoff.reset_after {
            return;
        }
        match role {
            Role::Current(slot) if slot.0 < self.slots().wanted() => {
                self.record_mut(Some(slot)).on_healthy();
            }
            Role::Standby => self.record_mut(None).on_healthy(),
            _ => {}
        }
    }

    /// A worker is no longer needed. One that is not ready has nothing to finish.
    pub(super) fn send_off(&mut self, index: usize, reason: Reason) {
        self.note_health(index);
        if self.worker(index).is_able() {
            self.drain(index, reason);
        } else {
            self.terminate(index);
        }
    }

    pub(super) fn drain(&mut self, index: usize, reason: Reason) {
        self.drain_within(index, reason, self.options().drain_timeout);
    }

    fn drain_within(&mut self, index: usize, reason: Reason, timeout: Duration) {
        let until = self.in_time(timeout);
        if let Some(worker) = self.dismiss(index, Stage::Draining { until }) {
            self.say(Output::Drain { worker, reason, timeout });
        }
    }

    pub(super) fn terminate(&mut self, index: usize) {
        let until = self.in_time(self.options().kill_timeout);
        if let Some(worker) = self.dismiss(index, Stage::Terminating { until }) {
            self.say(Output::Kill { worker, signal: KillSignal::Term });
        }
    }

    pub(super) fn kill(&mut self, index: usize) {
        if let Some(worker) = self.dismiss(index, Stage::Killed) {
            self.say(Output::Kill { worker, signal: KillSignal::Kill });
        }
    }

    /// Makes it a former worker. Returns its process, if it has one.
    pub(super) fn dismiss(&mut self, index: usize, stage: Stage) -> Option<WorkerId> {
        let appears_by = self.in_time(self.options().kill_timeout.max(SPAWNED));
        self.worker_mut(index).dismiss(stage, appears_by)
    }

    /// Ends a worker. One without a process is removed, because there is nothing to end; then the result is
    /// true.
    fn end(&mut self, index: usize, end: impl FnOnce(&mut Self, usize)) -> bool {
        let has_no_process = self.worker(index).id().is_none();
        if has_no_process {
            self.remove(index);
        } else {
            end(self, index);
        }
        has_no_process
    }

    /// It was not ready in time. True if it was removed.
    pub(super) fn end_unready(&mut self, index: usize) -> bool {
        self.end(index, Self::terminate)
    }

    /// Its time after SIGTERM is over. True if it was removed.
    pub(super) fn end_terminated(&mut self, index: usize) -> bool {
        self.end(index, Self::kill)
    }

    /// Its time to drain is over.
    pub(super) fn end_drain(&mut self, index: usize) {
        let it = self.worker(index);
        if let Some(worker) = it.id() {
            let (slot, connections) = (it.slot(), it.health().connections());
            let resources = it.resources().clone();
            self.tell(Event::DrainTimeout { worker, slot, connections, resources });
        }
        self.terminate(index);
    }

    /// A worker reports what keeps it alive. That it has nothing left to serve is reported once.
    pub(super) fn on_held(&mut self, worker: WorkerId, drained: bool, resources: BTreeMap<String, u32>) {
        let Some(index) = self.find(worker) else { return };
        let it = self.worker_mut(index);
        let slot = it.slot();
        if it.on_held(drained, resources.clone()) {
            self.tell(Event::Drained { worker, slot, resources });
        }
    }

    /// The shutdown begins: all workers drain. For those that already drain, it can only shorten the time.
    pub(super) fn drain_all(&mut self, timeout: Duration) {
        let at_last = self.in_time(timeout);
        for index in 0..self.workers().len() {
            match self.worker(index).stage() {
                Stage::Starting { .. } if !self.worker(index).is_able() => self.terminate(index),
                Stage::Starting { .. } | Stage::Ready { .. } => {
                    self.drain_within(index, Reason::Shutdown, timeout);
                }
                _ => self.worker_mut(index).shorten_drain(at_last),
            }
        }
    }

    pub(super) fn kill_all(&mut self) {
        for index in 0..self.workers().len() {
            match self.worker(index).stage() {
                Stage::Killed => {}
                Stage::Capturing { .. } => self.kill_blocked(index, None),
                _ => self.kill(index),
            }
        }
    }
}
