//! The decisions of the control thread about listeners and workers.
//!
//! One state machine owns both, because each depends on the other: a vacant listener stays open as long as
//! supervision is going to start a worker; a worker is ready once its listener is open; a draining worker
//! leaves its listeners, and a promoted one joins them. [`Control::input`] is the only entry. Outputs are
//! appended in the order in which they must be carried out.
//!
//! Workers are not trusted, and answers of the system may be late: an input may name something that no longer
//! exists.

mod drain;
mod invariants;
pub mod listeners;
pub mod liveness;
mod messages;
mod operate;
pub mod operator;
pub mod orphans;
mod readiness;
pub mod slots;
mod standbys;
pub mod supervise;
mod supervision;
#[cfg(test)]
mod tests;
pub mod unlinked;
mod workers;

use std::time::Duration;

use self::listeners::Listeners;
pub use self::messages::{Input, Output};
use self::operator::Operators;
use self::standbys::Standbys;
use self::supervise::{By, ExitKind, KillSignal, Reason, Stats};
use self::supervision::{Step, Supervision};
use self::unlinked::{Unlinked, Verdict};
use self::workers::{Worker, Workers};
use super::frames::{FromWorker, Reply, ToWorker};
use super::ids::WorkerId;
use super::schedule::Scheduling;

/// The state machine: see the module.
#[derive(Debug)]
pub struct Control {
    now: Duration,
    listeners: Listeners,
    supervision: Supervision,
    workers: Workers,
    standbys: Standbys,
    unlinked: Unlinked,
    operators: Operators,
    /// An operator has stopped the cluster, and [`Output::StopPrimary`] has not been issued yet.
    stops_primary: bool,
    outbox: Vec<Output>,
}

impl Control {
    /// Creates the state without listeners and workers. `scheduling` says how the connections of each
    /// listener are distributed; a worker may have `max_listeners` at a time, and at most
    /// [`listeners::MAX_LISTENERS`].
    #[must_use]
    pub fn new(scheduling: Scheduling, max_listeners: usize) -> Self {
        let mut listeners = Listeners::new(scheduling);
        listeners.limit(max_listeners);
        Self {
            now: Duration::ZERO,
            listeners,
            supervision: Supervision::default(),
            workers: Workers::default(),
            standbys: Standbys::default(),
            unlinked: Unlinked::default(),
            operators: Operators::default(),
            stops_primary: false,
            outbox: Vec::new(),
        }
    }

    /// When to give [`Input::Tick`] if no other input comes earlier, as a time since the same moment as
    /// `now`. `None` if no timer is set.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let parts =
            [self.listeners.next_deadline(), self.unlinked.next_deadline(), self.supervision.next_deadline()];
        parts.into_iter().flatten().min()
    }

    /// Whether [`supervise::Input::Limits`] is used at all.
    #[must_use]
    pub fn needs_limits(&self) -> bool {
        self.supervision.needs_limits()
    }

    /// The workers that will fail at the next tick because they are not ready in time.
    #[must_use]
    pub fn late(&self, now: Duration) -> Vec<WorkerId> {
        self.supervision.get().map(|supervise| supervise.late(now).collect()).unwrap_or_default()
    }

    /// The statistics of the supervised cluster; `None` without supervision.
    #[must_use]
    pub fn stats(&self, now: Duration) -> Option<Stats> {
        self.supervision.stats(now)
    }

    /// Whether enough workers are ready and the cluster is not about to end. The error is the reason.
    pub fn readiness(&self, now: Duration) -> Result<(), String> {
        self.supervision.readiness(now)
    }

    /// Whether enough workers have been ready at any time so far. The error says how many are now.
    pub fn started(&mut self, now: Duration) -> Result<(), String> {
        self.supervision.started(now)
    }

    /// Processes an input at the time `now`, which must not go back, and appends the outputs to `out`, in
    /// order. Carry out all of them, and give the answers that they require, before the next input.
    pub fn input(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        match input {
            Input::Forked { worker, external } => {
                self.workers.add(worker, Worker::new(external, false));
                self.listen(listeners::Input::WorkerStarted { worker });
            }
            Input::Spawned { ticket, worker, slot, external } => {
                self.workers.add(worker, Worker::new(external, true));
                if slot.is_none() {
                    self.standbys.add(worker);
                }
                self.listen(listeners::Input::WorkerStarted { worker });
                self.supervise(supervise::Input::Spawned { ticket, worker });
            }
            Input::SpawnFailed { ticket, cause } => {
                self.supervise(supervise::Input::SpawnFailed { ticket, cause });
            }
            Input::Frame(worker, frame) => self.on_frame(worker, frame),
            Input::HungUp(worker) => self.on_hang_up(worker),
            Input::Broke { worker, why } => self.cut_off(worker, why),
            Input::Exited { worker, exit } => self.on_exit(worker, exit),
            Input::Leave(worker) => self.on_leaving(worker),
            Input::Drain(worker, order) => self.say(Output::Send(worker, ToWorker::Drain(order))),
            Input::LastCalled(worker, order) => self.on_last_called(worker, order),
            Input::ExitReported(worker) => self.listen(listeners::Input::ExitReported { worker }),
            Input::Opened { listener, result } => self.listen(listeners::Input::Opened { listener, result }),
            Input::ReplyFailed { worker, reply, errno } => self.on_reply_failed(worker, &reply, errno),
            Input::Begin { options, seed } => {
                if self.supervision.begin(*options, seed) {
                    self.supervise(supervise::Input::Start);
                }
            }
            Input::Supervise(input) => self.supervise(input),
            Input::Operator(input) => self.on_operator(input),
            Input::Tick => self.on_tick(),
        }
        out.append(&mut self.outbox);
        out.extend(self.operators.take_outputs().into_iter().map(Output::Operator));
    }

    fn on_tick(&mut self) {
        self.listen(listeners::Input::Tick);
        for verdict in self.unlinked.due(self.now) {
            match verdict {
                Verdict::CutOff(worker) => self.cut_off(worker, "it has closed its control socket".into()),
                Verdict::Kill(worker) => self.say(Output::Kill(worker, KillSignal::Kill)),
            }
        }
        self.supervise(supervise::Input::Tick);
    }

    fn on_frame(&mut self, worker: WorkerId, frame: FromWorker) {
        match frame {
            FromWorker::Hello => self.supervise(supervise::Input::Online { worker }),
            FromWorker::Listen(request) => {
                self.listen(listeners::Input::Listen { worker, request: *request });
            }
            FromWorker::Listening { listener } => {
                self.listen(listeners::Input::Listening { worker, listener });
                self.supervise(supervise::Input::Listening { worker });
            }
            FromWorker::Close { listener } => {
                self.listen(listeners::Input::Close { worker, listener });
                // It may close a listener whose socket it has not received yet.
                self.standbys.on_leave(worker, listener);
            }
            FromWorker::ListensAlone => self.supervise(supervise::Input::Listening { worker }),
            FromWorker::Leaving => self.on_leaving(worker),
            // Neither listeners nor supervision are concerned: the thread that owns the stores handles it.
            FromWorker::Share(_) | FromWorker::Locks | FromWorker::Exchange => {}
            FromWorker::Held { drained, resources } => {
                self.supervise(supervise::Input::Held { worker, drained, resources });
            }
            FromWorker::Ready => self.supervise(supervise::Input::Ready { worker }),
            FromWorker::Retire { reason, detail } => {
                let reason = Reason::Asked(reason);
                self.supervise(supervise::Input::RetireAsked { worker, reason, detail, by: By::Worker });
            }
        }
    }

    /// The worker is about to end. Its unreceived connections go to other workers at once.
    fn on_hang_up(&mut self, worker: WorkerId) {
        if self.workers.get(worker).is_some_and(|it| !it.external) {
            self.unlinked.on_hang_up(self.now, worker);
            self.withdraw(worker);
        }
    }

    /// Ends a worker's link. The worker treats that as the loss of its primary and exits, by its JavaScript
    /// or by its watchdog thread.
    fn cut_off(&mut self, worker: WorkerId, why: String) {
        if self.workers.get(worker).is_none() {
            return;
        }
        self.say(Output::Unlink(worker));
        if !self.unlinked.on_cut_off(self.now, worker) {
            return;
        }
        self.say(Output::TellBroken(worker, why));
        self.supervise(supervise::Input::CutOff { worker });
        self.withdraw(worker);
        // Its listeners treat it as dead.
        self.listen(listeners::Input::WorkerDied { worker });
        self.standbys.on_go(worker);
    }

    fn on_exit(&mut self, worker: WorkerId, exit: ExitKind) {
        let Some(Worker { supervised, .. }) = self.workers.remove(worker) else { return };
        self.unlinked.on_exit(worker);
        self.say(Output::Forget(worker));
        // A worker that exits with code 0 ended on purpose, so it leaves its listeners, unless it is
        // supervised. After any other end they stay open for a replacement.
        if exit == ExitKind::Code(0) && !supervised {
            self.listen(listeners::Input::WorkerLeaving { worker });
        }
        self.listen(listeners::Input::WorkerDied { worker });
        self.standbys.on_go(worker);
        self.operators.on_exit(worker, exit);
        self.say(Output::TellExit(worker, exit));
        if supervised {
            self.supervise(supervise::Input::Exited { worker, exit });
        }
    }

    /// A worker reports that it takes no more connections, or the app called `disconnect()` for it.
    fn on_leaving(&mut self, worker: WorkerId) {
        // Handled only once: repeated reports must not fill the queues of other threads.
        if self.workers.is_leaving(worker) {
            return;
        }
        if self.workers.is_supervised(worker) {
            self.say(Output::Agree(worker));
        }
        self.supervise(supervise::Input::Leaving { worker });
        // Supervision may have ordered a drain in response.
        if !self.workers.is_leaving(worker) {
            self.withdraw(worker);
            self.leave_listeners(listeners::Input::WorkerLeaving { worker }, worker);
        }
    }

    /// If no descriptor can be obtained, only this server fails, as if binding had failed.
    fn on_reply_failed(&mut self, worker: WorkerId, reply: &Reply, errno: i32) {
        self.say(Output::Reply(worker, Reply::refusal(reply.seq, errno)));
        if let Some(listener) = reply.listener {
            self.listen(listeners::Input::Close { worker, listener });
        }
    }

    fn withdraw(&mut self, worker: WorkerId) {
        // Once: a worker that triggers this repeatedly must not fill the queues of other threads.
        if self.workers.is_to_withdraw(worker) {
            self.say(Output::Withdraw(worker));
        }
    }

    /// A worker leaves on purpose.
    fn leave_listeners(&mut self, input: listeners::Input, worker: WorkerId) {
        self.workers.on_leaving(worker);
        self.listen(input);
        self.standbys.on_go(worker);
    }

    /// Gives an input to the registry of listeners, and carries out its outputs.
    fn listen(&mut self, input: listeners::Input) {
        let mut outputs = Vec::new();
        self.listeners.handle(self.now, input, &mut outputs);
        for output in outputs {
            match output {
                listeners::Output::Open { listener, spec } => self.say(Output::Open { listener, spec }),
                listeners::Output::Reply { worker, reply } => self.reply(worker, reply),
                listeners::Output::Join { worker, listener } => {
                    if !self.standbys.holds_join(worker, listener) {
                        self.say(Output::Join(worker, listener));
                    }
                }
                listeners::Output::Leave { worker, listener } => {
                    if !self.standbys.on_leave(worker, listener) {
                        self.say(Output::Leave(worker, listener));
                    }
                }
                listeners::Output::CloseListener { listener } => self.say(Output::CloseListener(listener)),
            }
        }
        for (worker, listeners) in self.listeners.sole_servers() {
            self.supervise(supervise::Input::ServesAlone { worker, listeners });
        }
    }

    fn reply(&mut self, worker: WorkerId, reply: Reply) {
        match self.standbys.hold_reply(worker, reply) {
            Some(reply) => self.say(Output::Reply(worker, reply)),
            // A standby does not serve yet: it gets its connections when it is promoted.
            None => self.supervise(supervise::Input::Listening { worker }),
        }
    }

    /// Gives an input to supervision, and carries out its outputs in order. Inputs that result from them are
    /// queued until all outputs have been carried out.
    fn supervise(&mut self, input: supervise::Input) {
        if !self.supervision.add(input) {
            return;
        }
        while let Some(Step { is_expecting, outputs }) = self.supervision.next(self.now) {
            // Set before any worker leaves: the listeners stay open if a worker is expected.
            self.listen(listeners::Input::Expecting(is_expecting));
            for output in outputs {
                self.carry_out(output);
            }
            if std::mem::take(&mut self.stops_primary) {
                self.say(Output::StopPrimary { code: 0 });
            }
        }
    }

    fn carry_out(&mut self, output: supervise::Output) {
        match output {
            supervise::Output::Spawn(order) => self.say(Output::Spawn(order)),
            supervise::Output::Promote { worker, slot } => {
                self.outbox.extend(self.standbys.promote(worker, slot));
            }
            supervise::Output::Drain { worker, reason, timeout } => self.drain(worker, &reason, timeout),
            supervise::Output::Keep { worker } => self.say(Output::Send(worker, ToWorker::Keep)),
            supervise::Output::Kill { worker, signal } => {
                if signal == KillSignal::Term {
                    // The worker may get SIGTERM from others while it drains; that must not end it early.
                    self.say(Output::Send(worker, ToWorker::Terminate));
                }
                self.say(Output::Kill(worker, signal));
            }
            supervise::Output::Reclaim { worker } => self.withdraw(worker),
            supervise::Output::Probe { worker } => self.say(Output::Send(worker, ToWorker::Ping)),
            supervise::Output::CaptureStack { worker } => self.say(Output::CaptureStack(worker)),
            supervise::Output::Tell(event) => {
                self.operators.on_event(&event);
                self.say(Output::Tell(event));
            }
            supervise::Output::Done { request, result } => match self.operators.on_done(request, &result) {
                Some(stops) => self.stops_primary |= stops,
                None => self.say(Output::Answer { request, result }),
            },
            supervise::Output::StopPrimary { code } => {
                self.stops_primary = false;
                self.say(Output::StopPrimary { code });
            }
        }
    }

    fn say(&mut self, output: Output) {
        self.outbox.push(output);
    }
}
