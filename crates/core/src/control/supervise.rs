//! Which workers there are to be, and what becomes of them: the brain of supervision.
//!
//! There is a fixed number of *slots*, and a *bench* of standbys. A slot has one current worker; it may
//! have a successor that is starting, and any number of former workers that drain. The shell spawns,
//! signals and reports; docs/lifecycle.md has the states and moves as tables.
//!
//! - A worker that fails is replaced: at once if it had been ready and all was well, else after a
//!   backoff, and not at all once there have been too many restarts.
//! - One that is to go (it retires, is recycled or reloaded) is replaced first and drained then. How
//!   long it may be kept for that depends on why it goes: [`member::Going`].
//! - What has been replaced only has to end: by draining, by SIGTERM, by SIGKILL. How it ends has no
//!   consequences.
//!
//! Each input changes what is said of a slot or a worker; [`Supervise::settle`] then does what follows.
//! Workers are not trusted, and the shell may be late: whatever an input names need not exist (any more).

mod backoff;
mod budget;
mod event;
mod health;
mod invariants;
mod member;
mod messages;
mod options;
mod post;
mod recycle;
mod reload;
mod restart;
mod retire;
mod scale;
mod shutdown;
mod spawn;
mod start_up;
mod stats;
mod takeover;
mod terms;
#[cfg(test)]
mod tests;
mod watch;

use std::time::Duration;

use self::budget::Budget;
pub use self::event::{Event, GivingUp};
use self::member::{Member, Place, Stage};
pub use self::messages::{Input, Output};
pub use self::options::{
    Backoff, Intensity, MAX_WORKERS, OnGiveUp, Options, ReadyWhen, Recycle, RestartPolicy,
};
use self::post::{Post, Standing};
use self::reload::Reload;
use self::scale::Scales;
use self::shutdown::{Ending, Stopping};
use self::start_up::StartUp;
pub use self::stats::{SlotState, SlotStats, Stats};
pub use self::takeover::TAKEOVER;
pub use self::terms::{
    By, Cause, Excess, ExitKind, Failure, KillSignal, Phase, Reason, Scope, Time, Vitals, Why,
};
use crate::ids::{Slot, WorkerId};
use crate::random::Random;

/// How far the cluster as a whole has got.
#[derive(Debug)]
enum Run {
    Idle,
    Running,
    Ending(Ending),
}

/// Decides. Made once, fed with everything that happens, never asked for anything else.
#[derive(Debug)]
pub struct Supervise {
    options: Options,
    random: Random,
    run: Run,
    /// Only while running.
    stopping: Option<Stopping>,
    now: Time,
    /// In the order in which they were ordered.
    members: Vec<Member>,
    /// The first `wanted` are the slots; those above are being emptied.
    posts: Vec<Post>,
    wanted: u32,
    bench: Post,
    total: Budget,
    restarts: u64,
    next_ticket: u64,
    /// The number of the last reload, and of the last that came through.
    generation: u32,
    proven: u32,
    reload: Option<Reload>,
    scales: Scales,
    /// There have been too many restarts: the last failure. Looked at when everything else is done.
    gave_up: Option<Why>,
    start_up: StartUp,
    samples_at: Option<Time>,
    /// Workers that have asked to go just now.
    wishes: Vec<WorkerId>,
    outbox: Vec<Output>,
}

impl Supervise {
    /// A cluster that is not started yet. The seed is for what differs at random: waits and limits.
    #[must_use]
    pub fn new(options: Options, seed: u64) -> Self {
        let options = Options {
            workers: options.workers.clamp(1, MAX_WORKERS),
            standby: options.standby.min(MAX_WORKERS),
            sample_period: options.sample_period.max(Duration::from_millis(1)),
            ..options
        };
        Self {
            random: Random::new(seed),
            run: Run::Idle,
            stopping: None,
            now: Time::ZERO,
            members: Vec::new(),
            posts: Vec::new(),
            wanted: options.workers,
            bench: Post::new(Standing::Held, &options),
            total: Budget::new(options.total_intensity),
            restarts: 0,
            next_ticket: 0,
            generation: 0,
            proven: 0,
            reload: None,
            scales: Scales::default(),
            gave_up: None,
            start_up: StartUp::default(),
            samples_at: None,
            wishes: Vec::new(),
            outbox: Vec::new(),
            options,
        }
    }

    /// When to give [`Input::Tick`] if nothing happens before. None when there is nothing to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let members = self.members.iter().filter_map(Member::deadline);
        let posts = self.posts_with_slots().filter_map(|(slot, post)| self.post_deadline(slot, post));
        let bench = self.post_deadline(None, &self.bench);
        let stopping = self.stopping.as_ref().map(|stopping| stopping.until);
        members.chain(posts).chain(bench).chain(self.samples_at).chain(stopping).min()
    }

    /// When to look at the workers: from then on, give [`Input::Vitals`] of each, then [`Input::Tick`].
    /// Never earlier than [`Self::next_deadline`]. None when nobody needs to be looked at.
    #[must_use]
    pub fn samples_at(&self) -> Option<Time> {
        self.samples_at
    }

    /// Takes in what happened and says what to do about it.
    ///
    /// The outputs are appended to `out`. Carry them all out, in order, before the next input.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        match input {
            Input::Start => self.start(),
            Input::Spawned { ticket, worker } => self.spawned(ticket, worker),
            Input::SpawnFailed { ticket, cause } => self.spawn_failed(ticket, cause),
            Input::Online { worker } => self.heard(worker, ReadyWhen::Online),
            Input::Listening { worker } => self.heard(worker, ReadyWhen::Listening),
            Input::Ready { worker } => self.heard(worker, ReadyWhen::Explicit),
            Input::RetireAsked { worker, reason, detail, by } => {
                self.retire_asked(worker, reason, detail, by);
            }
            Input::Leaving { worker } => self.left(worker),
            Input::Held { worker, drained, resources } => self.held(worker, drained, resources),
            Input::ServesAlone { worker, listeners } => self.serves_alone(worker, listeners),
            Input::CutOff { worker } => self.cut_off(worker),
            Input::Exited { worker, exit } => self.exited(worker, exit),
            Input::Vitals { worker, vitals } => {
                // Weighed by the tick that follows.
                if let Some(index) = self.find(worker) {
                    self.members[index].health.show(vitals);
                }
                return;
            }
            Input::Stack { worker, text } => self.captured(worker, text),
            Input::Scale { workers, request } => self.scale_asked(workers, request),
            Input::Reload { concurrency, request } => self.reload_asked(concurrency, request),
            Input::Shutdown { delay, timeout, request } => self.shutdown_asked(delay, timeout, request),
            Input::Force => self.force(),
            Input::Tick => self.sample(),
        }
        self.expire();
        self.settle();
        out.append(&mut self.outbox);
    }

    fn start(&mut self) {
        if matches!(self.run, Run::Idle) {
            self.run = Run::Running;
            self.start_up.begin(self.now);
            let due = Standing::Due { at: self.now, cause: Cause::Start };
            self.posts = (0..self.wanted).map(|_| Post::new(due, &self.options)).collect();
        }
    }

    /// Does what follows from whatever happened.
    fn settle(&mut self) {
        if matches!(self.run, Run::Running) {
            self.end_waits();
            loop {
                // Each of these leaves work for the ones after it only; except that a standby which takes
                // over the last slot completes a reload.
                self.advance_reload();
                self.apply_scales();
                self.start_recycling();
                self.fill_slots();
                self.release_those_who_go();
                if !self.reload_is_complete() {
                    break;
                }
            }
            self.fill_bench();
            self.answer_scales();
            self.forget_empty_slots();
        }
        self.end_if_hopeless();
        self.answer_wishes();
        self.answer_shutdown();
        self.plan_samples();
    }

    /// What has had its time.
    fn expire(&mut self) {
        self.delayed_long_enough();
        let mut index = 0;
        while index < self.members.len() {
            let removed = self.expire_one(index);
            index += usize::from(!removed);
        }
    }

    /// True if it is no member any more.
    fn expire_one(&mut self, index: usize) -> bool {
        let member = &self.members[index];
        let over = |until: Time| until <= self.now;
        match member.stage {
            Stage::Starting { ready_by } if over(ready_by) && member.able => self.is_ready_now(index),
            Stage::Starting { ready_by } if over(ready_by) => return self.not_ready(index),
            Stage::Terminating { until } if over(until) => return self.terminated_too_long(index),
            Stage::Ready { since } if member.health.old_at(since).is_some_and(over) => {
                self.too_old(index, since);
            }
            Stage::Draining { until } if over(until) => self.drained_too_long(index),
            Stage::Capturing { until, .. } if over(until) => self.kill_hung(index, None),
            _ => {}
        }
        false
    }

    fn post_deadline(&self, slot: Option<Slot>, post: &Post) -> Option<Time> {
        if !matches!(self.run, Run::Running) {
            return None;
        }
        let due = match post.standing {
            Standing::Due { at, .. } => Some(at),
            _ => None,
        };
        let put_off = slot.filter(|slot| self.recycling_is_put_off(*slot)).map(|_| post.no_recycle_before);
        due.into_iter().chain(put_off).min()
    }

    fn say(&mut self, output: Output) {
        self.outbox.push(output);
    }

    fn tell(&mut self, event: Event) {
        self.say(Output::Tell(event));
    }

    fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.wanted).map(Slot)
    }

    fn posts_with_slots(&self) -> impl Iterator<Item = (Option<Slot>, &Post)> {
        self.slots().map(Some).zip(&self.posts)
    }

    /// What is remembered of a slot; of the bench if it is none.
    fn post(&mut self, slot: Option<Slot>) -> &mut Post {
        match slot {
            Some(slot) => &mut self.posts[slot.0 as usize],
            None => &mut self.bench,
        }
    }

    fn standing(&self, slot: Slot) -> Standing {
        self.posts[slot.0 as usize].standing
    }

    fn find(&self, worker: WorkerId) -> Option<usize> {
        self.members.iter().position(|member| member.id == Some(worker))
    }

    fn at(&self, place: Place) -> Option<usize> {
        self.members.iter().position(|member| member.place == place)
    }

    fn current(&self, slot: Slot) -> Option<usize> {
        self.at(Place::Current(slot))
    }

    fn successor(&self, slot: Slot) -> Option<usize> {
        self.at(Place::Successor(slot))
    }

    fn has_ready(&self, slot: Slot) -> bool {
        self.current(slot).is_some_and(|index| self.members[index].is_ready())
    }

    fn in_time(&self, how_long: Duration) -> Time {
        self.now.saturating_add(how_long)
    }
}
