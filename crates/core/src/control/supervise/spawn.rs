//! How slots get their workers, and how workers become ready.

use super::cluster::Cluster;
use super::reload::Generations;
use super::slot_record::Standing;
use super::worker::{Role, Stage};
use super::{Cause, Event, KillSignal, Output, ReadyWhen, Reason};
use crate::ids::{Slot, Ticket, WorkerId};

impl Cluster {
    /// Gives a worker to every slot that is due.
    pub(super) fn fill_slots(&mut self, generations: Generations) {
        for slot in self.all_slots() {
            let Standing::Due { at, cause } = self.record(slot).standing() else { continue };
            let standby = self.promotable(generations.oldest);
            if at <= self.now() || standby.is_some() {
                self.record_mut(Some(slot)).hold();
                match standby {
                    Some(index) => self.promote(index, slot),
                    None => self.spawn_for(slot, cause, generations),
                }
            }
        }
    }

    /// Orders a worker for a slot: the current one, or its successor.
    pub(super) fn spawn_for(&mut self, slot: Slot, cause: Cause, generations: Generations) {
        let role = match self.current(slot) {
            Some(_) => Role::Successor(slot),
            None => Role::Current(slot),
        };
        self.spawn(role, cause, generations.newest);
    }

    pub(super) fn fill_bench(&mut self, generations: Generations) {
        match self.slots().bench().standing() {
            Standing::Due { at, .. } if at <= self.now() => self.record_mut(None).hold(),
            Standing::Held => {}
            _ => return,
        }
        for _ in self.standbys()..self.options().standby as usize {
            self.spawn(Role::Standby, Cause::Standby, generations.newest);
        }
    }

    fn promote(&mut self, index: usize, slot: Slot) {
        let replaced = self.current(slot);
        let now = self.now();
        let standby = self.worker_mut(index);
        let (Some(worker), Stage::Ready { since }) = (standby.id(), standby.stage()) else { return };
        standby.on_promoted(slot, now);
        self.say(Output::Promote { worker, slot });
        self.tell(Event::Promote { worker, slot, standby_for: now.saturating_sub(since) });
        if let Some(index) = replaced {
            self.hand_over(index);
        }
        self.on_slot_ready(slot);
    }

    pub(super) fn on_spawned(&mut self, ticket: Ticket, worker: WorkerId) {
        if self.find(worker).is_some() {
            return;
        }
        let Some(index) = self.find_ordered(ticket) else {
            // The wait for the answer is over, so supervision knows nothing of this process.
            self.say(Output::Kill { worker, signal: KillSignal::Kill });
            return;
        };
        let it = self.worker_mut(index);
        it.on_spawned(worker);
        let (slot, cause, doomed) = (it.slot(), it.health().cause(), it.is_former());
        self.tell(Event::Spawn { worker, slot, cause });
        if doomed {
            self.kill(index);
        }
    }

    /// A starting worker that has just reached the required stage.
    pub(super) fn find_able(&self, worker: WorkerId, how_far: ReadyWhen) -> Option<usize> {
        let far_enough = match self.options().ready {
            ReadyWhen::Online => true,
            ReadyWhen::Listening => how_far != ReadyWhen::Online,
            ReadyWhen::Explicit => how_far == ReadyWhen::Explicit,
        };
        let index = self.find(worker).filter(|_| far_enough)?;
        let it = self.worker(index);
        (!it.is_able() && it.is_starting()).then_some(index)
    }

    /// A worker is ready, and takes its place.
    pub(super) fn on_ready(&mut self, index: usize) {
        let now = self.now();
        let it = self.worker_mut(index);
        let Some(worker) = it.id() else { return };
        it.on_ready(now);
        let (role, slot, boot) = (it.role(), it.slot(), it.uptime(now));
        self.tell(Event::Ready { worker, slot, boot });
        if let Role::Successor(slot) = role {
            if let Some(old) = self.current(slot) {
                self.hand_over(old);
            }
            self.worker_mut(index).take_slot(slot);
        }
        if let Role::Successor(slot) | Role::Current(slot) = role {
            self.on_slot_ready(slot);
        }
    }

    /// Another worker has taken its place.
    fn hand_over(&mut self, old: usize) {
        let going = self.worker(old).going();
        let reason = going.map_or(Reason::Reload, |going| going.reason().clone());
        self.send_off(old, reason);
    }

    /// The current worker of a slot is ready.
    fn on_slot_ready(&mut self, slot: Slot) {
        if let Some(current) = self.current(slot) {
            let generation = self.worker(current).generation();
            self.record_mut(Some(slot)).on_ready(generation);
        }
    }
}
