//! What happens to a slot or to the bench when its worker has exited or is about to.

use std::time::Duration;

use super::restart::{WorkerFailure, tell_restart};
use super::slot_record::Standing;
use super::worker::{Going, Role, Stage, Worker};
use super::{ExitKind, Phase, Reason, Supervise, Time, Why};
use crate::ids::{Slot, Ticket, WorkerId};

/// How long a worker that is cut off may run before it is killed.
const CUT_OFF: Duration = crate::control::unlinked::GRACE;

impl Supervise {
    pub(super) fn on_exited(&mut self, worker: WorkerId, exit: ExitKind) {
        if let Some(index) = self.cluster.find(worker) {
            self.on_ended(index, Why::Exited(exit));
        }
    }

    pub(super) fn on_spawn_failed(&mut self, ticket: Ticket, cause: String) {
        if let Some(index) = self.cluster.find_ordered(ticket) {
            self.on_ended(index, Why::NotSpawned { cause });
        }
    }

    /// A process has exited, or could not be spawned.
    fn on_ended(&mut self, index: usize, why: Why) {
        self.cluster.note_health(index);
        // It may have ended before its stack was captured.
        self.cluster.tell_blocked(index, None);
        let worker = self.cluster.remove(index);
        if !self.run.is_running() {
            return;
        }
        if let Role::Former(slot) = worker.role() {
            self.on_former_ended(slot, &worker, why);
        } else {
            let failure = WorkerFailure::of(&worker, why);
            self.vacate(worker.role(), worker.going(), failure);
        }
    }

    /// Usually the way in which a former worker ends does not matter.
    fn on_former_ended(&mut self, slot: Option<Slot>, worker: &Worker, why: Why) {
        let Some(slot) = slot.filter(|slot| slot.0 < self.cluster.slots().wanted()) else { return };
        if self.cluster.record(slot).standing() == Standing::Ending(worker.ticket()) {
            let failure = WorkerFailure { phase: Phase::Service, ..WorkerFailure::of(worker, why) };
            self.replace_by_policy(Some(slot), failure);
        }
    }

    /// A worker was not ready in time. True if it was removed.
    pub(super) fn on_not_ready(&mut self, index: usize) -> bool {
        let worker = self.cluster.worker(index);
        let (role, going) = (worker.role(), worker.going().cloned());
        let missed = (!worker.is_able()).then_some(self.cluster.options().ready);
        let failure = WorkerFailure::of(worker, Why::NotReady { missed });
        let is_forgotten = self.cluster.end_unready(index);
        if self.run.is_running() {
            self.vacate(role, going.as_ref(), failure);
        }
        is_forgotten
    }

    /// A worker was cut off: it gets nothing more, and is killed if it does not end.
    pub(super) fn on_cut_off(&mut self, worker: WorkerId) {
        let Some(index) = self.cluster.find_in_use(worker) else { return };
        self.cluster.note_health(index);
        let worker = self.cluster.worker(index);
        let (role, going) = (worker.role(), worker.going().cloned());
        let failure = WorkerFailure::of(worker, Why::CutOff);
        let until = self.cluster.in_time(CUT_OFF);
        self.cluster.dismiss(index, Stage::Terminating { until });
        self.vacate(role, going.as_ref(), failure);
    }

    pub(super) fn on_unresponsive(&mut self, index: usize, id: WorkerId, blocked_for: Duration) {
        self.cluster.note_health(index);
        let worker = self.cluster.worker(index);
        let (role, going) = (worker.role(), worker.going().cloned());
        let failure = WorkerFailure::of(worker, Why::Unresponsive);
        self.cluster.capture(index, id, blocked_for);
        let before = self.cluster.outputs();
        self.vacate(role, going.as_ref(), failure);
        self.cluster.hold_back_what_follows(index, before);
    }

    /// A worker in use has exited or is about to: fills its place.
    pub(super) fn vacate(&mut self, role: Role, going: Option<&Going>, failure: WorkerFailure) {
        match role {
            Role::Current(slot) => self.vacate_slot(slot, going, failure),
            Role::Successor(slot) => self.on_successor_failed(slot, failure),
            Role::Standby => self.replace_by_policy(None, failure),
            Role::Former(_) => {}
        }
    }

    fn vacate_slot(&mut self, slot: Slot, going: Option<&Going>, failure: WorkerFailure) {
        if failure.phase == Phase::StartUp {
            self.changes.on_not_ready(&mut self.cluster, slot, &failure);
            self.changes.on_vacated(&mut self.cluster, slot, &failure);
        }
        let expected = going.is_some_and(Going::is_soon);
        if failure.is_crash() && !expected {
            self.changes.on_crash(&mut self.cluster, slot, &failure);
        }
        if let Some(successor) = self.cluster.successor(slot) {
            self.cluster.worker_mut(successor).take_slot(slot);
            if !expected {
                tell_restart(&mut self.cluster, Some(slot), &failure, Time::ZERO);
            }
        } else if !expected {
            // If its end was expected, it was handled when that was decided.
            self.replace_by_policy(Some(slot), failure);
        }
    }

    /// The old worker stays, unless it must not.
    fn on_successor_failed(&mut self, slot: Slot, failure: WorkerFailure) {
        self.changes.on_not_ready(&mut self.cluster, slot, &failure);
        let Some(current) = self.cluster.current(slot) else { return };
        let worker = self.cluster.worker_mut(current);
        match worker.going() {
            // Without `until`, the old worker stays as long as necessary.
            Some(Going::Soon { until, .. }) => {
                let stays = until.is_none();
                self.replace(Some(slot), WorkerFailure { stays, ..failure });
            }
            Some(Going::WhenReplaced(Reason::Recycle(_))) => {
                worker.stay();
                self.cluster.put_recycling_off(slot);
            }
            _ => worker.stay(),
        }
    }

    fn replace_by_policy(&mut self, slot: Option<Slot>, failure: WorkerFailure) {
        self.restarts.replace_by_policy(&mut self.cluster, &mut self.changes, slot, failure);
    }

    /// Replaces a worker. True if the replacement starts at once.
    pub(super) fn replace(&mut self, slot: Option<Slot>, failure: WorkerFailure) -> bool {
        self.restarts.replace(&mut self.cluster, &mut self.changes, slot, failure)
    }
}
