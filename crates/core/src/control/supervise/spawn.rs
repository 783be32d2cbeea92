//! How slots get their workers, and how those become ready.

use super::health::Health;
use super::member::{Held, Member, Place, Stage};
use super::post::Standing;
use super::{Cause, Event, KillSignal, Output, ReadyWhen, Reason, Run, Supervise, Why};
use crate::ids::{Slot, Ticket, WorkerId};

impl Supervise {
    /// Every slot whose time has come gets a worker.
    pub(super) fn fill_slots(&mut self) {
        for slot in self.slots() {
            let Standing::Due { at, cause } = self.standing(slot) else { continue };
            let standby = self.promotable();
            if at <= self.now || standby.is_some() {
                self.post(Some(slot)).standing = Standing::Held;
                match standby {
                    Some(index) => self.promote(index, slot),
                    None => self.spawn_for(slot, cause),
                }
            }
        }
    }

    /// Orders a worker for a slot: its current one, or a successor of that.
    pub(super) fn spawn_for(&mut self, slot: Slot, cause: Cause) {
        let place = match self.current(slot) {
            Some(_) => Place::Successor(slot),
            None => Place::Current(slot),
        };
        self.spawn(place, cause);
    }

    pub(super) fn fill_bench(&mut self) {
        match self.bench.standing {
            Standing::Due { at, .. } if at <= self.now => self.bench.standing = Standing::Held,
            Standing::Held => {}
            _ => return,
        }
        let there = self.members.iter().filter(|member| member.place == Place::Standby).count();
        for _ in there..self.options.standby as usize {
            self.spawn(Place::Standby, Cause::Standby);
        }
    }

    fn spawn(&mut self, place: Place, cause: Cause) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let retry = self.post(place.slot()).failures.is_at_start_up();
        self.members.push(Member {
            ticket,
            id: None,
            place,
            stage: Stage::Starting { ready_by: self.in_time(self.options.ready_timeout) },
            going: None,
            generation: self.generation,
            ordered: self.now,
            untold: Vec::new(),
            able: false,
            sole: 0,
            health: Health::new(cause, &self.options.recycle, &mut self.random),
            held: Held::default(),
        });
        self.say(Output::Spawn { ticket, slot: place.slot(), cause, retry });
    }

    /// A standby that could take over a slot now. Not one from before a reload that is running or has
    /// come through: it would bring the old code back.
    pub(super) fn promotable(&self) -> Option<usize> {
        let oldest = if self.reload.is_some() { self.generation } else { self.proven };
        self.members.iter().position(|member| {
            member.place == Place::Standby && member.is_ready() && member.generation >= oldest
        })
    }

    fn promote(&mut self, index: usize, slot: Slot) {
        let replaced = self.current(slot);
        let member = &mut self.members[index];
        let (Some(worker), Stage::Ready { since }) = (member.id, member.stage) else { return };
        member.place = Place::Current(slot);
        member.stage = Stage::Ready { since: self.now };
        // Its time in service begins now.
        member.health.surplus = None;
        self.say(Output::Promote { worker, slot });
        self.tell(Event::Promote { worker, slot, standby_for: self.now.saturating_sub(since) });
        if let Some(index) = replaced {
            self.hand_over(index);
        }
        self.has_got_ready(slot);
    }

    pub(super) fn spawned(&mut self, ticket: Ticket, worker: WorkerId) {
        if self.find(worker).is_some() {
            return;
        }
        let index = self.members.iter().position(|member| member.ticket == ticket && member.id.is_none());
        let Some(index) = index else {
            // We have given up waiting for the answer. Nobody else knows of this process.
            self.say(Output::Kill { worker, signal: KillSignal::Kill });
            return;
        };
        let member = &mut self.members[index];
        member.id = Some(worker);
        let (slot, cause) = (member.place.slot(), member.health.cause());
        let doomed = member.is_former();
        self.tell(Event::Spawn { worker, slot, cause });
        if doomed {
            self.kill(index);
        }
    }

    pub(super) fn spawn_failed(&mut self, ticket: Ticket, cause: String) {
        let index = self.members.iter().position(|member| member.ticket == ticket && member.id.is_none());
        if let Some(index) = index {
            self.gone(index, Why::NotSpawned { cause });
        }
    }

    /// A worker has come so far.
    pub(super) fn heard(&mut self, worker: WorkerId, how_far: ReadyWhen) {
        let Some(index) = self.find(worker) else { return };
        let far_enough = match self.options.ready {
            ReadyWhen::Online => true,
            ReadyWhen::Listening => how_far != ReadyWhen::Online,
            ReadyWhen::Explicit => how_far == ReadyWhen::Explicit,
        };
        let member = &self.members[index];
        if far_enough && !member.able && matches!(member.stage, Stage::Starting { .. }) {
            self.came_far_enough(index);
        }
    }

    /// It takes its place.
    pub(super) fn is_ready_now(&mut self, index: usize) {
        let member = &mut self.members[index];
        let Some(worker) = member.id else { return };
        member.stage = Stage::Ready { since: self.now };
        self.start_up.succeed();
        let (slot, place) = (member.place.slot(), member.place);
        let boot = self.now.saturating_sub(member.ordered);
        self.tell(Event::Ready { worker, slot, boot });
        if let Place::Successor(slot) = place {
            if let Some(old) = self.current(slot) {
                self.hand_over(old);
            }
            self.members[index].place = Place::Current(slot);
        }
        if let Place::Successor(slot) | Place::Current(slot) = place {
            self.has_got_ready(slot);
        }
    }

    /// Another one has taken its place.
    fn hand_over(&mut self, old: usize) {
        let going = self.members[old].going.as_ref();
        let reason = going.map_or(Reason::Reload, |going| going.reason().clone());
        self.send_off(old, reason);
    }

    /// The current worker of a slot is ready.
    fn has_got_ready(&mut self, slot: Slot) {
        if matches!(self.run, Run::Running)
            && let Some(current) = self.current(slot)
        {
            self.post(Some(slot)).reloaded = self.members[current].generation;
        }
    }
}
