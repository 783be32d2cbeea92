//! Workers that retire: replaced first, then drained.

use std::time::Duration;

use super::restart::WorkerFailure;
use super::worker::{Going, Role};
use super::{By, Event, Output, Reason, RestartPolicy, Supervise, Why};
use crate::ids::{Slot, WorkerId};

/// How long a worker that should not keep serving still serves while another slot has no ready worker.
pub(super) const KEPT_AT_MOST: Duration = Duration::from_secs(2);

impl Supervise {
    pub(super) fn on_retire_asked(&mut self, id: WorkerId, reason: Reason, detail: String, by: By) {
        let Some(index) = self.cluster.find_in_use(id) else { return };
        let worker = self.cluster.worker_mut(index);
        if worker.is_going_soon() {
            return;
        }
        if by == By::Worker {
            worker.ask_to_go();
            if self.run.is_announced() && reason.is_signal() {
                // The whole process group got the signal, the primary before the others.
                return;
            }
        }
        let slot = worker.slot();
        self.cluster.tell(Event::Retire { worker: id, slot, reason: reason.clone(), detail, by });
        self.retire(index, reason, KEPT_AT_MOST);
    }

    /// Orders workers that have requested to retire to keep serving; otherwise they would drain after a time
    /// limit.
    pub(super) fn answer_requests_to_go(&mut self) {
        for index in 0..self.cluster.workers().len() {
            let worker = self.cluster.worker_mut(index);
            if worker.take_request_to_go()
                && !worker.is_former()
                && let Some(worker) = worker.id()
            {
                self.cluster.say(Output::Keep { worker });
            }
        }
    }

    /// It has closed its servers, so it cannot be kept.
    pub(super) fn on_leaving(&mut self, id: WorkerId) {
        let Some(index) = self.cluster.find_in_use(id) else { return };
        let now = self.cluster.now();
        let worker = self.cluster.worker_mut(index);
        if worker.go_now(now) {
            return;
        }
        let (slot, reason) = (worker.slot(), Reason::Disconnect);
        self.cluster.tell(Event::Retire {
            worker: id,
            slot,
            reason: reason.clone(),
            detail: String::new(),
            by: By::Worker,
        });
        self.retire(index, reason, Duration::ZERO);
    }

    fn retire(&mut self, index: usize, reason: Reason, kept: Duration) {
        let worker = self.cluster.worker(index);
        let (role, going, ticket) = (worker.role(), worker.going().cloned(), worker.ticket());
        let is_ready = worker.is_ready();
        let failure = WorkerFailure::of(worker, Why::Retired(reason.clone()));
        if let Role::Current(slot) = role {
            if self.is_for_good(slot, &reason) {
                if !is_ready {
                    self.changes.on_not_ready(&mut self.cluster, slot, &failure);
                }
                self.cluster.record_mut(Some(slot)).end_with(ticket);
                self.cluster.drain(index, reason);
                return;
            }
            if is_ready {
                self.retire_from(slot, index, failure, reason, kept);
                return;
            }
        }
        // No slot depends on it: it is a standby, or it never got ready.
        self.cluster.note_health(index);
        self.cluster.drain(index, reason);
        self.vacate(role, going.as_ref(), failure);
    }

    /// Whether the slot stays empty, unless the way in which the worker ends changes that.
    fn is_for_good(&self, slot: Slot, reason: &Reason) -> bool {
        self.cluster.successor(slot).is_none()
            && match self.cluster.options().restart {
                RestartPolicy::Always => false,
                // It announced its end, so it will exit with code 0. If it does not, that counts as a
                // failure.
                RestartPolicy::OnFailure => *reason == Reason::Disconnect,
                RestartPolicy::Never => true,
            }
    }

    /// Starts the slot's next worker at once. If the budget of restarts is used up, it starts later and the
    /// old worker keeps serving: a worker that should retire is better than none.
    fn retire_from(
        &mut self,
        slot: Slot,
        index: usize,
        failure: WorkerFailure,
        reason: Reason,
        kept: Duration,
    ) {
        let mut until = Some(self.cluster.in_time(kept));
        if self.cluster.successor(slot).is_none() {
            self.cluster.note_health(index);
            let at_once = self.replace(Some(slot), failure);
            if !at_once && !kept.is_zero() {
                until = None;
            }
        }
        self.cluster.worker_mut(index).go(Going::Soon { reason, until });
    }

    /// Drains the workers that are to leave soon as soon as the others can do without them.
    pub(super) fn release_retired(&mut self) {
        let cluster = &mut self.cluster;
        for slot in cluster.all_slots() {
            let Some(index) = cluster.current(slot) else { continue };
            let Some(Going::Soon { reason, until: Some(until) }) = cluster.worker(index).going().cloned()
            else {
                continue;
            };
            let others_serve = cluster.all_slots().all(|other| other == slot || cluster.has_ready(other));
            if until > cluster.now() && !others_serve {
                continue;
            }
            cluster.send_off(index, reason);
            if let Some(successor) = cluster.successor(slot) {
                cluster.worker_mut(successor).take_slot(slot);
            }
        }
    }
}
