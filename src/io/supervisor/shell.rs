//! The supervisor's thread: what happens to workers in, what is to be done out.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::control::Control;
use super::launch::Link;
use super::shared::{InspectorCount, Leavers, WorkerNumbers};
use super::sockets::Sockets;
use super::stack::{Lifeline, NoStack, Then};
use super::supervised::Supervision;
use super::{Command, Common, Event, Forwarding, Happening, SharedSlots, Tell, broken, describe, lock};
use crate::core::control::listeners::{Input, Listeners, Output};
use crate::core::control::orphans::Orphans;
use crate::core::control::supervise::{self, By, KillSignal, Reason};
use crate::core::control::unlinked::{Unlinked, Verdict};
use crate::core::ids::{ListenerId, Slot, WorkerId};
use crate::core::schedule::Scheduling;
use crate::core::wire::{FromWorker, Reply, ToWorker};
use crate::io::dispatcher::{Afterwards, Command as ToDispatcher, Dispatcher, Notice};
use crate::sys::async_fd::watch;
use crate::sys::closer::Closer;
use crate::sys::error::{Doing, SysError};
use crate::sys::exit::{Exit, SIGKILL, has_ended, reap};
use crate::sys::headroom;
use crate::sys::scoreboard::Scoreboard;

/// How long the control socket of a dead worker may take to end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How often the end of a worker is looked for that cannot be waited for.
const LOOK: Duration = Duration::from_millis(100);

/// How long a worker that hangs may take to say where.
const STACK_LIMIT: Duration = Duration::from_millis(500);

/// One worker, as the supervisor knows it.
pub(super) struct WorkerHandle {
    pub(super) pidfd: Arc<OwnedFd>,
    /// None for a standby.
    pub(super) slot: Option<Slot>,
    /// None once it is cut off.
    pub(super) control: Option<Control>,
    /// Closed together with `control`: its hang-up is what ends a worker whose loop is blocked.
    lifeline: Option<Arc<Lifeline>>,
    pub(super) board: Arc<Scoreboard>,
    /// Whether the program knows nothing of the link, and may close it.
    stranger: bool,
    /// Nobody gives it any connection any more.
    leaving: bool,
    /// The listeners know that it leaves.
    pub(super) left: bool,
}

/// The thread's own state.
pub(super) struct Shell {
    pub(super) tell: Tell,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) forwarding: Forwarding,
    pub(super) slots: SharedSlots,
    listeners: Listeners,
    pub(super) workers: HashMap<WorkerId, WorkerHandle>,
    unlinked: Unlinked,
    sockets: Sockets,
    pub(super) happenings: mpsc::Sender<Happening>,
    outputs: Vec<Output>,
    pub(super) numbers: WorkerNumbers,
    pub(super) inspectors: InspectorCount,
    pub(super) leavers: Leavers,
    pub(super) supervision: Option<Supervision>,
    /// None where orphans do not become children of this process.
    pub(super) orphans: Option<Orphans>,
    pub(super) start: Instant,
}

impl Shell {
    pub(super) fn new(
        scheduling: Scheduling,
        tell: Tell,
        happenings: mpsc::Sender<Happening>,
        common: Common,
    ) -> Self {
        let Common { dispatcher, forwarding, slots, numbers, inspectors, leavers } = common;
        let mut listeners = Listeners::new(scheduling);
        // One worker must not take all descriptors that there are.
        listeners.limit(headroom::limit() / 4);
        Self {
            tell,
            listeners,
            workers: HashMap::new(),
            unlinked: Unlinked::default(),
            sockets: Sockets::new(Arc::clone(&dispatcher)),
            dispatcher,
            forwarding,
            slots,
            happenings,
            outputs: Vec::new(),
            numbers,
            inspectors,
            leavers,
            supervision: None,
            orphans: None,
            start: Instant::now(),
        }
    }

    pub(super) fn run_thread(
        mut self,
        runtime: &tokio::runtime::Runtime,
        queue: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Receiver<Happening>,
    ) {
        let tasks = LocalSet::new();
        // The thread's root: a panic must be told, it would be silence otherwise.
        let run = std::panic::AssertUnwindSafe(|| tasks.block_on(runtime, self.run(queue, events)));
        if std::panic::catch_unwind(run).is_err() {
            (self.tell)(Event::Failed("the supervisor panicked".into()));
        }
    }

    async fn run(
        &mut self,
        mut queue: mpsc::UnboundedReceiver<Command>,
        mut events: mpsc::Receiver<Happening>,
    ) {
        self.look_for_orphans();
        loop {
            let orphans = self.orphans.as_ref().and_then(Orphans::next_deadline);
            let supervision = self.supervision.as_ref().and_then(Supervision::next_deadline);
            let deadlines =
                [self.listeners.next_deadline(), self.unlinked.next_deadline(), supervision, orphans];
            let deadline = deadlines.into_iter().flatten().min();
            tokio::select! {
                command = queue.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(happening) = events.recv() => self.hear(happening),
                () = until(self.start, deadline), if deadline.is_some() => self.tick(),
            }
        }
    }

    fn tick(&mut self) {
        self.decide(Input::Tick);
        for verdict in self.unlinked.due(self.start.elapsed()) {
            match verdict {
                Verdict::CutOff(worker) => self.cut_off(worker, "it has closed its control socket"),
                Verdict::Kill(worker) => self.kill(worker, KillSignal::Kill),
            }
        }
        self.look_after();
        self.look_at_orphans();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Adopt { worker, slot, pidfd, link } => self.adopt(worker, Some(slot), pidfd, link),
            Command::Tell { worker, frame } => self.send(worker, &frame, None),
            Command::CaptureStack { worker, limit, then } => self.capture_stack(worker, limit, then),
            Command::Leave { worker, done } => {
                self.leaves(worker);
                self.answer_behind_dispatcher(done);
            }
            Command::CatchUp { worker, done } => {
                // Dropping it is an answer, too: nobody listens to that worker.
                if let Some(control) = self.workers.get(&worker).and_then(|handle| handle.control.as_ref()) {
                    control.catch_up(done);
                }
            }
            Command::Settle { worker } => self.decide(Input::Settled { worker }),
            Command::Supervise(plan) => self.begin(*plan),
            Command::Relaunch(launch) => {
                if let Some(supervision) = &mut self.supervision {
                    supervision.relaunch(*launch);
                }
            }
            Command::AddInspectPorts(ports) => {
                if let Some(supervision) = &mut self.supervision {
                    supervision.add_inspect_ports(ports);
                }
            }
            Command::Ask(input) => self.supervise(input),
            Command::OrphansReaped => self.on_orphans_reaped(),
            Command::Stats { answer } => {
                // Nobody waits any more when the primary's thread is gone.
                let _ = answer.send(self.supervision_stats());
            }
        }
    }

    /// Lets the primary's thread go on once the dispatcher has done what it was told so far: it is
    /// the one who closes the sockets.
    fn answer_behind_dispatcher(&self, done: Sender<()>) {
        self.dispatcher.tell(ToDispatcher::Then(Afterwards::new(move || {
            // Nobody waits any more when the primary's thread is gone.
            let _ = done.send(());
        })));
    }

    pub(super) fn adopt(&mut self, worker: WorkerId, slot: Option<Slot>, pidfd: Arc<OwnedFd>, link: Link) {
        let Link { control, lifeline, board, stranger } = link;
        self.decide(Input::WorkerStarted { worker });
        let watched = Arc::clone(&pidfd);
        let happenings = self.happenings.clone();
        let closer = Closer::new();
        let started = Control::start(worker, control, &closer, happenings.clone())
            .and_then(|(control, all_read)| Ok((control, all_read, Lifeline::new(lifeline, &closer)?)));
        let (control, all_read, lifeline, failure) = match started {
            Ok((control, all_read, lifeline)) => {
                (Some(control), Some(all_read), Some(Arc::new(lifeline)), None)
            }
            Err(error) => (None, None, None, Some(error)),
        };
        tokio::task::spawn_local(async move {
            if let Err(error) = wait_for_death(Arc::clone(&watched)).await {
                // The supervisor has stopped when nobody listens.
                let _stopped = happenings.send(Happening::Unwatched(worker, error)).await;
                look_for_death(&watched).await;
            }
            // What it has said comes before its end. The kernel has closed its end of the control
            // socket, unless a process that it started holds it: that is not waited for long.
            if let Some(all_read) = all_read {
                let _ = tokio::time::timeout(LAST_WORDS, all_read).await;
            }
            // The supervisor has stopped when nobody listens.
            let _stopped = happenings.send(Happening::Died(worker)).await;
        });
        let handle =
            WorkerHandle { pidfd, slot, control, lifeline, board, stranger, leaving: false, left: false };
        self.workers.insert(worker, handle);
        if let Some(error) = failure {
            self.cut_off(worker, &error.to_string());
        }
    }

    fn hear(&mut self, happening: Happening) {
        match happening {
            Happening::Died(worker) => self.bury(worker),
            Happening::Said(worker, frame) => self.answer(worker, frame),
            Happening::Misspoke(worker, refusal) => {
                // A refusal names no listener.
                let _ = self.reply(worker, refusal);
            }
            // It is about to die: what it has not received is better off elsewhere at once.
            Happening::HungUp(worker) => self.hung_up(worker),
            Happening::Broke(worker, why) => self.cut_off(worker, &why),
            Happening::LastCalled(worker, order) => self.send(worker, &ToWorker::Drain(order), None),
            Happening::CaughtUp(done) => self.answer_behind_dispatcher(done),
            Happening::Unwatched(worker, error) => {
                let message = format!(
                    "The end of {worker} cannot be waited for, and is looked for every {} ms: {error}",
                    LOOK.as_millis()
                );
                (self.tell)(Event::Warning { code: "RCLUSTER_EXHAUSTED", message });
            }
            Happening::Hangs(worker, text) => self.supervise(supervise::Input::Stack { worker, text }),
            Happening::Noticed(notice) => {
                if let Notice::Broken(worker, why) = &notice {
                    self.cut_off(*worker, why);
                } else {
                    (self.tell)(describe(notice));
                }
            }
        }
    }

    fn answer(&mut self, worker: WorkerId, frame: FromWorker) {
        match frame {
            FromWorker::Hello => self.supervise(supervise::Input::Online { worker }),
            FromWorker::Query(query) => self.decide(Input::Query { worker, query: *query }),
            FromWorker::Listening { listener } => {
                self.decide(Input::Listening { worker, listener });
                self.supervise(supervise::Input::Listening { worker });
            }
            FromWorker::Close { listener } => self.decide(Input::Close { worker, listener }),
            FromWorker::ListensAlone => self.supervise(supervise::Input::Listening { worker }),
            FromWorker::Leaving => self.leaves(worker),
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

    /// Ends a worker's link. It takes that for the loss of its primary and exits, by itself or by
    /// the watch inside it.
    pub(super) fn cut_off(&mut self, worker: WorkerId, why: &str) {
        let Some(handle) = self.workers.get_mut(&worker) else { return };
        handle.lifeline = None;
        handle.control = None;
        if !self.unlinked.on_cut_off(self.start.elapsed(), worker) {
            return;
        }
        (self.tell)(broken(worker, why));
        self.supervise(supervise::Input::CutOff { worker });
        self.give_no_more(worker);
        // For those who wait at its listeners it is dead.
        self.decide(Input::WorkerDied { worker });
    }

    /// A worker has closed its control socket: it is about to die, or it has lost its mind.
    fn hung_up(&mut self, worker: WorkerId) {
        match self.workers.get(&worker) {
            Some(handle) if !handle.stranger => {
                self.unlinked.on_hang_up(self.start.elapsed(), worker);
                self.give_no_more(worker);
            }
            _ => {}
        }
    }

    /// Nobody gives the worker any connection from now on; what it has not received goes to others, and its slot is free.
    pub(super) fn give_no_more(&mut self, worker: WorkerId) {
        // Once: a worker that says over and over that it leaves must not fill the queues of the other threads.
        if self.workers.get_mut(&worker).is_none_or(|handle| std::mem::replace(&mut handle.leaving, true)) {
            return;
        }
        lock(&self.slots).free(worker);
        self.dispatcher.tell(ToDispatcher::WorkerLeaving(worker));
        self.forwarding.leaving(worker);
    }

    fn bury(&mut self, worker: WorkerId) {
        let Some(handle) = self.workers.get(&worker) else { return };
        let exit = match reap(handle.pidfd.as_fd()) {
            Ok(Some(exit)) => exit,
            // It is dead for everybody but a process that traces it, which gets its exit before us.
            Ok(None) => return self.reap_later(worker),
            Err(error) => {
                let message = format!(
                    "Other code in this process has taken the exit of {worker}, which is told as if it had been killed: {error}"
                );
                (self.tell)(Event::Warning { code: "RCLUSTER_EXIT_UNKNOWN", message });
                Exit::Signal { number: SIGKILL, core_dumped: false }
            }
        };
        self.workers.remove(&worker);
        self.unlinked.on_exit(worker);
        lock(&self.slots).free(worker);
        let event = Event::Exited { worker, exit };
        self.dispatcher.tell(ToDispatcher::WorkerGone(worker));
        self.forwarding.gone(worker);
        let supervised = self.supervision.as_ref().is_some_and(|supervision| supervision.has(worker));
        // Who exits with 0 has meant to go, and its listeners go with it, unless supervision knows
        // better. After anything else they stay open for a replacement.
        if exit == Exit::Code(0) && !supervised {
            self.decide(Input::WorkerLeft { worker });
        }
        self.decide(Input::WorkerDied { worker });
        self.tell_in_order(event);
        if supervised {
            self.lost(worker, exit);
        }
    }

    /// Nobody waits for a worker whose exit is not to be had yet.
    fn reap_later(&mut self, worker: WorkerId) {
        self.cut_off(worker, "another process traces it and has not taken its exit");
        let happenings = self.happenings.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(LOOK).await;
            // The supervisor has stopped when nobody listens.
            let _stopped = happenings.send(Happening::Died(worker)).await;
        });
    }

    /// Tells the application something once the dispatcher has done what it was told before: first what
    /// clients are waiting for, and the listeners that close, then the news.
    pub(super) fn tell_in_order(&self, event: Event) {
        let tell = Arc::clone(&self.tell);
        self.dispatcher.tell(ToDispatcher::Then(Afterwards::new(move || tell(event))));
    }

    /// Gives the registry an input and carries out what it says.
    pub(super) fn decide(&mut self, input: Input) {
        let now = self.start.elapsed();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut outputs = std::mem::take(&mut self.outputs);
            self.listeners.handle(now, input, &mut outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::Open { listener, spec } => {
                        let result = self.sockets.open(listener, &spec);
                        inputs.push(Input::Opened { listener, result });
                    }
                    Output::Reply { worker, reply } => {
                        let declined = self.answer_query(worker, reply);
                        inputs.extend(declined.map(|listener| Input::Close { worker, listener }));
                    }
                    Output::Join { worker, listener } => self.join(worker, listener),
                    Output::Leave { worker, listener } => {
                        if let Some(supervision) = &mut self.supervision {
                            supervision.holds_leave(worker, listener);
                        }
                        self.dispatcher.tell(ToDispatcher::Leave(worker, listener));
                    }
                    Output::CloseListener { listener } => self.sockets.close(listener),
                }
            }
            self.outputs = outputs;
        }
        for (worker, listeners) in self.listeners.sole_servers() {
            self.supervise(supervise::Input::ServesAlone { worker, listeners });
        }
    }

    fn join(&mut self, worker: WorkerId, listener: ListenerId) {
        let held = self.supervision.as_mut().is_some_and(|it| it.holds_join(worker, listener));
        if !held {
            self.dispatcher.tell(ToDispatcher::Join(worker, listener));
        }
    }

    fn answer_query(&mut self, worker: WorkerId, reply: Reply) -> Option<ListenerId> {
        let reply = match &mut self.supervision {
            Some(supervision) => supervision.holds_reply(worker, reply),
            None => Some(reply),
        };
        let Some(reply) = reply else {
            // It listens as soon as it may: a standby gets no further than this.
            self.supervise(supervise::Input::Listening { worker });
            return None;
        };
        self.reply(worker, reply)
    }

    /// Answers a worker. Returns the listener that it could not be given after all.
    pub(super) fn reply(&mut self, worker: WorkerId, reply: Reply) -> Option<ListenerId> {
        let handle = self.workers.get(&worker)?;
        handle.control.as_ref()?;
        // What fails for want of a descriptor fails for this one server, as binding would have.
        let (reply, fd, declined) = match self.sockets.shared(handle.slot, &reply) {
            Ok(fd) => (reply, fd, None),
            Err(error) => (Reply::refusal(reply.seq, error.negative_errno()), None, reply.listener),
        };
        self.send(worker, &ToWorker::Reply(reply), fd);
        declined
    }

    /// Sends a frame to a worker, unless it is dead or cut off.
    pub(super) fn send(&mut self, worker: WorkerId, frame: &ToWorker, fd: Option<OwnedFd>) {
        let control = self.workers.get(&worker).and_then(|handle| handle.control.as_ref());
        if let Some(control) = control
            && let Err(error) = control.send(frame, fd)
        {
            self.cut_off(worker, &error.to_string());
        }
    }

    /// Finds out where a worker hangs.
    pub(super) fn find_hang(&self, worker: WorkerId) {
        let happenings = self.happenings.clone();
        let then = Then::new(move |stack| {
            // Why there is none is of no use to the one who has to replace it. A full queue means that the
            // supervisor is behind, and then it does not wait for this.
            let _late = happenings.try_send(Happening::Hangs(worker, stack.ok()));
        });
        self.capture_stack(worker, STACK_LIMIT, then);
    }

    /// Asks in a task of its own: nobody else has to wait for the answer.
    fn capture_stack(&self, worker: WorkerId, limit: Duration, then: Then) {
        let lifeline = self.workers.get(&worker).and_then(|handle| handle.lifeline.clone());
        tokio::task::spawn_local(async move {
            then.call(match lifeline {
                Some(lifeline) => lifeline.stack(limit).await,
                None => Err(NoStack::Gone),
            });
        });
    }
}

async fn until(start: Instant, deadline: Option<Duration>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until((start + deadline).into()).await;
    }
}

/// The same where the system has no room to watch one more.
async fn look_for_death(pidfd: &OwnedFd) {
    while !has_ended(pidfd) {
        tokio::time::sleep(LOOK).await;
    }
}

/// A pidfd can be read from the moment its process is dead.
async fn wait_for_death(pidfd: Arc<OwnedFd>) -> Result<(), SysError> {
    let doing = "waiting for a worker to end";
    let watched = watch(pidfd, Interest::READABLE, doing)?;
    watched.readable().await.doing(doing)?.retain_ready();
    Ok(())
}
