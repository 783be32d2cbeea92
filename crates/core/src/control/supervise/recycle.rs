//! Recycling: the replacement of healthy workers that have reached a limit.

use super::cluster::Cluster;
use super::health::Surplus;
use super::retire::KEPT_AT_MOST;
use super::slot_record::Standing;
use super::worker::{Going, Worker};
use super::{Event, Phase, Reason, Time};
use crate::ids::Slot;

impl Cluster {
    /// A worker has reached its age limit.
    pub(super) fn on_too_old(&mut self, index: usize, since: Time) {
        let age = self.now().saturating_sub(since);
        self.worker_mut(index).health_mut().age(age);
    }

    /// Recycles one worker at a time, so that similar workers are not all replaced at once; and none during a
    /// reload, which replaces them anyway.
    pub(super) fn start_recycling(&mut self, is_reloading: bool) {
        for slot in self.all_slots() {
            let Some((index, surplus)) = self.surplus(slot) else { continue };
            let until = Some(self.in_time(KEPT_AT_MOST));
            match self.worker(index).going().cloned() {
                None if self.may_recycle(slot, surplus, is_reloading) => self.recycle(slot, index, surplus),
                Some(Going::WhenReplaced(reason)) if surplus.urgent => {
                    self.worker_mut(index).go(Going::Soon { reason, until });
                }
                _ => {}
            }
        }
    }

    fn surplus(&self, slot: Slot) -> Option<(usize, Surplus)> {
        let index = self.current(slot).filter(|index| self.worker(*index).is_ready())?;
        self.worker(index).surplus().map(|surplus| (index, surplus))
    }

    fn may_recycle(&mut self, slot: Slot, surplus: Surplus, is_reloading: bool) -> bool {
        let is_recycled =
            |it: &Worker| it.going().is_some_and(|going| matches!(going.reason(), Reason::Recycle(_)));
        let busy = is_reloading || self.workers().iter().any(is_recycled);
        if (busy && !surplus.urgent) || self.record(slot).standing() != Standing::Held {
            return false;
        }
        let now = self.now();
        self.record_mut(Some(slot)).may_recycle(now)
    }

    fn recycle(&mut self, slot: Slot, index: usize, surplus: Surplus) {
        let Surplus { excess, value, limit, urgent } = surplus;
        let Some(worker) = self.worker(index).id() else { return };
        self.tell(Event::Recycle { worker, slot, excess, value, limit });
        let reason = Reason::Recycle(excess);
        let until = Some(self.in_time(KEPT_AT_MOST));
        let going = if urgent { Going::Soon { reason, until } } else { Going::WhenReplaced(reason) };
        self.worker_mut(index).go(going);
        let now = self.now();
        self.record_mut(Some(slot)).recycle(now);
    }

    /// The new worker did not get ready. The old one can keep serving for a while.
    pub(super) fn put_recycling_off(&mut self, slot: Slot) {
        let wait = self.count_failure(Some(slot), Phase::StartUp);
        let until = self.in_time(wait);
        self.record_mut(Some(slot)).put_recycling_off(until);
    }

    /// When the worker of a slot is recycled, if that was postponed.
    pub(super) fn recycles_at(&self, slot: Slot) -> Option<Time> {
        let waits = self.surplus(slot).is_some_and(|(index, _)| self.worker(index).going().is_none());
        Some(self.record(slot).no_recycle_before()).filter(|at| waits && *at > self.now())
    }
}
