//! The dispatcher's thread: events in, the brain's orders out.

mod accept_watch;
mod clients;
mod hook;
mod listeners;
mod slots;
mod workers;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use super::acceptor::Outcome;
use super::channel::{Sending, WorkerChannel};
use super::connection::{AwaitingHook, Conn};
use super::failure::Fatal;
use super::lingering_close::LingeringCloses;
use super::listening::Listening;
use super::preread::Preread;
use super::{Command, DispatcherEvent, HookReport, ListenerReport, Report};
use crate::io::native_thread::Run;
use rcluster_core::accept_watch::AcceptWatch;
use rcluster_core::dispatch::{Board, Config, Dispatch, Input, Output, Stats};
use rcluster_core::hook::HookQueue;
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_core::warning_limit::WarningLimit;
use rcluster_sys::epoll::{Poller, Reserve, Waker};
use rcluster_sys::error::SysError;
use rcluster_sys::schedule::be_patient;

/// How many connections one listener may bring in a row before the others have their turn.
const BURST: usize = 64;

/// How long the dispatcher leaves clients in the backlog when it cannot accept for want of
/// descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The workers that the dispatcher has a channel to. It is what the schedule weighs them by.
#[derive(Default)]
struct Workers(HashMap<WorkerId, WorkerChannel>);

impl Deref for Workers {
    type Target = HashMap<WorkerId, WorkerChannel>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Workers {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Board for Workers {
    fn received(&self, worker: WorkerId) -> u64 {
        self.get(&worker).map_or(0, |channel| channel.board.received())
    }

    fn open(&self, worker: WorkerId) -> u32 {
        self.get(&worker).map_or(0, |channel| channel.board.open_connections())
    }

    fn busy(&self, worker: WorkerId) -> Duration {
        self.get(&worker).map_or(Duration::ZERO, |channel| channel.board.busy())
    }
}

/// Whom an event is for. Numbers are never reused, so a stale event finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Waker,
    Worker(WorkerId),
    Listener(ListenerId),
    /// A client that has been answered; by a number of its own.
    Lingering(u32),
    /// A client that has not yet said what it is to be recognised by; by a number of its own.
    Preread(u32),
    /// A client has come to a socket from which a worker accepts.
    FirstClient(ListenerId),
}

impl Token {
    const fn pack(self) -> u64 {
        match self {
            Self::Waker => 0,
            Self::Worker(id) => 1 << 32 | id.0 as u64,
            Self::Listener(id) => 2 << 32 | id.0 as u64,
            Self::Lingering(number) => 3 << 32 | number as u64,
            Self::Preread(number) => 4 << 32 | number as u64,
            Self::FirstClient(id) => 5 << 32 | id.0 as u64,
        }
    }

    const fn unpack(packed: u64) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "the low half is the number")]
        let id = packed as u32;
        match packed >> 32 {
            0 => Self::Waker,
            1 => Self::Worker(WorkerId(id)),
            2 => Self::Listener(ListenerId(id)),
            3 => Self::Lingering(id),
            4 => Self::Preread(id),
            _ => Self::FirstClient(ListenerId(id)),
        }
    }
}

/// The thread's own state.
pub(super) struct Shell {
    poller: Poller,
    waker: Waker,
    queue: Receiver<Command>,
    pub(super) notify: Box<dyn Fn(DispatcherEvent) + Send>,
    brain: Dispatch<Conn>,
    workers: Workers,
    listeners: HashMap<ListenerId, Listening>,
    /// What the brain has not been told yet, and whether it is being told just now.
    inputs: VecDeque<Input<Conn>>,
    telling: bool,
    outputs: Vec<Output<Conn>>,
    preread: Preread,
    hook: HookQueue<AwaitingHook>,
    lingering: LingeringCloses,
    accept_watch: AcceptWatch,
    /// Those who leave and are not dead yet.
    leaving: BTreeSet<WorkerId>,
    /// Workers with something in their batch.
    unflushed: Vec<WorkerId>,
    reserve: Reserve,
    /// What comes of accepting at the sockets of slots.
    slots: (Sender<SlotOutcome>, Receiver<SlotOutcome>),
    /// Nothing is accepted before this time.
    exhausted_until: Option<Duration>,
    /// When what could not be watched, or accepted from, is tried again.
    retry_at: Option<Duration>,
    exhaustion: WarningLimit,
    jam: WarningLimit,
    /// It has been told that the kernel does not steer.
    reported_unsteered: bool,
    start: Instant,
    now: Duration,
}

impl Run for Shell {
    const NAME: &'static str = "rcluster-accept";

    fn run(&mut self) -> Result<(), SysError> {
        self.turn_until_stopped().map_err(|Fatal(error)| error)
    }

    fn on_failure(&self, why: String) {
        (self.notify)(DispatcherEvent::Failed(why));
    }
}

impl Shell {
    pub(super) fn new(
        waker: Waker,
        queue: Receiver<Command>,
        notify: Box<dyn Fn(DispatcherEvent) + Send>,
    ) -> Result<Self, SysError> {
        let poller = Poller::new()?;
        poller.add(&waker, Token::Waker.pack())?;
        Ok(Self {
            poller,
            waker,
            queue,
            notify,
            brain: Dispatch::new(Config::default()),
            workers: Workers::default(),
            listeners: HashMap::new(),
            inputs: VecDeque::new(),
            telling: false,
            outputs: Vec::new(),
            preread: Preread::default(),
            hook: HookQueue::default(),
            lingering: LingeringCloses::default(),
            accept_watch: AcceptWatch::default(),
            leaving: BTreeSet::new(),
            unflushed: Vec::new(),
            reserve: Reserve::new()?,
            slots: channel(),
            exhausted_until: None,
            retry_at: None,
            exhaustion: WarningLimit::default(),
            jam: WarningLimit::default(),
            reported_unsteered: false,
            start: Instant::now(),
            now: Duration::ZERO,
        })
    }

    fn turn_until_stopped(&mut self) -> Result<(), Fatal> {
        // An optimisation that some sandboxes forbid; it works without, too.
        let _ = be_patient();
        loop {
            let ready = self.poller.wait(self.timeout()).map_err(Fatal)?;
            self.now = self.start.elapsed();
            for index in 0..ready {
                match Token::unpack(self.poller.token(index)) {
                    Token::Waker => {
                        if self.take_commands() == Stop::Yes {
                            return Ok(());
                        }
                    }
                    Token::Worker(worker) => {
                        // Level-triggered: more of it brings another event.
                        let _ = self.read_channel(worker);
                    }
                    Token::Listener(listener) => self.accept_burst(listener),
                    Token::Preread(number) => self.preread_again(number, false),
                    Token::FirstClient(listener) => self.on_first_client(listener),
                    Token::Lingering(number) => self.lingering.on_event(number, &self.poller),
                }
            }
            self.on_time();
            self.call_hook();
            self.flush();
            self.limit_hand_over();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let deadlines = [
            self.brain.next_deadline(),
            self.exhausted_until,
            self.retry_at,
            self.preread.next_deadline(),
            self.hook.next_deadline(),
            self.lingering.next_deadline(),
            self.accept_watch.next_deadline(),
        ];
        let next = deadlines.into_iter().flatten().min()?;
        Some(next.saturating_sub(self.start.elapsed()))
    }

    fn on_time(&mut self) {
        if self.retry_at.is_some_and(|at| at <= self.now) {
            self.retry_at = None;
            self.listeners.values_mut().for_each(Listening::try_again);
            self.watch_all();
        }
        if self.exhausted_until.is_some_and(|until| until <= self.now) {
            self.exhausted_until = None;
            // Without a reserve it goes on just as well, only without help the next time.
            let _ = self.reserve.refill();
            self.watch_all();
            let dead = self.workers.iter().filter(|(_, channel)| channel.dead);
            for worker in dead.map(|(worker, _)| *worker).collect::<Vec<_>>() {
                self.reap(worker);
            }
        }
        if self.brain.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.input(Input::Tick);
        }
        self.sample_due();
        while let Some(number) = self.preread.overdue(self.now) {
            self.preread_again(number, true);
        }
        self.expire_hook();
        self.lingering.expire(self.now, &self.poller);
    }

    fn take_commands(&mut self) -> Stop {
        self.waker.clear();
        self.take_slot_outcomes();
        loop {
            match self.queue.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return Stop::Yes,
                Ok(command) => self.on_command(command),
                Err(TryRecvError::Empty) => return Stop::No,
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::AddWorker { worker, slot, pid, channel, worker_end, board } => {
                self.workers.insert(worker, WorkerChannel::new(slot, pid, channel, worker_end, board));
                self.watch_worker(worker);
                self.input(Input::WorkerAdded { worker, slot });
            }
            Command::WorkerLeaving(worker) => {
                self.vacate(worker, None);
                self.leaving.insert(worker);
                self.input(Input::WorkerLeaving { worker });
            }
            Command::WorkerExited(worker) => self.reap(worker),
            Command::AddListener { listener, socket, path, name, plan } => {
                self.listeners.insert(listener, Listening::new(socket, path, name, (*plan).clone()));
                self.input(Input::ListenerAdded { listener, plan: *plan });
            }
            Command::AddSlot { listener, slot, socket } => {
                if let Some(listening) = self.listeners.get_mut(&listener)
                    && listening.add_slot(slot, socket, &self.poller)
                {
                    self.report_shut(listener, None);
                    self.arrange(listener);
                }
                self.watch_listener(listener);
            }
            Command::RemoveListener(listener) => {
                self.accept_watch.forget(listener);
                self.input(Input::ListenerRemoved { listener });
                if let Some(listening) = self.listeners.remove(&listener) {
                    listening.close(&self.poller);
                }
            }
            Command::AcceptAllAndClose => self.accept_all_and_close(),
            Command::Join(worker, listener) => {
                // The brain may have us stand in for it at once.
                self.occupy(worker, listener);
                self.input(Input::Joined { worker, listener });
            }
            Command::Leave(worker, listener) => {
                self.vacate(worker, Some(listener));
                self.input(Input::Left { worker, listener });
            }
            Command::Barrier(act) => {
                self.flush();
                act.run();
            }
            Command::Answer { batch, answers } => self.on_hook_answers(batch, answers),
            Command::Report(answer) => {
                // Who asked may have gone.
                let _ = answer.send(self.report());
            }
            Command::Stop => unreachable!("handled by take_commands"),
        }
    }

    /// Gives the brain an input and carries out what it says, in order.
    ///
    /// What follows from that (a channel that was full, connections that were taken back) waits
    /// until the whole answer has been carried out: the brain has counted it as done, and one
    /// order of it must not overtake another.
    fn input(&mut self, input: Input<Conn>) {
        self.inputs.push_back(input);
        if self.telling {
            return;
        }
        self.telling = true;
        let mut outputs = std::mem::take(&mut self.outputs);
        while let Some(input) = self.inputs.pop_front() {
            self.brain.handle(self.now, input, &self.workers, &mut outputs);
            for output in outputs.drain(..) {
                self.carry_out(output);
            }
        }
        self.outputs = outputs;
        self.telling = false;
    }

    fn carry_out(&mut self, output: Output<Conn>) {
        match output {
            Output::Send { worker, listener, conn } => self.enqueue(worker, listener, conn),
            Output::Shed { listener, conn } => self.shed(listener, conn.fd),
            Output::Ask { listener, conn } => self.wait_for_hook_again(listener, conn),
            Output::Close { conn } => drop(conn),
            Output::Pause { listener } => self.want(listener, false),
            Output::Resume { listener } => self.want(listener, true),
            Output::Reclaim { worker } => {
                let conns = self.reclaim(worker);
                self.input(Input::Reclaimed { worker, conns });
            }
            Output::WantWake { worker } => {
                if let Some(channel) = self.workers.get(&worker) {
                    channel.board.want_wake();
                }
                // The worker may have caught up before it could see the request, and would then
                // never answer it: the brain looks at the board once more.
                self.input(Input::Tick);
            }
            Output::AcceptOnBehalf { worker, listener } => self.accept_on_behalf(worker, listener, true),
            Output::StopAcceptingOnBehalf { worker, listener } => {
                self.accept_on_behalf(worker, listener, false);
            }
            Output::Probe { worker } => {
                if let Some(Err(error)) = self.workers.get(&worker).map(WorkerChannel::probe) {
                    self.cut_off(worker, &error);
                }
            }
        }
    }

    fn enqueue(&mut self, worker: WorkerId, listener: ListenerId, conn: Conn) {
        if self.workers.get(&worker).is_some_and(|channel| !channel.batch.takes(conn.kept())) {
            self.flush_worker(worker);
        }
        let Some(channel) = self.workers.get_mut(&worker) else {
            return self.input(Input::Unsent { worker, conns: vec![(listener, conn)] });
        };
        if channel.batch.is_empty() {
            self.unflushed.push(worker);
        }
        let (chosen, kept) = (conn.chosen(), conn.kept());
        channel.push(listener, conn.fd, chosen, kept);
        if channel.batch.is_full() {
            self.flush_worker(worker);
        }
    }

    /// Sends every batch.
    fn flush(&mut self) {
        while let Some(worker) = self.unflushed.pop() {
            self.flush_worker(worker);
        }
    }

    fn flush_worker(&mut self, worker: WorkerId) {
        let Some(channel) = self.workers.get_mut(&worker) else { return };
        let Sending { unsent, broken, jammed } = channel.send_batch();
        if jammed {
            self.too_many_on_their_way();
        }
        if !unsent.is_empty() {
            let conns = self.recognise_all(unsent);
            self.input(Input::Unsent { worker, conns });
        }
        if let Some(error) = broken {
            self.cut_off(worker, &error);
        }
    }

    fn report(&self) -> Report {
        let Stats { listeners, workers } = self.brain.stats(&self.workers);
        let name = |id| self.listeners.get(&id).map(|listening| listening.name.clone()).unwrap_or_default();
        let listeners =
            listeners.into_iter().map(|stats| ListenerReport { name: name(stats.listener), stats }).collect();
        let hook = HookReport { counts: self.hook.counts(), waiting: self.hook.waiting() };
        Report { listeners, workers, hook }
    }

    /// Receives from a worker's end what the worker has not received.
    fn reclaim(&mut self, worker: WorkerId) -> Vec<(ListenerId, Conn)> {
        let Some(channel) = self.workers.get_mut(&worker) else { return Vec::new() };
        let conns = channel.reclaim().conns;
        self.recognise_all(conns)
    }
}

/// What came of accepting at the socket of a slot.
type SlotOutcome = (ListenerId, Slot, Outcome);

#[derive(PartialEq, Eq)]
enum Stop {
    Yes,
    No,
}
