//! The control thread's own state: what it hears becomes inputs of [`Control`], whose outputs are carried out here.

mod spawn;

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::commands::Command;
use super::launch::Launch;
use super::liveness::Threads;
use super::messages::{Event, Heard, Tell, broken, describe};
use super::news::News;
use super::orphans::OrphanWatch;
use super::reaper::{Reaped, Reaper};
use super::service::Service;
use super::shared::Common;
use super::sockets::Sockets;
use super::stack::OnStack;
use super::template::{SuperviseSetup, Template};
use super::workers::{LOOK, WorkerHandle};
use crate::io::dispatcher::{Command as ToDispatcher, DispatcherEvent};
use crate::io::store;
use rcluster_core::control::supervise::{self, Stats};
use rcluster_core::control::{Control, Input, Output};
use rcluster_core::ids::{Request, WorkerId};
use rcluster_core::schedule::Scheduling;
use rcluster_core::wire::{Drain, FromWorker, Reply, ToWorker};
use rcluster_sys::headroom;

/// How long a worker that is blocked may take to say where.
const STACK_LIMIT: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Shell {
    start: Instant,
    control: Control,
    /// What the outputs that are being carried out are answered with.
    answers: VecDeque<Input>,
    /// For what is not in order with anything.
    tell: Tell,
    news: News,
    common: Common,
    workers: HashMap<WorkerId, WorkerHandle>,
    sockets: Sockets,
    heard: mpsc::Sender<Heard>,
    /// None as long as nobody supervises.
    template: Option<Template>,
    service: Service,
    reaper: Reaper,
    orphans: OrphanWatch,
}

impl Shell {
    pub(super) fn new(
        scheduling: Scheduling,
        tell: Tell,
        heard: mpsc::Sender<Heard>,
        common: Common,
    ) -> Self {
        Self {
            start: Instant::now(),
            // One worker must not take all descriptors that there are.
            control: Control::new(scheduling, headroom::limit() / 4),
            answers: VecDeque::new(),
            news: News::new(Arc::clone(&common.dispatcher), Arc::clone(&tell)),
            tell,
            workers: HashMap::new(),
            sockets: Sockets::new(Arc::clone(&common.dispatcher)),
            common,
            heard,
            template: None,
            service: Service::default(),
            reaper: Reaper::default(),
            orphans: OrphanWatch::new(Duration::ZERO),
        }
    }

    /// When to call [`Self::on_tick`] if nothing happens before, from [`Self::start`] on.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let deadlines =
            [self.control.next_deadline(), self.service.next_deadline(), self.orphans.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// The moment from which its times are counted.
    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// The thread has failed.
    pub(super) fn tell_failure(&self) {
        (self.tell)(Event::Failed("the control thread panicked".into()));
    }

    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Adopt { worker, slot, pidfd, link } => {
                let external = link.external;
                let (handle, failure) = WorkerHandle::adopt(worker, Some(slot), pidfd, link, &self.heard);
                self.workers.insert(worker, handle);
                self.input(Input::Forked { worker, external });
                if let Some(error) = failure {
                    self.input(Input::Broke { worker, why: error.to_string() });
                }
            }
            Command::Drain(worker, order) => self.input(Input::Drain(worker, order)),
            Command::CaptureStack { worker, limit, then } => {
                WorkerHandle::capture_stack(self.workers.get(&worker), limit, then);
            }
            Command::Leave { worker, done } => {
                self.input(Input::Leave(worker));
                self.common.answer_behind_dispatcher(done);
            }
            Command::Flush { worker, done } => {
                // Dropping it is an answer, too: nobody listens to that worker.
                if let Some(handle) = self.workers.get(&worker) {
                    handle.flush(done);
                }
            }
            Command::ExitReported(worker) => self.input(Input::ExitReported(worker)),
            Command::Supervise(setup) => self.begin(*setup),
            Command::Reload { launch, concurrency, request } => self.reload(*launch, concurrency, request),
            Command::AddInspectPorts(ports) => {
                if let Some(template) = &mut self.template {
                    template.add_inspect_ports(ports);
                }
            }
            Command::Ask(input) => self.input(Input::Supervise(input)),
            Command::OrphansReaped => self.orphans.on_reaped(self.start.elapsed()),
            Command::Stats { answer } => {
                // Nobody waits any more when the primary's thread is gone.
                let _ = answer.send(self.stats());
            }
        }
    }

    pub(super) fn on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Ended(worker) => self.on_ended(worker),
            Heard::Said(worker, frame) => {
                if matches!(frame, FromWorker::ListensAlone) {
                    self.listens_alone(worker);
                }
                self.input(Input::Said(worker, frame));
            }
            Heard::Refused(worker, refusal) => {
                self.reply(worker, refusal);
                self.give_answers();
            }
            // What is asked for by a worker that has ended by now is dropped: nobody would tell of its end any more.
            Heard::Shares(store::Open { worker: Some((worker, _)), .. })
                if !self.workers.contains_key(&worker) => {}
            Heard::Shares(request) => {
                // The worker learns of it by its socket, which is closed.
                if let Err(error) = store::open(request) {
                    let message = format!("A worker cannot use a shared store or locks: {error}");
                    (self.tell)(Event::Warning { code: "RCLUSTER_SHARED", message });
                }
            }
            Heard::HungUp(worker) => self.input(Input::HungUp(worker)),
            Heard::Broke(worker, why) | Heard::Dispatcher(DispatcherEvent::Broken(worker, why)) => {
                self.input(Input::Broke { worker, why });
            }
            Heard::LastCalled(worker, order) => self.input(Input::Drain(worker, order)),
            Heard::Flushed(done) => self.common.answer_behind_dispatcher(done),
            Heard::Unwatched(worker, error) => {
                let message = format!(
                    "The end of {worker} cannot be waited for, and is looked for every {} ms: {error}",
                    LOOK.as_millis()
                );
                (self.tell)(Event::Warning { code: "RCLUSTER_EXHAUSTED", message });
            }
            Heard::Stack(worker, text) => {
                self.input(Input::Supervise(supervise::Input::Stack { worker, text }));
            }
            Heard::Dispatcher(notice) => (self.tell)(describe(notice)),
        }
    }

    /// A worker listens at an address of its own. Said once: one that says it over and over must not fill the queue of the
    /// forwarder.
    fn listens_alone(&mut self, worker: WorkerId) {
        let handle = self.workers.get_mut(&worker);
        if handle.is_some_and(|handle| !std::mem::replace(&mut handle.listens_alone, true)) {
            self.common.forwarding.listens(worker);
        }
    }

    pub(super) fn on_tick(&mut self) {
        let threads = Threads { dispatcher: &self.common.dispatcher, forwarding: &self.common.forwarding };
        if let Some(warning) = self.service.on_tick(self.start.elapsed(), threads) {
            (self.tell)(warning);
        }
        // The deadlines of the others are more frequent, and nothing of this is for them.
        let now = self.start.elapsed();
        if self.control.next_deadline().is_some_and(|at| at <= now) {
            self.look_at_workers();
            self.input(Input::Tick);
        }
        if let Some(event) = self.orphans.on_tick(self.start.elapsed()) {
            (self.tell)(event);
        }
    }

    /// Tells the brain what it weighs when its time has come.
    fn look_at_workers(&mut self) {
        let looks = self.workers.iter().filter_map(|(&worker, handle)| {
            let vitals = handle.vitals()?;
            Some(supervise::Input::Vitals { worker, vitals })
        });
        for look in looks.collect::<Vec<_>>() {
            self.input(Input::Supervise(look));
        }
    }

    /// Gives the brain an input, carries out what it says, in order, and gives it what that is answered with.
    fn input(&mut self, input: Input) {
        self.answers.push_back(input);
        self.give_answers();
    }

    fn give_answers(&mut self) {
        let mut outputs = Vec::new();
        while let Some(input) = self.answers.pop_front() {
            self.control.input(self.start.elapsed(), input, &mut outputs);
            for output in outputs.drain(..) {
                self.carry_out(output);
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        let Common { dispatcher, forwarding, slots, leaving, .. } = &self.common;
        match output {
            Output::Spawn { ticket, slot, retry } => self.spawn(ticket, slot, retry),
            Output::Promote { worker, slot } => self.promote(worker, slot),
            Output::Open { listener, spec } => {
                let result = self.sockets.open(listener, &spec);
                self.answers.push_back(Input::Opened { listener, result });
            }
            Output::CloseListener(listener) => self.sockets.close(listener),
            Output::Reply(worker, reply) => self.reply(worker, reply),
            Output::Send(worker, frame) => self.send(worker, &frame, None),
            Output::Join(worker, listener) => dispatcher.tell(ToDispatcher::Join(worker, listener)),
            Output::Leave(worker, listener) => dispatcher.tell(ToDispatcher::Leave(worker, listener)),
            Output::Agree(worker) => leaving.add(worker),
            Output::StopForwarding(worker) => forwarding.take_away(worker),
            Output::Withdraw(worker) => {
                slots.lock().free(worker);
                dispatcher.tell(ToDispatcher::WorkerLeaving(worker));
                forwarding.leaving(worker);
            }
            Output::LastCall(worker, order) => self.last_call(worker, order),
            Output::Unlink(worker) => {
                if let Some(handle) = self.workers.get_mut(&worker) {
                    handle.unlink();
                }
            }
            Output::Kill(worker, signal) => {
                if let Some(handle) = self.workers.get(&worker) {
                    handle.kill(signal);
                }
            }
            Output::CaptureStack(worker) => self.capture_stack(worker),
            Output::Forget(worker) => {
                slots.lock().free(worker);
                dispatcher.tell(ToDispatcher::WorkerExited(worker));
                forwarding.gone(worker);
            }
            Output::TellExit(worker, exit) => {
                self.news.tell_behind_dispatcher(Event::Exited { worker, exit });
            }
            Output::TellBroken(worker, why) => (self.tell)(broken(worker, &why)),
            Output::Tell(event) => self.announce(event),
            Output::Answer { request, result } => self.news.tell(Event::Answered { request, result }),
            Output::StopPrimary { code } => self.news.tell(Event::StopPrimary { code }),
        }
    }

    /// Begins to supervise.
    fn begin(&mut self, setup: SuperviseSetup) {
        if let Some(warning) = self.service.begin(self.start.elapsed()) {
            (self.tell)(warning);
        }
        self.reaper.count_oom_kills();
        let (options, seed) = (Box::new(setup.options.clone()), setup.seed);
        self.template = Some(Template::new(setup));
        self.input(Input::Begin { options, seed });
    }

    fn reload(&mut self, launch: Launch, concurrency: u32, request: Request) {
        // One that is running goes on with what it has begun with.
        let is_running = self.control.stats(self.start.elapsed()).is_some_and(|stats| stats.reloading);
        if let Some(template) = self.template.as_mut().filter(|_| !is_running) {
            template.relaunch(launch);
        }
        self.input(Input::Supervise(supervise::Input::Reload { concurrency, request }));
    }

    /// Answers a worker's query, with a descriptor if it is to have one.
    fn reply(&mut self, worker: WorkerId, reply: Reply) {
        let Some(handle) = self.workers.get(&worker).filter(|handle| handle.is_linked()) else { return };
        match self.sockets.shared(handle.slot, &reply) {
            Ok(fd) => self.send(worker, &ToWorker::Reply(reply), fd),
            Err(error) => {
                let errno = error.negative_errno();
                self.answers.push_back(Input::ReplyFailed { worker, reply, errno });
            }
        }
    }

    /// Sends a frame to a worker, unless it is dead or cut off.
    fn send(&mut self, worker: WorkerId, frame: &ToWorker, fd: Option<OwnedFd>) {
        let sent = self.workers.get(&worker).map_or(Ok(()), |handle| handle.send(frame, fd));
        if let Err(error) = sent {
            self.answers.push_back(Input::Broke { worker, why: error.to_string() });
        }
    }

    /// The order to drain follows once the dispatcher has passed on what waits for a worker.
    fn last_call(&self, worker: WorkerId, order: Drain) {
        let called = self.common.last_call(worker);
        let heard = self.heard.clone();
        tokio::task::spawn_local(async move {
            // A thread that has ended has closed its sockets as well, so the order is given in any case.
            let _ended = called.await;
            // It fails when this thread ends, and then everything does.
            let _ended = heard.send(Heard::LastCalled(worker, order)).await;
        });
    }

    fn capture_stack(&self, worker: WorkerId) {
        let heard = self.heard.clone();
        let then = OnStack::new(move |stack| {
            // Why there is none is of no use where it is replaced. A full queue means that this
            // thread is behind, and then it does not wait for this.
            let _late = heard.try_send(Heard::Stack(worker, stack.ok()));
        });
        WorkerHandle::capture_stack(self.workers.get(&worker), STACK_LIMIT, then);
    }

    /// A worker's process has ended: reaps it.
    fn on_ended(&mut self, worker: WorkerId) {
        let Some(handle) = self.workers.get(&worker) else { return };
        store::on_exit(worker);
        let supervised = handle.supervised.is_some();
        let exit = match self.reaper.reap(worker, &handle.pidfd, supervised) {
            Reaped::Exited(exit) => exit,
            Reaped::ByOthers(exit, warning) => {
                (self.tell)(warning);
                exit
            }
            Reaped::NotYet => {
                let why = "another process traces it and has not taken its exit".into();
                self.input(Input::Broke { worker, why });
                return WorkerHandle::look_again(worker, self.heard.clone());
            }
        };
        self.workers.remove(&worker);
        if let Some(template) = self.template.as_mut().filter(|_| supervised) {
            template.on_exit(worker);
        }
        self.input(Input::Exited { worker, exit });
    }

    /// Tells whoever wants to know of a decision.
    fn announce(&mut self, event: supervise::Event) {
        let stats = || self.control.stats(self.start.elapsed());
        if let Some(warning) = self.service.on_event(&event, stats) {
            (self.tell)(warning);
        }
        self.news.tell(Event::Supervision(event));
    }

    /// How the cluster stands; None if nobody supervises it.
    fn stats(&self) -> Option<Stats> {
        let mut stats = self.control.stats(self.start.elapsed())?;
        for slot in &mut stats.slots {
            let Some(handle) = slot.worker.and_then(|worker| self.workers.get(&worker)) else { continue };
            slot.rss = handle.resident();
            slot.busy = handle.busy();
        }
        Some(stats)
    }
}
