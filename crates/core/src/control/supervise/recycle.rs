//! Replacing workers that are well, but have had enough.

use super::health::Surplus;
use super::member::Going;
use super::post::Standing;
use super::retire::KEPT_AT_MOST;
use super::{Cause, Event, Phase, Reason, Supervise, Time};
use crate::ids::Slot;

impl Supervise {
    pub(super) fn too_old(&mut self, index: usize, since: Time) {
        let age = self.now.saturating_sub(since);
        self.members[index].health.age(age);
    }

    /// One at a time, so that a cluster whose workers are all alike does not start anew all at once; and
    /// not during a reload, which replaces them anyway.
    pub(super) fn start_recycling(&mut self) {
        for slot in self.slots() {
            let Some((index, surplus)) = self.surplus(slot) else { continue };
            let going = self.members[index].going.clone();
            match going {
                None if self.may_recycle(slot, surplus) => self.recycle(slot, index, surplus),
                Some(Going::WhenReplaced(reason)) if surplus.urgent => {
                    self.members[index].going =
                        Some(Going::Soon { reason, until: Some(self.in_time(KEPT_AT_MOST)) });
                }
                _ => {}
            }
        }
    }

    fn surplus(&self, slot: Slot) -> Option<(usize, Surplus)> {
        let index = self.current(slot).filter(|index| self.members[*index].is_ready())?;
        self.members[index].health.surplus.map(|surplus| (index, surplus))
    }

    fn may_recycle(&mut self, slot: Slot, surplus: Surplus) -> bool {
        let busy = self.reload.is_some()
            || self.members.iter().any(
                |member| matches!(&member.going, Some(going) if matches!(going.reason(), Reason::Recycle(_))),
            );
        if (busy && !surplus.urgent) || self.standing(slot) != Standing::Held {
            return false;
        }
        let now = self.now;
        let post = &mut self.posts[slot.0 as usize];
        if let Some(room_at) = post.recycles.room_at(now) {
            post.no_recycle_before = post.no_recycle_before.max(room_at);
        }
        post.no_recycle_before <= now
    }

    fn recycle(&mut self, slot: Slot, index: usize, surplus: Surplus) {
        let Surplus { excess, value, limit, urgent } = surplus;
        let Some(worker) = self.members[index].id else { return };
        self.tell(Event::Recycle { worker, slot, excess, value, limit });
        let reason = Reason::Recycle(excess);
        let until = Some(self.in_time(KEPT_AT_MOST));
        let going = if urgent { Going::Soon { reason, until } } else { Going::WhenReplaced(reason) };
        self.members[index].going = Some(going);
        let now = self.now;
        let post = &mut self.posts[slot.0 as usize];
        post.recycles.spend(now, now);
        post.standing = Standing::Due { at: now, cause: Cause::Recycle };
    }

    /// The new one did not get ready. The old one is not so bad that it could not go on for a while.
    pub(super) fn put_recycling_off(&mut self, slot: Slot) {
        let Self { random, options, now, .. } = self;
        let post = &mut self.posts[slot.0 as usize];
        let wait = post.failures.one_more(Phase::StartUp, &options.backoff, random);
        post.no_recycle_before = now.saturating_add(wait);
    }

    /// Whether a worker would be recycled if only it were later.
    pub(super) fn recycling_is_put_off(&self, slot: Slot) -> bool {
        let waits = self.surplus(slot).is_some_and(|(index, _)| self.members[index].going.is_none());
        waits && self.posts[slot.0 as usize].no_recycle_before > self.now
    }
}
