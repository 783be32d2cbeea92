//! The control thread's state: events become inputs of [`Control`], whose outputs are carried out here.

mod spawn;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::commands::Command;
use super::http::Http;
use super::launch::Launch;
use super::limits::Limits;
use super::liveness::Threads;
use super::messages::{ClusterStats, Event, Tell, ThreadEvent, broken, describe, unshared, unwatched};
use super::metrics::Metrics;
use super::news::News;
use super::operator::Operators;
use super::orphans::OrphanWatch;
use super::service::Service;
use super::shared::Common;
use super::sockets::Sockets;
use super::systemd::Manager;
use super::template::{SuperviseSetup, Template};
use super::workers::{Ended, Workers};
use crate::io::dispatcher::Command as ToDispatcher;
use crate::io::store;
use rcluster_core::control::supervise::{self, SpawnOrder, Stats};
use rcluster_core::control::{Control, Input, Output};
use rcluster_core::frames::{FromWorker, Reply, ToWorker};
use rcluster_core::ids::{Request, Slot, WorkerId};
use rcluster_core::schedule::Scheduling;
use rcluster_sys::headroom;

/// See the module documentation.
pub(super) struct Shell {
    start: Instant,
    pub(super) control: Control,
    /// Inputs that result from the outputs being carried out.
    pub(super) answers: VecDeque<Input>,
    /// For events whose order does not matter.
    pub(super) tell: Tell,
    pub(super) news: News,
    pub(super) common: Common,
    pub(super) workers: Workers,
    sockets: Sockets,
    pub(super) events: mpsc::Sender<ThreadEvent>,
    /// `None` unless the cluster is supervised.
    template: Option<Template>,
    service: Service,
    orphans: OrphanWatch,
    pub(super) limits: Limits,
    pub(super) operators: Operators,
    pub(super) http: Http,
    pub(super) metrics: Metrics,
}

impl Shell {
    pub(super) fn new(
        scheduling: Scheduling,
        tell: Tell,
        events: mpsc::Sender<ThreadEvent>,
        common: Common,
    ) -> Self {
        Self {
            start: Instant::now(),
            // Limits the descriptors that one worker's listeners may use.
            control: Control::new(scheduling, headroom::limit() / 4),
            answers: VecDeque::new(),
            news: News::new(Arc::clone(&common.dispatcher), Arc::clone(&tell)),
            sockets: Sockets::new(Arc::clone(&common.dispatcher), Arc::clone(&tell)),
            tell,
            workers: Workers::new(events.clone(), common.logs.clone()),
            common,
            events,
            template: None,
            service: Service::default(),
            orphans: OrphanWatch::new(Duration::ZERO),
            limits: Limits::of_this_process(),
            operators: Operators::default(),
            http: Http::default(),
            metrics: Metrics::default(),
        }
    }

    /// When to call [`Self::on_tick`] if nothing happens before, counted from [`Self::start`].
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let deadlines = [
            self.control.next_deadline(),
            self.service.next_deadline(),
            self.orphans.next_deadline(),
            self.limits.next_deadline(self.control.needs_limits()),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The start of this shell's clock.
    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// Reports that the thread has failed.
    pub(super) fn tell_failure(&self) {
        (self.tell)(Event::Failed("the control thread panicked".into()));
    }

    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Adopt { worker, slot, pidfd, link } => {
                let external = link.external;
                let failure = self.workers.adopt(worker, Some(slot), pidfd, link, None);
                self.input(Input::Forked { worker, external });
                if let Some(error) = failure {
                    self.input(Input::Broke { worker, why: error.to_string() });
                }
            }
            Command::Drain(worker, order) => self.input(Input::Drain(worker, order)),
            Command::Broken(worker, why) => self.on_broken(worker, why),
            Command::CaptureStack { worker, limit, then } => {
                self.workers.capture_stack(worker, limit, then);
            }
            Command::Leave { worker, done } => {
                self.input(Input::Leave(worker));
                self.common.answer_behind_dispatcher(done);
            }
            Command::Flush { worker, done } => {
                // Otherwise `done` is dropped, which is an answer as well: that worker's socket is not read
                // any more.
                if let Some(handle) = self.workers.get(worker) {
                    handle.flush(done);
                }
            }
            Command::ExitReported(worker) => self.input(Input::ExitReported(worker)),
            Command::Supervise { setup, manager } => self.begin_supervision(*setup, &manager),
            Command::Reload { launch, concurrency, request } => self.reload(*launch, concurrency, request),
            Command::AddInspectPorts(ports) => {
                if let Some(template) = &mut self.template {
                    template.add_inspect_ports(ports);
                }
            }
            Command::Ask(input) => self.input(Input::Supervise(input)),
            Command::OrphansReaped => self.orphans.on_reaped(self.start.elapsed()),
            Command::Stats { answer } => {
                // The send fails if the primary's main thread is gone.
                let _ = answer.send(self.cluster_stats());
            }
        }
    }

    fn on_broken(&mut self, worker: WorkerId, why: String) {
        self.note_stderr(worker);
        self.input(Input::Broke { worker, why });
    }

    pub(super) fn on_event(&mut self, event: ThreadEvent) {
        match event {
            ThreadEvent::Ended(worker) => self.on_ended(worker),
            ThreadEvent::Frame(worker, frame) => {
                // Reported once, so that a worker that repeats it does not fill the forwarder's queue.
                if matches!(frame, FromWorker::ListensAlone) && self.workers.on_listens_alone(worker) {
                    self.common.forwarding.listens(worker);
                }
                self.input(Input::Frame(worker, frame));
            }
            ThreadEvent::Refused(worker, refusal) => {
                self.reply(worker, refusal);
                self.give_answers();
            }
            // A request of a worker that has exited meanwhile is dropped: its end would not be reported to
            // the store. The worker's closer closes the socket.
            ThreadEvent::OpenShared(store::Open { worker: Some((worker, _)), .. })
                if !self.workers.contains(worker) => {}
            // If it fails, the socket is closed, which tells the worker.
            ThreadEvent::OpenShared(request) => {
                self.warn(store::open(request).err().map(|error| unshared(&error)));
            }
            ThreadEvent::HungUp(worker) => self.input(Input::HungUp(worker)),
            ThreadEvent::Broke(worker, why) => self.on_broken(worker, why),
            ThreadEvent::ReadyToDrain(worker, order) => self.input(Input::LastCalled(worker, order)),
            ThreadEvent::Flushed(done) => self.common.answer_behind_dispatcher(done),
            ThreadEvent::Unwatched(worker, error) => (self.tell)(unwatched(worker, &error)),
            ThreadEvent::Stack(worker, text) => {
                self.note_stderr(worker);
                self.input(Input::Supervise(supervise::Input::Stack { worker, text }));
            }
            ThreadEvent::Dispatcher(notice) => (self.tell)(describe(notice)),
            ThreadEvent::Operator(event) => self.on_operator_event(event),
            ThreadEvent::Http(event) => self.on_http_event(event),
        }
    }

    pub(super) fn on_tick(&mut self) {
        let threads = Threads { dispatcher: &self.common.dispatcher, forwarding: &self.common.forwarding };
        let warning = self.service.on_tick(self.start.elapsed(), threads);
        self.warn(warning);
        // The other deadlines come more often and need none of this.
        let now = self.start.elapsed();
        if self.control.next_deadline().is_some_and(|at| at <= now) {
            self.look_at_workers();
            for worker in self.control.late(now) {
                self.note_stderr(worker);
            }
            self.input(Input::Tick);
        }
        self.look_at_limits();
        let warning = self.orphans.on_tick(self.start.elapsed());
        self.warn(warning);
    }

    /// Tells the brain the available CPUs and memory, if it is time.
    fn look_at_limits(&mut self) {
        if !self.control.needs_limits() {
            return;
        }
        if let Some(limits) = self.limits.look(self.start.elapsed()) {
            self.input(Input::Supervise(limits));
        }
    }

    /// Gives the brain the samples of the workers on which its timers depend.
    fn look_at_workers(&mut self) {
        for (worker, vitals) in self.workers.vitals() {
            self.input(Input::Supervise(supervise::Input::Vitals { worker, vitals }));
        }
    }

    /// Gives the brain an input, carries out the outputs in order, and feeds back the inputs that result.
    pub(super) fn input(&mut self, input: Input) {
        self.answers.push_back(input);
        self.give_answers();
    }

    pub(super) fn give_answers(&mut self) {
        let mut outputs = Vec::new();
        while let Some(input) = self.answers.pop_front() {
            self.control.input(self.start.elapsed(), input, &mut outputs);
            for output in outputs.drain(..) {
                self.carry_out(output);
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        let Common { dispatcher, forwarding, .. } = &self.common;
        match output {
            Output::Spawn(SpawnOrder { ticket, slot, retry, .. }) => self.spawn(ticket, slot, retry),
            Output::Promote { worker, slot } => self.promote(worker, slot),
            Output::Open { listener, spec } => {
                let result = self.sockets.open(listener, &spec);
                self.tell_store_failure();
                self.answers.push_back(Input::Opened { listener, result });
            }
            Output::CloseListener(listener) => {
                let stats = self.control.stats(self.start.elapsed());
                self.sockets.close(listener, stats.is_some_and(|stats| stats.shutting_down));
                self.tell_store_failure();
            }
            Output::Reply(worker, reply) => self.reply(worker, reply),
            Output::Send(worker, frame) => self.send(worker, &frame, None),
            Output::Join(worker, listener) => self.sockets.join(worker, listener),
            Output::Leave(worker, listener) => dispatcher.tell(ToDispatcher::Leave(worker, listener)),
            Output::Agree(worker) => self.on_agreed(worker),
            Output::StopForwarding(worker) => forwarding.take_away(worker),
            Output::Withdraw(worker) => self.common.withdraw(worker),
            Output::LastCall(worker, order) => self.common.last_call(worker, order, self.events.clone()),
            Output::Unlink(worker) => self.workers.unlink(worker),
            Output::Kill(worker, signal) => {
                self.metrics.totals.on_kill(worker, signal);
                self.workers.kill(worker, signal);
            }
            Output::CaptureStack(worker) => self.workers.report_stack(worker),
            Output::Forget(worker) => self.common.forget(worker),
            Output::TellExit(worker, exit) => {
                self.news.tell_behind_dispatcher(Event::Exited { worker, exit });
            }
            Output::TellBroken(worker, why) => (self.tell)(broken(worker, &why)),
            Output::Tell(event) => self.announce(event),
            Output::Answer { request, result } => self.news.tell(Event::Answered { request, result }),
            Output::Operator(output) => self.carry_out_operator(output),
            Output::StopPrimary { code } => self.stop_primary(code),
        }
    }

    fn warn(&self, warning: Option<Event>) {
        if let Some(warning) = warning {
            (self.tell)(warning);
        }
    }

    /// Warns once that the service manager cannot store sockets.
    fn tell_store_failure(&mut self) {
        let warning = self.sockets.passed.take_failure();
        self.warn(warning);
    }

    fn begin_supervision(&mut self, setup: SuperviseSetup, manager: &Manager) {
        let warning = self.service.begin(manager, self.start.elapsed());
        self.warn(warning);
        self.sockets.begin_supervision(manager);
        self.tell_store_failure();
        self.workers.count_oom_kills(self.limits.groups());
        let SuperviseSetup { options, launch, seed, operator, early } = setup;
        self.begin_logs(options.logs, &launch);
        self.template = Some(Template::new(options.clone(), launch, early));
        let (control, metrics) = (options.control.clone(), options.metrics.clone());
        self.input(Input::Begin { options: Box::new(options), seed });
        self.look_at_limits();
        self.open_control_socket(&control, operator);
        self.open_http(&metrics);
    }

    fn reload(&mut self, launch: Launch, concurrency: u32, request: Request) {
        // A reload that is running keeps the launch that it started with.
        let is_running = self.control.stats(self.start.elapsed()).is_some_and(|stats| stats.reloading);
        if let Some(template) = self.template.as_mut().filter(|_| !is_running) {
            template.relaunch(launch);
        }
        self.input(Input::Supervise(supervise::Input::Reload { concurrency, request }));
    }

    /// Answers a worker's listen request, with a descriptor if the answer needs one.
    fn reply(&mut self, worker: WorkerId, reply: Reply) {
        let Some(handle) = self.workers.get(worker).filter(|handle| handle.is_linked()) else { return };
        match self.sockets.shared(handle.slot, &reply) {
            Ok(fd) => self.send(worker, &ToWorker::Reply(reply), fd),
            Err(error) => {
                let errno = error.negative_errno();
                self.answers.push_back(Input::ReplyFailed { worker, reply, errno });
            }
        }
    }

    /// Sends a frame to a worker, unless it has exited or is cut off.
    pub(super) fn send(&mut self, worker: WorkerId, frame: &ToWorker, fd: Option<OwnedFd>) {
        self.operators.on_order(worker, frame, &self.workers);
        if let Err(error) = self.workers.send(worker, frame, fd) {
            self.answers.push_back(Input::Broke { worker, why: error.to_string() });
        }
    }

    /// A worker's process has ended: reaps it.
    fn on_ended(&mut self, worker: WorkerId) {
        if !self.workers.contains(worker) {
            return;
        }
        store::on_exit(worker);
        let Some(Ended { exit, slot, is_supervised, spent, warning }) = self.workers.reap(worker) else {
            let why = "another process traces it and has not taken its exit".into();
            return self.input(Input::Broke { worker, why });
        };
        self.warn(warning);
        self.metrics.on_exit(self.start.elapsed(), worker, exit, spent);
        let stderr = self.common.logs.tail(worker);
        self.operators.on_exit(worker, slot, exit, stderr.as_deref());
        self.http.feed.on_exit(worker, exit);
        if let Some(lines) = stderr {
            self.tell_stderr(worker, lines);
        }
        self.common.logs.forget(worker);
        if let Some(template) = self.template.as_mut().filter(|_| is_supervised) {
            template.on_exit(worker);
        }
        self.input(Input::Exited { worker, exit });
    }

    /// Passes an event of supervision to all that need it.
    fn announce(&mut self, event: supervise::Event) {
        self.operators.on_event(&event, &self.workers);
        self.http.feed.on_event(&event);
        self.metrics.totals.on_event(&event);
        let stats = || self.control.stats(self.start.elapsed());
        let warning = self.service.on_event(&event, stats);
        self.warn(warning);
        if matches!(event, supervise::Event::Ready { .. })
            && stats().is_some_and(|stats| stats.ready >= stats.workers)
        {
            self.sockets.passed.on_all_ready().into_iter().for_each(|warning| (self.tell)(warning));
        }
        self.news.tell(Event::Supervision(event));
    }

    fn cluster_stats(&self) -> Option<ClusterStats> {
        let stats = self.stats()?;
        let exit = |slot: Slot| Some((slot, self.operators.last_exit(slot)?.clone()));
        let last_exits = stats.slots.iter().filter_map(|it| exit(it.slot)).collect();
        Some(ClusterStats { stats, last_exits, logs: self.common.logs.status() })
    }

    /// The statistics of the cluster; `None` if it is not supervised.
    pub(super) fn stats(&self) -> Option<Stats> {
        let mut stats = self.control.stats(self.start.elapsed())?;
        self.workers.complete(&mut stats);
        Some(stats)
    }
}
