//! The control thread's decisions: which listeners there are, which workers there are to be, and what becomes of both.
//!
//! One state machine owns them, because each depends on the other: a vacant listener stays open as long as supervision
//! is going to start a worker; a worker is ready once its listener is open; one that drains leaves its listeners, and
//! one that is promoted joins them. [`Control::input`] is the only way in. What follows from an input is appended in
//! the order in which it is to be done.
//!
//! Workers are not trusted, and the answers of the system may be late: whatever an input names need not exist any more.

mod invariants;
pub mod listeners;
pub mod liveness;
mod messages;
pub mod orphans;
pub mod slots;
mod standbys;
pub mod supervise;
#[cfg(test)]
mod tests;
pub mod unlinked;
mod workers;

use std::collections::VecDeque;
use std::time::Duration;

use self::listeners::Listeners;
pub use self::messages::{Input, Output};
use self::standbys::Standbys;
use self::supervise::{By, ExitKind, KillSignal, Reason, Stats, Supervise};
use self::unlinked::{Unlinked, Verdict};
use self::workers::{Worker, Workers};
use super::ids::{Slot, WorkerId};
use super::schedule::Scheduling;
use super::wire::{Drain, FromWorker, Reply, ToWorker, milliseconds};

/// Listeners and workers.
#[derive(Debug)]
pub struct Control {
    now: Duration,
    listeners: Listeners,
    /// None before [`Input::Begin`].
    supervise: Option<Supervise>,
    workers: Workers,
    standbys: Standbys,
    unlinked: Unlinked,
    /// What supervision has not been told yet, because something that it has said is being done.
    untold: VecDeque<supervise::Input>,
    is_telling: bool,
    outbox: Vec<Output>,
}

impl Control {
    /// No listener and no worker. `scheduling` says how the connections of each listener are distributed; a worker may
    /// have `max_listeners` at a time, and no more than [`listeners::MAX_LISTENERS`].
    #[must_use]
    pub fn new(scheduling: Scheduling, max_listeners: usize) -> Self {
        let mut listeners = Listeners::new(scheduling);
        listeners.limit(max_listeners);
        Self {
            now: Duration::ZERO,
            listeners,
            supervise: None,
            workers: Workers::default(),
            standbys: Standbys::default(),
            unlinked: Unlinked::default(),
            untold: VecDeque::new(),
            is_telling: false,
            outbox: Vec::new(),
        }
    }

    /// When to give [`Input::Tick`] if nothing happens before, as a time since the same moment as `now`. None when
    /// there is nothing to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let supervise = self.supervise.as_ref().and_then(Supervise::next_deadline);
        [self.listeners.next_deadline(), self.unlinked.next_deadline(), supervise].into_iter().flatten().min()
    }

    /// How the supervised cluster stands; None if nobody supervises it.
    #[must_use]
    pub fn stats(&self, now: Duration) -> Option<Stats> {
        self.supervise.as_ref().map(|supervise| supervise.stats(now))
    }

    /// Takes in what happened at `now`, which must not go back, and appends to `out` what to do, in order. Do all of it,
    /// and give the answers that it asks for, before the next input.
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
            Input::Said(worker, frame) => self.on_frame(worker, frame),
            Input::HungUp(worker) => self.on_hang_up(worker),
            Input::Broke { worker, why } => self.cut_off(worker, why),
            Input::Exited { worker, exit } => self.on_exit(worker, exit),
            Input::Leave(worker) => self.on_leaving(worker),
            Input::Drain(worker, order) => self.say(Output::Send(worker, ToWorker::Drain(order))),
            Input::ExitReported(worker) => self.listen(listeners::Input::ExitReported { worker }),
            Input::Opened { listener, result } => self.listen(listeners::Input::Opened { listener, result }),
            Input::ReplyFailed { worker, reply, errno } => self.on_reply_failed(worker, &reply, errno),
            Input::Begin { options, seed } => {
                if self.supervise.is_none() {
                    self.supervise = Some(Supervise::new(*options, seed));
                    self.supervise(supervise::Input::Start);
                }
            }
            Input::Supervise(input) => self.supervise(input),
            Input::Tick => self.on_tick(),
        }
        out.append(&mut self.outbox);
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
            FromWorker::Query(query) => self.listen(listeners::Input::Query { worker, query: *query }),
            FromWorker::Listening { listener } => {
                self.listen(listeners::Input::Listening { worker, listener });
                self.supervise(supervise::Input::Listening { worker });
            }
            FromWorker::Close { listener } => {
                self.listen(listeners::Input::Close { worker, listener });
                // It may close what it has not been given yet.
                self.standbys.on_leave(worker, listener);
            }
            FromWorker::ListensAlone => self.supervise(supervise::Input::Listening { worker }),
            FromWorker::Leaving => self.on_leaving(worker),
            // It concerns neither listeners nor supervision: the thread that owns the stores answers.
            FromWorker::Share(_) | FromWorker::Locks => {}
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

    /// What a worker that is about to end has not received is better off elsewhere at once.
    fn on_hang_up(&mut self, worker: WorkerId) {
        if self.workers.get(worker).is_some_and(|it| !it.external) {
            self.unlinked.on_hang_up(self.now, worker);
            self.withdraw(worker);
        }
    }

    /// Ends a worker's link. It takes that for the loss of its primary and exits, by itself or by the watch inside it.
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
        // For its listeners it is dead.
        self.listen(listeners::Input::WorkerDied { worker });
        self.standbys.on_go(worker);
    }

    fn on_exit(&mut self, worker: WorkerId, exit: ExitKind) {
        let Some(Worker { supervised, .. }) = self.workers.remove(worker) else { return };
        self.unlinked.on_exit(worker);
        self.say(Output::Forget(worker));
        // A worker that exits with 0 has meant to go, and its listeners go with it, unless supervision knows better. After
        // anything else they stay open for a replacement.
        if exit == ExitKind::Code(0) && !supervised {
            self.listen(listeners::Input::WorkerLeaving { worker });
        }
        self.listen(listeners::Input::WorkerDied { worker });
        self.standbys.on_go(worker);
        self.say(Output::TellExit(worker, exit));
        if supervised {
            self.supervise(supervise::Input::Exited { worker, exit });
        }
    }

    /// A worker says that it takes no more connections, or the app has told it so.
    fn on_leaving(&mut self, worker: WorkerId) {
        // A worker that says so over and over must not fill the queues of other threads.
        if self.workers.is_leaving(worker) {
            return;
        }
        if self.workers.is_supervised(worker) {
            self.say(Output::Agree(worker));
        }
        self.supervise(supervise::Input::Leaving { worker });
        // Supervision may have told it to drain.
        if !self.workers.is_leaving(worker) {
            self.withdraw(worker);
            self.leave_listeners(listeners::Input::WorkerLeaving { worker }, worker);
        }
    }

    /// What fails for want of a descriptor fails for this one server, as binding would have.
    fn on_reply_failed(&mut self, worker: WorkerId, reply: &Reply, errno: i32) {
        self.say(Output::Reply(worker, Reply::refusal(reply.seq, errno)));
        if let Some(listener) = reply.listener {
            self.listen(listeners::Input::Close { worker, listener });
        }
    }

    fn withdraw(&mut self, worker: WorkerId) {
        // Once: a worker that gives reasons for it over and over must not fill the queues of other threads.
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

    /// Gives the registry of listeners an input, and does what it says.
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
            // It listens as soon as it may: a standby gets no further than this.
            None => self.supervise(supervise::Input::Listening { worker }),
        }
    }

    /// Gives supervision an input, and does what it says, in order. What follows from that waits until all of it has
    /// been done.
    fn supervise(&mut self, input: supervise::Input) {
        if self.supervise.is_none() {
            return;
        }
        self.untold.push_back(input);
        if std::mem::replace(&mut self.is_telling, true) {
            return;
        }
        let mut outputs = Vec::new();
        while let Some((supervise, input)) = self.supervise.as_mut().zip(self.untold.pop_front()) {
            // What a worker shows is kept for the tick that follows.
            let is_look = matches!(input, supervise::Input::Vitals { .. });
            supervise.handle(self.now, input, &mut outputs);
            if is_look {
                continue;
            }
            // Before anybody leaves: whether somebody is to come decides what becomes of the listeners.
            let expecting = supervise.is_expecting();
            self.listen(listeners::Input::Expecting(expecting));
            for output in outputs.drain(..) {
                self.carry_out(output);
            }
        }
        self.is_telling = false;
    }

    fn carry_out(&mut self, output: supervise::Output) {
        match output {
            supervise::Output::Spawn { ticket, slot, retry, .. } => {
                self.say(Output::Spawn { ticket, slot, retry });
            }
            supervise::Output::Promote { worker, slot } => self.promote(worker, slot),
            supervise::Output::Drain { worker, reason, timeout } => self.drain(worker, &reason, timeout),
            supervise::Output::Keep { worker } => self.say(Output::Send(worker, ToWorker::Keep)),
            supervise::Output::Kill { worker, signal } => {
                if signal == KillSignal::Term {
                    // Others may send it SIGTERM while it drains, which is no reason to end early.
                    self.say(Output::Send(worker, ToWorker::Terminate));
                }
                self.say(Output::Kill(worker, signal));
            }
            supervise::Output::Reclaim { worker } => self.withdraw(worker),
            supervise::Output::Probe { worker } => self.say(Output::Send(worker, ToWorker::Ping)),
            supervise::Output::CaptureStack { worker } => self.say(Output::CaptureStack(worker)),
            supervise::Output::Tell(event) => self.say(Output::Tell(event)),
            supervise::Output::Done { request, result } => self.say(Output::Answer { request, result }),
            supervise::Output::StopPrimary { code } => self.say(Output::StopPrimary { code }),
        }
    }

    fn promote(&mut self, worker: WorkerId, slot: Slot) {
        let Some(held) = self.standbys.promote(worker) else { return };
        self.say(Output::Promote { worker, slot });
        for listener in held.joins {
            self.say(Output::Join(worker, listener));
        }
        self.say(Output::Send(worker, ToWorker::Promote { slot }));
        for reply in held.replies {
            self.say(Output::Reply(worker, reply));
        }
    }

    /// Tells a worker to go. It gets nothing more from now on, whenever it hears of it.
    fn drain(&mut self, worker: WorkerId, reason: &Reason, timeout: Duration) {
        self.say(Output::Agree(worker));
        self.say(Output::StopForwarding(worker));
        if self.workers.get(worker).is_some_and(|it| it.external) {
            self.say(Output::Kill(worker, KillSignal::Term));
        } else {
            let order = Drain { reason: reason.to_string(), timeout_ms: milliseconds(timeout) };
            if *reason == Reason::Shutdown {
                // It says itself when it leaves: what came by then would have nowhere to go.
                return self.say(Output::LastCall(worker, order));
            }
            self.say(Output::Send(worker, ToWorker::Drain(order)));
        }
        self.withdraw(worker);
        let replaced = !matches!(reason, Reason::Scale | Reason::Shutdown)
            && self.supervise.as_ref().is_some_and(Supervise::has_worker_or_will);
        let input = if replaced {
            listeners::Input::WorkerReplaced { worker }
        } else {
            listeners::Input::WorkerLeaving { worker }
        };
        self.leave_listeners(input, worker);
    }

    fn say(&mut self, output: Output) {
        self.outbox.push(output);
    }
}
