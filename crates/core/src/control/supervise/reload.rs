//! New workers for all slots, one or some at a time, without a moment without.

use super::member::{Going, Place, Stage};
use super::post::Standing;
use super::restart::Loss;
use super::{Cause, Event, Failure, Output, Reason, Run, Supervise, Time};
use crate::ids::{Request, Slot};

/// The reload that is running.
#[derive(Debug)]
pub(super) struct Reload {
    requests: Vec<Request>,
    concurrency: usize,
    started: Time,
}

impl Supervise {
    pub(super) fn reload_asked(&mut self, concurrency: u32, request: Request) {
        if let Some(failure) = self.refusal() {
            self.say(Output::Done { request, result: Err(failure) });
        } else if let Some(reload) = &mut self.reload {
            reload.requests.push(request);
        } else {
            let concurrency = concurrency.max(1);
            self.generation += 1;
            self.reload = Some(Reload {
                requests: vec![request],
                concurrency: concurrency as usize,
                started: self.now,
            });
            self.start_up.begin(self.now);
            self.tell(Event::ReloadStarted { slots: self.wanted, concurrency });
        }
    }

    /// Why nothing can be asked of the cluster now.
    pub(super) fn refusal(&self) -> Option<Failure> {
        match self.run {
            Run::Idle => Some(Failure::NotStarted),
            Run::Running => self.is_stopping().then_some(Failure::ShutDown),
            Run::Ending(_) => Some(Failure::ShutDown),
        }
    }

    /// Begins with the next slots, as far as there may be more at a time; ends when all are done.
    pub(super) fn advance_reload(&mut self) {
        let Some(reload) = &self.reload else { return };
        let mut free =
            reload.concurrency.saturating_sub(self.slots().filter(|slot| self.is_reloading(*slot)).count());
        for slot in self.slots() {
            if free > 0 && !self.is_reloaded(slot) && !self.is_reloading(slot) {
                free -= 1;
                self.reload_slot(slot);
            }
        }
        if self.reload_is_complete() {
            self.finish_reload();
        }
    }

    pub(super) fn reload_is_complete(&self) -> bool {
        self.reload.is_some() && self.slots().all(|slot| self.is_reloaded(slot))
    }

    fn is_reloaded(&self, slot: Slot) -> bool {
        self.posts[slot.0 as usize].reloaded == self.generation
    }

    /// One with the new code is starting there, be it by the reload or because the old one has died.
    pub(super) fn is_reloading(&self, slot: Slot) -> bool {
        self.members.iter().any(|member| {
            let here = [Place::Current(slot), Place::Successor(slot)].contains(&member.place);
            here && member.generation == self.generation && !member.is_ready()
        })
    }

    fn reload_slot(&mut self, slot: Slot) {
        if let Some(stale) = self.successor(slot) {
            self.send_off(stale, Reason::Reload);
        }
        if let Some(current) = self.current(slot) {
            self.members[current].going.get_or_insert(Going::WhenReplaced(Reason::Reload));
        }
        // Somebody has put the code right, one hopes: a slot that had been given up gets its chance.
        let Self { posts, options, .. } = self;
        let post = &mut posts[slot.0 as usize];
        if post.standing != Standing::Held {
            post.standing = Standing::Held;
            post.forgive(options);
        }
        self.spawn_for(slot, Cause::Reload);
    }

    fn finish_reload(&mut self) {
        let Some(reload) = self.reload.take() else { return };
        self.proven = self.generation;
        self.tell(Event::ReloadDone { took: self.now.saturating_sub(reload.started) });
        for request in reload.requests {
            self.say(Output::Done { request, result: Ok(()) });
        }
        // Standbys come last: as long as the new code had not proved itself, they were a way back.
        for index in 0..self.members.len() {
            if self.members[index].place == Place::Standby && self.members[index].generation < self.proven {
                self.send_off(index, Reason::Reload);
            }
        }
        if self.bench.standing != Standing::Held {
            self.bench.standing = Standing::Held;
            self.bench.forgive(&self.options);
        }
    }

    /// A worker has failed to start. If it was a new one, that is the end of the reload.
    pub(super) fn reload_meets(&mut self, slot: Slot, loss: &Loss) {
        if loss.generation != self.generation {
            return;
        }
        let Some(reload) = self.reload.take() else { return };
        let failure = Failure::NotReady { slot, why: loss.why.clone() };
        let reloaded = self.slots().filter(|slot| self.is_reloaded(*slot)).count();
        let reloaded = u32::try_from(reloaded).unwrap_or(u32::MAX);
        self.tell(Event::ReloadFailed { failure: failure.clone(), reloaded });
        for request in reload.requests {
            self.say(Output::Done { request, result: Err(failure.clone()) });
        }
        // What was to be replaced stays, and those who were to replace it are not needed.
        for slot in self.slots() {
            let Some(current) = self.current(slot) else { continue };
            let stays = matches!(self.members[current].going, Some(Going::WhenReplaced(_)));
            let starting = self.successor(slot).filter(|index| {
                self.members[*index].generation == self.generation
                    && matches!(self.members[*index].stage, Stage::Starting { .. })
            });
            if let Some(successor) = starting.filter(|_| stays) {
                self.members[current].going = None;
                self.send_off(successor, Reason::Reload);
            }
        }
    }

    /// The reload comes to nothing because everything ends.
    pub(super) fn abandon_reload(&mut self) {
        for request in self.reload.take().map(|reload| reload.requests).unwrap_or_default() {
            self.say(Output::Done { request, result: Err(Failure::ShutDown) });
        }
    }
}
