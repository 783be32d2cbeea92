//! How workers go: replaced first, drained then, forced in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::member::{Going, Place, Stage};
use super::post::Standing;
use super::restart::Loss;
use super::{By, Event, KillSignal, Output, Reason, RestartPolicy, Run, Supervise, Why};
use crate::ids::{Slot, WorkerId};

/// How long a worker that should not go on serves all the same, while another slot has nobody.
pub(super) const KEPT_AT_MOST: Duration = Duration::from_secs(2);

impl Supervise {
    pub(super) fn retire_asked(&mut self, worker: WorkerId, reason: Reason, detail: String, by: By) {
        let Some(index) = self.find(worker) else { return };
        let member = &self.members[index];
        if member.is_former() || matches!(member.going, Some(Going::Soon { .. })) {
            return;
        }
        if by == By::Worker && self.is_stopping() && reason.is_signal() {
            // All of its group have got it, the primary before the others.
            self.wishes.push(worker);
            return;
        }
        let slot = member.place.slot();
        self.tell(Event::Retire { worker, slot, reason: reason.clone(), detail, by });
        self.retire(index, reason, KEPT_AT_MOST);
        if by == By::Worker {
            self.wishes.push(worker);
        }
    }

    /// Those who have asked to go and are not let go would not wait for long without a word.
    pub(super) fn answer_wishes(&mut self) {
        for worker in std::mem::take(&mut self.wishes) {
            if self.find(worker).is_some_and(|index| !self.members[index].is_former()) {
                self.say(Output::Keep { worker });
            }
        }
    }

    /// It has closed its doors: there is no keeping it.
    pub(super) fn left(&mut self, worker: WorkerId) {
        let Some(index) = self.find(worker).filter(|index| !self.members[*index].is_former()) else { return };
        let (member, now) = (&mut self.members[index], self.now);
        if let Some(Going::Soon { until, .. }) = &mut member.going {
            *until = Some(now);
            return;
        }
        let (slot, reason) = (member.place.slot(), Reason::Disconnect);
        self.tell(Event::Retire {
            worker,
            slot,
            reason: reason.clone(),
            detail: String::new(),
            by: By::Worker,
        });
        self.retire(index, reason, Duration::ZERO);
    }

    fn retire(&mut self, index: usize, reason: Reason, kept: Duration) {
        let member = &self.members[index];
        let (place, going) = (member.place, member.going.clone());
        let loss = Loss::of(member, Why::Retired(reason.clone()));
        if let Place::Current(slot) = place {
            if self.is_for_good(slot, &reason) {
                if !member.is_ready() {
                    self.reload_meets(slot, &loss);
                }
                self.post(Some(slot)).standing = Standing::Ending(self.members[index].ticket);
                self.drain(index, reason);
                return;
            }
            if member.is_ready() {
                self.retire_from(slot, index, loss, reason, kept);
                return;
            }
        }
        // Nothing depends on it: a standby, or one that never got ready.
        self.note_health(index);
        self.drain(index, reason);
        self.lost(place, going.as_ref(), loss);
    }

    /// Whether the slot is to stay empty, unless the way in which the worker ends says otherwise.
    fn is_for_good(&self, slot: Slot, reason: &Reason) -> bool {
        self.successor(slot).is_none()
            && match self.options.restart {
                RestartPolicy::Always => false,
                // As it said goodbye it will exit with 0. Should it not, that is a failure after all.
                RestartPolicy::OnFailure => *reason == Reason::Disconnect,
                RestartPolicy::Never => true,
            }
    }

    /// The slot's next worker comes at once. If it has had to come too often lately it comes later, and
    /// the old one serves on meanwhile: better one that should go than none.
    fn retire_from(&mut self, slot: Slot, index: usize, loss: Loss, reason: Reason, kept: Duration) {
        let mut until = Some(self.in_time(kept));
        if self.successor(slot).is_none() {
            self.note_health(index);
            let at_once = self.replace(Some(slot), loss);
            if !at_once && !kept.is_zero() {
                until = None;
            }
        }
        self.members[index].going = Some(Going::Soon { reason, until });
    }

    /// Those who are to go soon do so as soon as the others can do without them.
    pub(super) fn release_those_who_go(&mut self) {
        for slot in self.slots() {
            let Some(index) = self.current(slot) else { continue };
            let Some(Going::Soon { reason, until: Some(until) }) = self.members[index].going.clone() else {
                continue;
            };
            if until > self.now && self.slots().any(|other| other != slot && !self.has_ready(other)) {
                continue;
            }
            self.send_off(index, reason);
            if let Some(successor) = self.successor(slot) {
                self.members[successor].place = Place::Current(slot);
            }
        }
    }

    /// A worker is not needed any more. One that is not ready has nothing to finish.
    pub(super) fn send_off(&mut self, index: usize, reason: Reason) {
        self.note_health(index);
        if self.members[index].able {
            self.drain(index, reason);
        } else {
            self.terminate(index);
        }
    }

    pub(super) fn drain(&mut self, index: usize, reason: Reason) {
        self.drain_within(index, reason, self.options.drain_timeout);
    }

    pub(super) fn drain_within(&mut self, index: usize, reason: Reason, timeout: Duration) {
        let until = self.in_time(timeout);
        if let Some(worker) = self.dismiss(index, Stage::Draining { until }) {
            self.say(Output::Drain { worker, reason, timeout });
        }
    }

    pub(super) fn terminate(&mut self, index: usize) {
        let until = self.in_time(self.options.kill_timeout);
        if let Some(worker) = self.dismiss(index, Stage::Terminating { until }) {
            self.say(Output::Kill { worker, signal: KillSignal::Term });
        }
    }

    pub(super) fn kill(&mut self, index: usize) {
        if let Some(worker) = self.dismiss(index, Stage::Killed) {
            self.say(Output::Kill { worker, signal: KillSignal::Kill });
        }
    }

    /// From now on it only has to end. What does not exist yet is killed when it does.
    pub(super) fn dismiss(&mut self, index: usize, stage: Stage) -> Option<WorkerId> {
        let until = self.in_time(self.options.kill_timeout);
        let member = &mut self.members[index];
        member.place = Place::Former(member.place.slot());
        member.going = None;
        member.stage = if member.id.is_some() { stage } else { Stage::Terminating { until } };
        member.id
    }

    /// True if it is no member any more.
    pub(super) fn terminated_too_long(&mut self, index: usize) -> bool {
        let never_was = self.members[index].id.is_none();
        if never_was {
            self.members.remove(index);
        } else {
            self.kill(index);
        }
        never_was
    }

    pub(super) fn drained_too_long(&mut self, index: usize) {
        let member = &self.members[index];
        if let Some(worker) = member.id {
            let (slot, connections) = (member.place.slot(), member.health.connections());
            let resources = member.held.resources.clone();
            self.tell(Event::DrainTimeout { worker, slot, connections, resources });
        }
        self.terminate(index);
    }

    /// A worker says what keeps it. That it has nothing left to serve is told once.
    pub(super) fn held(&mut self, worker: WorkerId, drained: bool, resources: BTreeMap<String, u32>) {
        let Some(index) = self.find(worker) else { return };
        let member = &mut self.members[index];
        if !matches!(member.stage, Stage::Draining { .. }) {
            return;
        }
        let is_news = drained && !std::mem::replace(&mut member.held.drained, drained);
        member.held.resources.clone_from(&resources);
        let slot = member.place.slot();
        if is_news {
            self.tell(Event::Drained { worker, slot, resources });
        }
    }

    /// It has had its time to get ready. True if it is no member any more.
    pub(super) fn not_ready(&mut self, index: usize) -> bool {
        let member = &self.members[index];
        let (place, going) = (member.place, member.going.clone());
        let loss = Loss::of(member, Why::NotReady);
        // Without a process there is nothing that could end, so nothing to wait for.
        let never_was = member.id.is_none();
        if never_was {
            self.members.remove(index);
        } else {
            self.terminate(index);
        }
        if matches!(self.run, Run::Running) {
            self.lost(place, going.as_ref(), loss);
        }
        never_was
    }
}
