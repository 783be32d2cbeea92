//! A worker fails: is there another, and when?

use super::backoff::Failures;
use super::member::{Going, Member, Place, Stage};
use super::post::Standing;
use super::{Cause, Event, ExitKind, Phase, Reason, RestartPolicy, Run, Scope, Supervise, Time, Why};
use crate::ids::{Slot, WorkerId};

/// Who fails, and how.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) worker: Option<WorkerId>,
    pub(super) why: Why,
    pub(super) phase: Phase,
    /// Which reload it came from.
    pub(super) generation: u32,
    /// What its replacement is spawned for.
    pub(super) cause: Cause,
    /// It is there until its replacement is ready.
    pub(super) stays: bool,
}

impl Loss {
    pub(super) fn of(member: &Member, why: Why) -> Self {
        Self {
            worker: member.id,
            phase: if member.is_ready() { Phase::Service } else { Phase::StartUp },
            generation: member.generation,
            cause: match why {
                Why::Retired(_) => Cause::Retire,
                Why::Unresponsive => Cause::Unresponsive,
                _ => Cause::Restart,
            },
            stays: matches!(member.place, Place::Current(_))
                && member.is_ready()
                && matches!(&why, Why::Retired(reason) if *reason != Reason::Disconnect),
            why,
        }
    }
}

impl Supervise {
    pub(super) fn exited(&mut self, worker: WorkerId, exit: ExitKind) {
        if let Some(index) = self.find(worker) {
            self.gone(index, Why::Exited(exit));
        }
    }

    /// A process has ended, or has never come into being.
    pub(super) fn gone(&mut self, index: usize, why: Why) {
        self.note_health(index);
        // It may have ended before it was known where it was blocked.
        self.tell_of_hang(index, None);
        let member = self.members.remove(index);
        if !matches!(self.run, Run::Running) {
            return;
        }
        if let Place::Former(slot) = member.place {
            self.former_gone(slot, &member, why);
        } else {
            let loss = Loss::of(&member, why);
            self.lost(member.place, member.going.as_ref(), loss);
        }
    }

    /// As a rule nobody cares for how a former worker ends.
    fn former_gone(&mut self, slot: Option<Slot>, member: &Member, why: Why) {
        let Some(slot) = slot.filter(|slot| slot.0 < self.wanted) else { return };
        if self.standing(slot) == Standing::Ending(member.ticket) {
            let loss = Loss { phase: Phase::Service, ..Loss::of(member, why) };
            self.replace_by_policy(Some(slot), loss);
        }
    }

    /// One that counted does so no more: it has ended, or it is on its way.
    pub(super) fn lost(&mut self, place: Place, going: Option<&Going>, loss: Loss) {
        match place {
            Place::Current(slot) => self.current_lost(slot, going, loss),
            Place::Successor(slot) => self.successor_lost(slot, loss),
            Place::Standby => self.replace_by_policy(None, loss),
            Place::Former(_) => {}
        }
    }

    fn current_lost(&mut self, slot: Slot, going: Option<&Going>, loss: Loss) {
        if loss.phase == Phase::StartUp {
            self.reload_meets(slot, &loss);
            self.scale_meets(slot, &loss.why);
        }
        let expected = matches!(going, Some(Going::Soon { .. }));
        if let Some(successor) = self.successor(slot) {
            self.members[successor].place = Place::Current(slot);
            if !expected {
                self.tell_restart(Some(slot), &loss, Time::ZERO);
            }
        } else if !expected {
            // One that was expected to go has been dealt with when that was decided.
            self.replace_by_policy(Some(slot), loss);
        }
    }

    /// The old one goes on, unless it must not.
    pub(super) fn successor_lost(&mut self, slot: Slot, loss: Loss) {
        self.reload_meets(slot, &loss);
        let Some(current) = self.current(slot) else { return };
        match &self.members[current].going {
            // The old one stays for as long as it takes.
            Some(Going::Soon { until, .. }) => {
                let stays = until.is_none();
                self.replace(Some(slot), Loss { stays, ..loss });
            }
            Some(Going::WhenReplaced(Reason::Recycle(_))) => {
                self.members[current].going = None;
                self.put_recycling_off(slot);
            }
            _ => self.members[current].going = None,
        }
    }

    pub(super) fn replace_by_policy(&mut self, slot: Option<Slot>, loss: Loss) {
        if self.calls_for_another(&loss.why) {
            self.replace(slot, loss);
        } else {
            let post = self.post(slot);
            post.standing = Standing::Stopped;
            post.failure = Some(loss.why.clone()).filter(Why::is_failure);
            if let Some(slot) = slot {
                self.scale_meets(slot, &loss.why);
            }
            self.tell(Event::Stopped { worker: loss.worker, slot, why: loss.why });
        }
    }

    fn calls_for_another(&self, why: &Why) -> bool {
        let code = match why {
            Why::Exited(ExitKind::Code(code)) => Some(*code),
            _ => None,
        };
        match self.options.restart {
            _ if code.is_some_and(|code| self.options.stop_exit_codes.contains(&code)) => false,
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != Some(0),
            RestartPolicy::Never => false,
        }
    }

    /// Counts a failure, and says when there is another worker. True if that is now.
    pub(super) fn replace(&mut self, slot: Option<Slot>, loss: Loss) -> bool {
        // A standby at hand costs nothing to put in.
        let at_once = slot.is_some() && self.promotable().is_some();
        let Self { random, options, .. } = self;
        let post = match slot {
            Some(slot) => &mut self.posts[slot.0 as usize],
            None => &mut self.bench,
        };
        let wait = post.failures.one_more(loss.phase, &options.backoff, random);
        let delay = if at_once { Time::ZERO } else { wait };
        let at = self.now.saturating_add(delay);
        // Whoever stays until there is another does no harm by it, so only the waits limit that.
        if !loss.stays {
            if self.start_up.is_over(at, loss.phase, post.failures.count(), options.start_up_limit) {
                self.give_up(slot, loss, at, Some(Scope::StartUp));
                return false;
            }
            if !post.budget.admits(at) || !self.total.admits(at) {
                self.give_up(slot, loss, at, None);
                return false;
            }
            post.budget.spend(self.now, at);
            self.total.spend(self.now, at);
        }
        post.restarts += 1;
        let due = match post.standing {
            // More than one standby may fail.
            Standing::Due { at: later, .. } => at.max(later),
            _ => at,
        };
        post.standing = Standing::Due { at: due, cause: loss.cause };
        let failures = post.failures.count();
        self.restarts += 1;
        // A retirement has been told as such.
        if loss.cause != Cause::Retire {
            self.tell_restart(slot, &loss, delay);
        }
        if !delay.is_zero() {
            self.tell(Event::Backoff { slot, delay, failures });
        }
        delay.is_zero()
    }

    fn tell_restart(&mut self, slot: Option<Slot>, loss: &Loss, delay: Time) {
        let now = self.now;
        let restarts = self.post(slot).budget.used(now);
        let Loss { worker, why, phase, .. } = loss.clone();
        self.tell(Event::Restart { slot, worker, why, phase, delay, restarts });
    }

    fn give_up(&mut self, slot: Option<Slot>, loss: Loss, at: Time, scope: Option<Scope>) {
        let post = self.post(slot);
        post.standing = Standing::GivenUp;
        post.failure = Some(loss.why.clone());
        let own_is_used_up = !post.budget.admits(at);
        let scope = scope.unwrap_or(if own_is_used_up { Scope::Slot } else { Scope::Total });
        let (restarts, period) = match scope {
            Scope::Slot => (post.budget.used(at), post.budget.intensity().period),
            Scope::Total => (self.total.used(at), self.total.intensity().period),
            Scope::StartUp => {
                let restarts = u32::try_from(post.restarts).unwrap_or(u32::MAX);
                (restarts, self.start_up.tried_for(self.now))
            }
        };
        self.gave_up = Some(loss.why.clone());
        if let Some(slot) = slot {
            self.scale_meets(slot, &loss.why);
        }
        let Loss { worker, why, .. } = loss;
        self.tell(Event::GaveUp { slot, worker, scope, restarts, period, why });
    }

    /// A worker that has been well for long enough speaks for its slot.
    pub(super) fn note_health(&mut self, index: usize) {
        let Member { place, stage, .. } = self.members[index];
        let Stage::Ready { since } = stage else { return };
        if self.now.saturating_sub(since) < self.options.backoff.reset_after {
            return;
        }
        match place {
            Place::Current(slot) if slot.0 < self.wanted => {
                self.post(Some(slot)).failures = Failures::default();
            }
            Place::Standby => self.bench.failures = Failures::default(),
            _ => {}
        }
    }
}
