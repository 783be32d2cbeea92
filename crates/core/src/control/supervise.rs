//! Supervision as a state machine: decides which workers are started, replaced and ended.
//!
//! There is a fixed number of *slots*, and a *bench* of standbys. A slot has one current worker; it may have
//! a successor that is starting, and any number of former workers that drain. The shell spawns, signals and
//! reports; docs/lifecycle.md has the states and transitions as tables.
//!
//! - A worker that fails is replaced: at once if it had been ready and healthy, else after a backoff, and not
//!   at all after too many restarts.
//! - A worker that retires, is recycled or is reloaded is replaced first and drained then. How long it may
//!   stay until then depends on the reason: [`worker::Going`].
//! - A former worker only has to end: by draining, by SIGTERM, by SIGKILL. How it ends has no consequences.
//!
//! [`cluster::Cluster`] has the slots and the workers; `Run`, `Changes`, `Restarts` and `Watch` own
//! the state of their own decisions. Each input changes one of them; [`Supervise::follow_up`] then does what
//! follows. Workers are not trusted, and the shell may be late: an input may name something that no longer
//! exists.

mod backoff;
mod budget;
mod changes;
mod cluster;
mod describe;
mod ending;
mod event;
mod follow;
mod health;
mod invariants;
mod messages;
mod operate;
mod option_rules;
mod options;
mod recycle;
mod reload;
mod replace;
mod restart;
mod retire;
mod run;
mod scale;
mod slot_record;
mod slots;
mod spawn;
mod start_up;
mod stats;
mod takeover;
mod terms;
#[cfg(test)]
mod tests;
mod watch;
mod worker;

use std::time::Duration;

use self::changes::Changes;
use self::cluster::Cluster;
pub use self::describe::describe;
pub use self::event::{Event, GivingUp};
pub use self::messages::{Input, Output, SpawnOrder};
pub use self::option_rules::Invalid;
pub use self::options::{
    Backoff, Intensity, MAX_WORKERS, OnGiveUp, Options, ReadyWhen, Recycle, RestartPolicy,
};
use self::restart::Restarts;
use self::run::Run;
use self::stats::Progress;
pub use self::stats::{LeavingStats, SlotState, SlotStats, Standbys, Stats};
pub use self::takeover::TAKEOVER;
pub use self::terms::{
    By, Cause, Excess, ExitKind, Failure, KillSignal, Phase, Reason, Scope, StderrTail, Time, Vitals, Why,
};
use self::watch::Watch;
use self::worker::{Stage, Worker};
use crate::ids::{Request, WorkerId};

/// The state machine. It is created once and fed with every input.
#[derive(Debug)]
pub struct Supervise {
    cluster: Cluster,
    run: Run,
    restarts: Restarts,
    changes: Changes,
    watch: Watch,
}

impl Supervise {
    /// Creates a cluster that is not started yet. The seed is for random waits and limits.
    #[must_use]
    pub fn new(options: Options, seed: u64) -> Self {
        let options = Options {
            workers: options.workers.clamp(1, MAX_WORKERS),
            standby: options.standby.min(MAX_WORKERS),
            sample_period: options.sample_period.max(Duration::from_millis(1)),
            ..options
        };
        Self {
            run: Run::new(),
            restarts: Restarts::new(&options),
            changes: Changes::new(options.follow_cpus),
            watch: Watch::default(),
            cluster: Cluster::new(options, seed),
        }
    }

    /// When to give [`Input::Tick`] if no other input comes earlier. `None` if no timer is set.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let workers = self.cluster.workers().iter().filter_map(Worker::deadline);
        let bench = self.cluster.slots().bench().due_at().filter(|_| self.run.is_running());
        workers
            .chain(self.slot_deadlines())
            .chain(bench)
            .chain(self.watch.samples_at())
            .chain(self.run.deadline())
            .min()
    }

    fn slot_deadlines(&self) -> impl Iterator<Item = Time> {
        let slots = self.cluster.all_slots().filter(|_| self.run.is_running());
        slots.flat_map(|slot| [self.cluster.record(slot).due_at(), self.cluster.recycles_at(slot)]).flatten()
    }

    /// When to sample the workers: give [`Input::Vitals`] of each, then [`Input::Tick`]. Never earlier than
    /// [`Self::next_deadline`]. `None` if no sampling is needed.
    #[must_use]
    pub fn samples_at(&self) -> Option<Time> {
        self.watch.samples_at()
    }

    /// The workers that will fail at the next tick because they are not ready in time.
    pub fn late(&self, now: Time) -> impl Iterator<Item = WorkerId> {
        self.cluster.workers().iter().filter(move |it| it.is_late(now)).filter_map(Worker::id)
    }

    /// Processes an input at the time `now`.
    ///
    /// The outputs are appended to `out`. Carry them all out, in order, before the next input.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        self.cluster.advance(now);
        match input {
            Input::Start => self.start(),
            Input::Spawned { ticket, worker } => self.cluster.on_spawned(ticket, worker),
            Input::SpawnFailed { ticket, cause } => self.on_spawn_failed(ticket, cause),
            Input::Online { worker } => self.on_progress(worker, ReadyWhen::Online),
            Input::Listening { worker } => self.on_progress(worker, ReadyWhen::Listening),
            Input::Ready { worker } => self.on_progress(worker, ReadyWhen::Explicit),
            Input::RetireAsked { worker, reason, detail, by } => {
                self.on_retire_asked(worker, reason, detail, by);
            }
            Input::Leaving { worker } => self.on_leaving(worker),
            Input::Held { worker, drained, resources } => self.cluster.on_held(worker, drained, resources),
            Input::ServesAlone { worker, listeners } => self.cluster.on_serves_alone(worker, listeners),
            Input::CutOff { worker } => self.on_cut_off(worker),
            Input::Stderr { worker, lines } => {
                // Reported with the failure that follows.
                if let Some(index) = self.cluster.find(worker) {
                    self.cluster.worker_mut(index).on_stderr(lines);
                }
                return;
            }
            Input::Exited { worker, exit } => self.on_exited(worker, exit),
            Input::Vitals { worker, vitals } => {
                // Evaluated by the tick that follows.
                if let Some(index) = self.cluster.find(worker) {
                    self.cluster.worker_mut(index).on_vitals(vitals);
                }
                return;
            }
            Input::Excuse { worker, until } => self.cluster.excuse(worker, until),
            Input::Stack { worker, text } => self.cluster.on_stack(worker, text),
            Input::Scale { workers, request } => self.on_scale_asked(workers, request),
            Input::Limits { cpus, memory } => {
                self.changes.on_cpus(self.cluster.now(), cpus);
                self.cluster.on_memory(memory);
            }
            Input::FollowCpus => self.changes.on_follow_asked(),
            Input::Restart { slot, request } => self.on_restart_asked(slot, request),
            Input::DrainSlot { slot, request } => self.on_drain_asked(slot, request),
            Input::Reload { concurrency, request } => self.on_reload_asked(concurrency, request),
            Input::Shutdown { delay, timeout, request } => self.on_shutdown_asked(delay, timeout, request),
            Input::Force => {
                self.end(Duration::ZERO, None);
                self.cluster.kill_all();
            }
            Input::Tick => self.sample(),
        }
        self.expire();
        self.follow_up();
        self.cluster.take_outputs(out);
    }

    fn start(&mut self) {
        if self.run.start() {
            self.restarts.on_new_code(self.cluster.now());
            self.cluster.start();
        }
    }

    /// Evaluates the samples of all workers, if it is due.
    fn sample(&mut self) {
        if !self.watch.take_due(self.cluster.now()) {
            return;
        }
        for index in 0..self.cluster.workers().len() {
            if let Some((worker, blocked_for)) = self.cluster.weigh(index) {
                self.on_unresponsive(index, worker, blocked_for);
            }
        }
    }

    /// A worker has reached this stage of its start.
    fn on_progress(&mut self, worker: WorkerId, how_far: ReadyWhen) {
        if let Some(index) = self.cluster.find_able(worker, how_far)
            && self.cluster.on_able(index)
        {
            self.on_ready(index);
        }
    }

    fn on_ready(&mut self, index: usize) {
        self.restarts.on_ready();
        self.cluster.on_ready(index);
    }

    fn on_scale_asked(&mut self, workers: u32, request: Request) {
        match self.run.refusal() {
            Some(failure) => self.cluster.answer(vec![request], &Err(failure)),
            None => self.changes.on_scale_asked(&mut self.cluster, workers, request),
        }
    }

    fn on_reload_asked(&mut self, concurrency: u32, request: Request) {
        if let Some(failure) = self.run.refusal() {
            self.cluster.answer(vec![request], &Err(failure));
        } else if self.changes.on_reload_asked(&mut self.cluster, concurrency, request) {
            self.restarts.on_new_code(self.cluster.now());
        }
    }

    fn on_shutdown_asked(&mut self, delay: Duration, timeout: Duration, request: Request) {
        if !self.run.is_running() || delay.is_zero() {
            self.end(timeout, None);
            self.run.add_request(request);
        } else if self.run.announce(self.cluster.in_time(delay), timeout, request) {
            self.cluster.tell(Event::Stopping { delay });
            self.changes.abandon(&mut self.cluster);
        }
    }

    /// Begins the shutdown: nothing is started any more. A further call can only shorten it.
    fn end(&mut self, timeout: Duration, gave_up: Option<GivingUp>) {
        if self.run.end(gave_up.as_ref().map(|stop| stop.exit_code)) {
            self.cluster.tell(Event::Shutdown { gave_up, timeout });
            self.changes.abandon(&mut self.cluster);
        }
        self.cluster.drain_all(timeout);
    }

    /// Does what follows from any input.
    fn follow_up(&mut self) {
        if self.run.is_running() {
            self.keep_up();
        }
        self.end_if_hopeless();
        self.answer_requests_to_go();
        self.changes.answer_operations(&mut self.cluster);
        if self.run.is_ending() && self.cluster.workers().is_empty() {
            let (requests, exit_code) = self.run.finish();
            self.cluster.answer(requests, &Ok(()));
            if let Some(code) = exit_code {
                self.cluster.say(Output::StopPrimary { code });
            }
        }
        self.watch.plan(&self.cluster, self.run.is_running());
    }

    /// Ensures that every slot has the worker that it needs.
    fn keep_up(&mut self) {
        for index in 0..self.cluster.workers().len() {
            if self.cluster.has_waited(index) {
                self.on_ready(index);
            }
        }
        loop {
            // Each step leaves work only for the steps after it, with one exception: a standby that takes
            // over the last slot completes a reload.
            self.changes.advance(&mut self.cluster, self.run.is_announced());
            self.cluster.start_recycling(self.changes.is_reloading());
            self.cluster.fill_slots(self.changes.generations());
            self.release_retired();
            if !self.changes.must_advance(&self.cluster) {
                break;
            }
        }
        self.cluster.fill_bench(self.changes.generations());
        self.changes.answer_scaling(&mut self.cluster);
        self.cluster.forget_empty_slots();
    }

    /// Ends if a slot was given up and that ends the cluster, or if failures have left no slot that can serve
    /// again.
    fn end_if_hopeless(&mut self) {
        // The cause is reported before its consequences.
        if !self.cluster.is_all_told() {
            return;
        }
        let options = self.cluster.options();
        let (exit_code, timeout) = (options.give_up_exit_code, options.shutdown_timeout);
        let exits = options.on_give_up == OnGiveUp::Exit;
        let gave_up = self.restarts.take_gave_up().filter(|_| exits);
        let hopeless = || if self.run.is_running() { self.cluster.hopeless() } else { None };
        let Some(why) = gave_up.or_else(hopeless) else { return };
        // If an end was already requested, this is not a failure: it only comes earlier.
        let stop = (!self.run.is_announced()).then_some(GivingUp { exit_code, why });
        self.end(timeout, stop);
    }

    /// Handles all timers that have expired.
    fn expire(&mut self) {
        if let Some(timeout) = self.run.due(self.cluster.now()) {
            self.end(timeout, None);
        }
        let mut index = 0;
        while index < self.cluster.workers().len() {
            let is_forgotten = self.expire_one(index);
            index += usize::from(!is_forgotten);
        }
    }

    /// Handles the timers of one worker. True if the worker has been removed.
    fn expire_one(&mut self, index: usize) -> bool {
        let (worker, now) = (self.cluster.worker(index), self.cluster.now());
        let over = |until: Time| until <= now;
        match worker.stage() {
            Stage::Starting { ready_by } if over(ready_by) && worker.is_able() => self.on_ready(index),
            Stage::Starting { ready_by } if over(ready_by) => return self.on_not_ready(index),
            Stage::Terminating { until } if over(until) => return self.cluster.end_terminated(index),
            Stage::Ready { since } if worker.health().old_at(since).is_some_and(over) => {
                self.cluster.on_too_old(index, since);
            }
            Stage::Draining { until } if over(until) => self.cluster.end_drain(index),
            Stage::Capturing { until, .. } if over(until) => self.cluster.kill_blocked(index, None),
            _ => {}
        }
        false
    }

    /// Whether a slot has no ready worker but will get one.
    #[must_use]
    pub fn is_expecting(&self) -> bool {
        self.cluster.is_expecting(self.run.is_ending())
    }

    /// Whether a slot has a ready worker, or will get one.
    #[must_use]
    pub fn has_worker_or_will(&self) -> bool {
        self.is_expecting() || self.cluster.is_serving(self.run.is_ending())
    }

    /// All workers whose process is not known to have exited.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.cluster.workers().iter().filter_map(Worker::id)
    }

    /// Whether [`Input::Limits`] is used at all.
    #[must_use]
    pub fn needs_limits(&self) -> bool {
        self.run.is_running()
            && (self.changes.follows_cpus() || self.options().recycle.memory_share.is_some())
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &Options {
        self.cluster.options()
    }

    /// The statistics of the cluster.
    #[must_use]
    pub fn stats(&self, now: Time) -> Stats {
        let progress = Progress {
            restarts: self.restarts.count(),
            generation: self.changes.generations().newest,
            is_reloading: self.changes.is_reloading(),
            is_announced: self.run.is_announced(),
            is_ending: self.run.is_ending(),
        };
        self.cluster.stats(now, progress)
    }

    /// Checks the invariants.
    ///
    /// # Errors
    /// The broken invariant, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        let deadlines = self.slot_deadlines().chain(self.run.deadline());
        invariants::check((&self.cluster, &self.run), (&self.restarts, &self.changes), deadlines)
    }
}
