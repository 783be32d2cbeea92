//! What must be true between any two inputs. The simulation asks after each step.

use super::member::{Going, Member, Place, Stage};
use super::post::Standing;
use super::{Run, Supervise};
use crate::ids::Slot;

impl Supervise {
    /// Says which rule is broken, if one is.
    ///
    /// # Errors
    /// The broken rule in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_members()?;
        if matches!(self.run, Run::Running) {
            for slot in self.slots() {
                self.check_slot(slot)?;
            }
            self.check_bench()?;
            self.check_requests()?;
        } else {
            let former = self.members.iter().all(Member::is_former);
            ensure(former, || "a worker is kept although everything ends".into())?;
        }
        self.check_deadlines()
    }

    fn check_members(&self) -> Result<(), String> {
        for (index, member) in self.members.iter().enumerate() {
            let ticket = member.ticket.0;
            for other in &self.members[..index] {
                ensure(other.ticket < member.ticket, || format!("{ticket} is there twice"))?;
                let same = other.id.is_some() && other.id == member.id;
                ensure(!same, || format!("{ticket} is the same worker as {}", other.ticket.0))?;
                let same =
                    !member.is_former() && member.place != Place::Standby && member.place == other.place;
                ensure(!same, || format!("{ticket} and {} are both {:?}", other.ticket.0, member.place))?;
            }
            let in_use = matches!(member.stage, Stage::Starting { .. } | Stage::Ready { .. });
            ensure(in_use != member.is_former(), || {
                format!("{ticket} is {:?} and {:?}", member.place, member.stage)
            })?;
            ensure(!member.is_ready() || member.id.is_some(), || format!("{ticket} is ready and nobody"))?;
            let current = matches!(member.place, Place::Current(_));
            ensure(current || member.going.is_none(), || format!("{ticket} goes from nowhere"))?;
            if let Place::Successor(slot) = member.place {
                ensure(!member.is_ready(), || format!("{ticket} waits behind a worker for nothing"))?;
                ensure(self.current(slot).is_some(), || format!("{ticket} succeeds nobody"))?;
            }
            let slot = member.place.slot().filter(|_| matches!(self.run, Run::Running));
            let known = slot.is_none_or(|slot| (slot.0 as usize) < self.posts.len());
            ensure(known, || format!("{ticket} has a slot that does not exist"))?;
            let wanted = slot.is_none_or(|slot| slot.0 < self.wanted) || member.is_former();
            ensure(wanted, || format!("{ticket} has a slot that is not wanted"))?;
        }
        Ok(())
    }

    fn check_slot(&self, slot: Slot) -> Result<(), String> {
        let post = &self.posts[slot.0 as usize];
        let current = self.current(slot).map(|index| &self.members[index]);
        let going = current.and_then(|member| member.going.as_ref());
        let goes_soon = matches!(going, Some(Going::Soon { .. }));
        let succeeded = self.successor(slot).is_some();
        let fits = match post.standing {
            Standing::Held => current.is_some() && succeeded == going.is_some(),
            Standing::Due { .. } | Standing::GivenUp => !succeeded && current.is_some() == goes_soon,
            Standing::Stopped => current.is_none(),
            Standing::Ending(ticket) => {
                current.is_none() && self.members.iter().any(|member| member.ticket == ticket)
            }
        };
        ensure(fits, || format!("{slot} is {:?} with {current:?}, succeeded: {succeeded}", post.standing))?;
        let others_serve = self.slots().all(|other| other == slot || self.has_ready(other));
        let limited = matches!(going, Some(Going::Soon { until: Some(_), .. }));
        ensure(!(limited && others_serve), || format!("the worker of {slot} is kept for nothing"))?;
        ensure(post.budget.is_kept(), || format!("{slot} has had more restarts than there may be"))
    }

    fn check_bench(&self) -> Result<(), String> {
        let there = self.members.iter().filter(|member| member.place == Place::Standby).count();
        let size = self.options.standby as usize;
        ensure(there <= size, || "there are more standbys than there are to be".into())?;
        let filled = self.bench.standing != Standing::Held || there == size;
        ensure(filled, || "a standby is missing".into())?;
        let waits = self
            .slots()
            .any(|slot| matches!(self.standing(slot), Standing::Due { .. }) && self.current(slot).is_none());
        ensure(!(waits && self.promotable().is_some()), || "a slot waits, and so does a standby".into())?;
        ensure(self.total.is_kept(), || "there have been more restarts than there may be".into())
    }

    fn check_requests(&self) -> Result<(), String> {
        let hopeless = self.hopeless();
        ensure(hopeless.is_none(), || format!("nobody will ever serve: {hopeless:?}"))?;
        let reloads = self.reload.is_none() || self.slots().any(|slot| self.is_reloading(slot));
        ensure(reloads, || "the reload waits for nothing".into())
    }

    fn check_deadlines(&self) -> Result<(), String> {
        let members = self.members.iter().filter_map(Member::deadline);
        let mut deadlines =
            members.chain(self.posts_with_slots().filter_map(|(slot, post)| self.post_deadline(slot, post)));
        let stopping = self.stopping.as_ref().map(|stopping| stopping.until);
        ensure(stopping.is_none() || matches!(self.run, Run::Running), || "the end is yet to begin".into())?;
        ensure(stopping.is_none_or(|until| until > self.now), || "the end should have begun".into())?;
        let past = deadlines.find(|deadline| *deadline < self.now);
        ensure(past.is_none(), || format!("{past:?} has passed, and it is {:?}", self.now))?;
        let immortal = |member: &&Member| {
            member.deadline().is_none() && !member.is_ready() && member.stage != Stage::Killed
        };
        let forgotten = self.members.iter().find(immortal);
        ensure(forgotten.is_none(), || format!("nobody looks after {forgotten:?}"))
    }
}

fn ensure(holds: bool, rule: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule()) }
}
