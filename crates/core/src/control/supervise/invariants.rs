//! The invariants between any two inputs. The simulation checks them after each step.

use super::Time;
use super::changes::Changes;
use super::cluster::Cluster;
use super::restart::Restarts;
use super::run::Run;
use super::slot_record::Standing;
use super::worker::{Going, Role, Stage, Worker};
use crate::ids::Slot;

/// Returns the broken invariant, if any. `deadlines` are those of the slots and of the announced shutdown.
pub(super) fn check(
    (cluster, run): (&Cluster, &Run),
    (restarts, changes): (&Restarts, &Changes),
    mut deadlines: impl Iterator<Item = Time>,
) -> Result<(), String> {
    cluster.check_workers(run.is_running())?;
    if run.is_running() {
        for slot in cluster.all_slots() {
            cluster.check_slot(slot)?;
        }
        cluster.check_bench(changes.generations().oldest)?;
        let within = restarts.is_within_budget();
        ensure(within, || "there have been more restarts than there may be".into())?;
        let hopeless = cluster.hopeless();
        ensure(hopeless.is_none(), || format!("nobody will ever serve: {hopeless:?}"))?;
        ensure(!changes.waits_for_nothing(cluster), || {
            "a reload or a request to scale waits for nothing".into()
        })?;
    } else {
        let former = cluster.workers().iter().all(Worker::is_former);
        ensure(former, || "a worker is kept although everything ends".into())?;
    }
    cluster.check_deadlines()?;
    let past = deadlines.find(|at| *at < cluster.now());
    ensure(past.is_none(), || format!("{past:?} has passed, and it is {:?}", cluster.now()))?;
    let begun = run.deadline().is_none_or(|at| at > cluster.now());
    ensure(begun, || "the end should have begun".into())
}

impl Cluster {
    fn check_workers(&self, is_running: bool) -> Result<(), String> {
        for (index, worker) in self.workers().iter().enumerate() {
            let (ticket, role) = (worker.ticket().0, worker.role());
            for other in &self.workers()[..index] {
                ensure(other.ticket() < worker.ticket(), || format!("{ticket} is there twice"))?;
                let same = other.id().is_some() && other.id() == worker.id();
                ensure(!same, || format!("{ticket} is the same worker as {}", other.ticket().0))?;
                let same = !worker.is_former() && role != Role::Standby && role == other.role();
                ensure(!same, || format!("{ticket} and {} are both {role:?}", other.ticket().0))?;
            }
            let in_use = worker.is_starting() || worker.is_ready();
            ensure(in_use != worker.is_former(), || {
                format!("{ticket} is {role:?} and {:?}", worker.stage())
            })?;
            ensure(!worker.is_ready() || worker.id().is_some(), || {
                format!("{ticket} is ready and has no process")
            })?;
            let current = matches!(role, Role::Current(_));
            ensure(current || worker.going().is_none(), || format!("{ticket} goes from nowhere"))?;
            if let Role::Successor(slot) = role {
                ensure(!worker.is_ready(), || format!("{ticket} waits behind a worker for nothing"))?;
                ensure(self.current(slot).is_some(), || format!("{ticket} succeeds nobody"))?;
            }
            let slot = role.slot().filter(|_| is_running);
            let known = slot.is_none_or(|slot| self.slots().is_known(slot));
            ensure(known, || format!("{ticket} has a slot that does not exist"))?;
            let wanted = slot.is_none_or(|slot| slot.0 < self.slots().wanted()) || worker.is_former();
            ensure(wanted, || format!("{ticket} has a slot that is not wanted"))?;
        }
        Ok(())
    }

    fn check_slot(&self, slot: Slot) -> Result<(), String> {
        let record = self.record(slot);
        let current = self.current(slot).map(|index| self.worker(index));
        let going = current.and_then(Worker::going);
        let goes_soon = going.is_some_and(Going::is_soon);
        let succeeded = self.successor(slot).is_some();
        let fits = match record.standing() {
            Standing::Held => current.is_some() && succeeded == going.is_some(),
            Standing::Due { .. } | Standing::GivenUp => !succeeded && current.is_some() == goes_soon,
            Standing::Stopped => current.is_none(),
            Standing::Ending(ticket) => {
                current.is_none() && self.workers().iter().any(|worker| worker.ticket() == ticket)
            }
        };
        ensure(fits, || {
            format!("{slot} is {:?} with {current:?}, succeeded: {succeeded}", record.standing())
        })?;
        let others_serve = self.all_slots().all(|other| other == slot || self.has_ready(other));
        let limited = matches!(going, Some(Going::Soon { until: Some(_), .. }));
        ensure(!(limited && others_serve), || format!("the worker of {slot} is kept for nothing"))?;
        ensure(record.is_within_budget(), || format!("{slot} has had more restarts than there may be"))
    }

    fn check_bench(&self, oldest: u32) -> Result<(), String> {
        let (there, size) = (self.standbys(), self.options().standby as usize);
        ensure(there <= size, || "there are more standbys than there are to be".into())?;
        let filled = self.slots().bench().standing() != Standing::Held || there == size;
        ensure(filled, || "a standby is missing".into())?;
        let waits = self.all_slots().any(|slot| self.record(slot).is_due() && self.current(slot).is_none());
        ensure(!(waits && self.promotable(oldest).is_some()), || "a slot waits, and so does a standby".into())
    }

    fn check_deadlines(&self) -> Result<(), String> {
        let past = self.workers().iter().filter_map(Worker::deadline).find(|at| *at < self.now());
        ensure(past.is_none(), || format!("{past:?} has passed, and it is {:?}", self.now()))?;
        let immortal = |worker: &&Worker| {
            worker.deadline().is_none() && !worker.is_ready() && worker.stage() != Stage::Killed
        };
        let forgotten = self.workers().iter().find(immortal);
        ensure(forgotten.is_none(), || format!("nothing will end {forgotten:?}"))
    }
}

fn ensure(holds: bool, rule: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule()) }
}
