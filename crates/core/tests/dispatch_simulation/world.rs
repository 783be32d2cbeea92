//! The simulated environment of the dispatcher: kernel, shell and workers.
//!
//! A channel is a queue of packets, from which its worker or the shell takes. Messages of a worker on its
//! channel and messages of the control thread about the worker arrive independently of each other, each in
//! order.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rcluster_core::dispatch::{Board, Config, Connection, Dispatch, Input, Output, Time};
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_core::schedule::{Home, Key, Policy};

use crate::app::{App, TIMEOUT};
use crate::books::Books;
use crate::listener::{Listener, QUEUE_LIMIT, random_plan};
use crate::worker::{Conn, Life, Packet, Worker};
use rcluster_core::random::Random;

/// Small limits, so that all of them are reached often.
pub(crate) const CONFIG: Config = Config {
    window: 6,
    blocked_after: Duration::from_millis(5),
    retry_after: Duration::from_millis(20),
    reclaim_again_after: Duration::from_millis(2),
};
const CHANNEL_PACKETS: usize = 3;
const BATCH: usize = 2;

/// The counters of the workers.
#[derive(Default)]
pub(crate) struct Counters(BTreeMap<WorkerId, u64>);

impl Board for Counters {
    fn received(&self, worker: WorkerId) -> u64 {
        self.0.get(&worker).copied().unwrap_or(0)
    }
    // These two only affect the choice of a worker, so any number will do.
    fn open(&self, worker: WorkerId) -> u32 {
        u32::try_from(self.received(worker) % 7).unwrap()
    }
    fn busy(&self, worker: WorkerId) -> Duration {
        Duration::from_micros(self.received(worker).wrapping_mul(977))
    }
}

impl Connection for Conn {
    fn is_kept(&self) -> bool {
        self.kept
    }

    fn home(&self) -> Option<Home> {
        let client = || (self.client > 0).then(|| Home::Client(Key::of(&[self.client])));
        self.chosen.map(Home::Worker).or_else(client)
    }
}

/// How often each event has occurred, to verify the coverage of the simulation.
pub(crate) type Tally = BTreeMap<&'static str, u64>;

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) tally: Tally,
    pub(crate) dispatch: Dispatch<Conn>,
    pub(crate) now: Time,
    pub(crate) app: App,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) listeners: BTreeMap<ListenerId, Listener>,
    /// The messages of the control thread that the shell has not received yet.
    pub(crate) commands: VecDeque<Input<Conn>>,
    pub(crate) counters: Counters,
    /// What the dispatcher has been told.
    pub(crate) books: Books,
    /// Whether the shell is short of descriptors.
    pub(crate) is_short: bool,
    /// The number of connections that were accepted or invented.
    pub(crate) made: usize,
    /// The number of connections that have ended.
    pub(crate) closed: usize,
    ids: u32,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            tally: Tally::new(),
            dispatch: Dispatch::new(CONFIG),
            now: Time::ZERO,
            app: App::default(),
            workers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            commands: VecDeque::new(),
            counters: Counters::default(),
            books: Books::default(),
            is_short: false,
            made: 0,
            closed: 0,
            ids: 0,
        }
    }

    /// # Panics
    /// If there is no such worker: the dispatcher must not name a worker after its end.
    fn worker(&mut self, worker: WorkerId) -> &mut Worker {
        self.workers.get_mut(&worker).unwrap()
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    // Actions of workers and of the control thread.

    pub(crate) fn spawn(&mut self, honest: bool) {
        self.ids += 1;
        let worker = WorkerId(self.ids);
        self.workers.insert(worker, Worker::new(worker, honest));
        let slot = Slot(u32::try_from(self.random.below(4)).unwrap());
        self.commands.push_back(Input::WorkerAdded { worker, slot });
    }

    pub(crate) fn open_listener(&mut self) {
        self.ids += 1;
        let listener = ListenerId(self.ids);
        let plan = random_plan(&mut self.random);
        self.listeners.insert(listener, Listener::new(plan.clone()));
        self.commands.push_back(Input::ListenerAdded { listener, plan });
    }

    pub(crate) fn listen(&mut self, worker: WorkerId, listener: ListenerId) {
        let max_connections = if self.random.one_in(3) { Some(1 + self.random.below(4)) } else { None };
        self.worker(worker).listen(listener, max_connections);
        self.commands.push_back(Input::Joined { worker, listener });
    }

    pub(crate) fn unlisten(&mut self, worker: WorkerId, listener: ListenerId) {
        if self.worker(worker).unlisten(listener) {
            self.commands.push_back(Input::Left { worker, listener });
        }
    }

    pub(crate) fn leave(&mut self, worker: WorkerId) {
        self.worker(worker).life = Life::Leaving;
        self.commands.push_back(Input::WorkerLeaving { worker });
    }

    /// The connections that it has received end with it; the shell reclaims the others.
    pub(crate) fn kill(&mut self, worker: WorkerId) {
        self.closed += self.worker(worker).kill();
        self.commands.push_back(Input::WorkerExited { worker, conns: Vec::new() });
    }

    /// The first half of a turn of a worker's loop: see `Worker::receive`.
    pub(crate) fn receive(&mut self, worker: WorkerId) -> bool {
        self.workers.get_mut(&worker).unwrap().receive(&mut self.random)
    }

    /// The second half: see `Worker::serve`.
    pub(crate) fn serve(&mut self, worker: WorkerId) -> bool {
        let counter = self.counters.0.entry(worker).or_default();
        self.workers.get_mut(&worker).unwrap().serve(counter, &mut self.random)
    }

    /// Clients wait on the socket of the worker's slot. The worker may be blocked or slow.
    pub(crate) fn unattended(&mut self, worker: WorkerId) {
        self.commands.push_back(Input::Unattended { worker });
    }

    /// One of a worker's connections ends.
    pub(crate) fn finish_one(&mut self, worker: WorkerId) -> bool {
        let finished = self.workers.get_mut(&worker).unwrap().finish_one(&mut self.random);
        self.closed += usize::from(finished);
        finished
    }

    /// The worker violates the protocol.
    pub(crate) fn lie(&mut self, worker: WorkerId) {
        let counter = self.counters.0.entry(worker).or_default();
        self.made += self.workers.get_mut(&worker).unwrap().lie(counter, &mut self.random);
    }

    // Actions of the shell.

    pub(crate) fn accept(&mut self, listener: ListenerId) -> bool {
        let Some(it) = self.listeners.get_mut(&listener) else {
            return false;
        };
        if !it.accept() {
            return false;
        }
        let waiting = self.books.new_waiting(listener);
        let limit = if it.plan().overload.sheds() { usize::MAX } else { QUEUE_LIMIT };
        assert!(waiting < limit, "{listener} accepts with {waiting} waiting");
        self.made += 1;
        let client = u8::try_from(self.random.below(12)).unwrap();
        let hooked = it.plan().policy == Policy::Hook;
        let conn = Conn { listener, client, chosen: None, tainted: false, kept: false };
        if hooked {
            self.wait_for_hook(listener, conn);
        } else {
            self.feed(Input::Accepted { listener, conn });
        }
        true
    }

    pub(crate) fn hear_worker(&mut self, worker: WorkerId) -> bool {
        let said = self.workers.get_mut(&worker).and_then(|it| it.says.pop_front());
        said.map(|said| self.feed(said)).is_some()
    }

    pub(crate) fn hear_control(&mut self) -> bool {
        let Some(command) = self.commands.pop_front() else {
            return false;
        };
        if let Input::WorkerExited { worker, .. } = command {
            while self.hear_worker(worker) {}
            let (conns, _) = self.worker(worker).reclaim(usize::MAX);
            self.feed(Input::WorkerExited { worker, conns });
            self.workers.remove(&worker);
            return true;
        }
        if let Input::ListenerRemoved { listener } = command {
            self.listeners.remove(&listener);
        }
        self.feed(command);
        true
    }

    /// A draining worker hands a connection over.
    pub(crate) fn hand_over(&mut self, worker: WorkerId) -> bool {
        let handed_over = self.workers.get_mut(&worker).unwrap().hand_over(&mut self.random);
        if handed_over {
            self.count("handed over");
        }
        handed_over
    }

    /// Time passes; the shell checks the timers when they are due, or a little later.
    pub(crate) fn wait(&mut self, how_long: Duration) {
        let until = self.now + how_long;
        for _ in 0..200 {
            let late = Duration::from_micros(self.random.below(400) as u64);
            match self.next_deadline() {
                Some(due) if due <= until => self.now = self.now.max((due + late).min(until)),
                _ => {
                    self.now = until;
                    return;
                }
            }
            self.feed(Input::Tick);
            self.wait_no_longer();
        }
        panic!("the brain keeps asking for ticks");
    }

    pub(crate) fn flush(&mut self) -> bool {
        let ids: Vec<WorkerId> = self.workers.keys().copied().collect();
        ids.into_iter().fold(false, |flushed, worker| {
            self.flush_worker(worker).map(|unsent| self.feed(unsent)).is_some() | flushed
        })
    }

    fn flush_worker(&mut self, worker: WorkerId) -> Option<Input<Conn>> {
        let it = self.worker(worker);
        let conns = std::mem::take(&mut it.batch);
        if conns.is_empty() {
            return None;
        }
        if it.channel.len() >= CHANNEL_PACKETS {
            self.count("unsent");
            return Some(Input::Unsent { worker, conns });
        }
        it.channel.push_back(Packet::Conns(conns));
        None
    }

    /// Gives the dispatcher an input, carries out the outputs, and repeats this with the inputs that result.
    pub(crate) fn feed(&mut self, input: Input<Conn>) {
        let mut inputs = VecDeque::from([input]);
        let mut out = Vec::new();
        for _ in 0..1_000 {
            let Some(input) = inputs.pop_front() else { return };
            self.books.on_input(&input, |listener| self.listeners.contains_key(&listener));
            self.dispatch.handle(self.now, input, &self.counters, &mut out);
            self.dispatch.check_invariants(self.now).unwrap();
            let mut recheck = false;
            for output in out.drain(..) {
                // Workers run concurrently with the shell.
                if self.random.one_in(4)
                    && let Some(worker) = self.random.pick(&self.workers.keys().copied().collect::<Vec<_>>())
                {
                    let _turned = self.serve(worker) || self.receive(worker);
                }
                recheck |= matches!(output, Output::WantWake { .. });
                inputs.extend(self.carry_out(output));
            }
            if recheck {
                inputs.push_back(Input::Tick);
            }
        }
        panic!("brain and shell go round in circles");
    }

    fn carry_out(&mut self, output: Output<Conn>) -> Option<Input<Conn>> {
        match output {
            Output::Send { worker, listener, conn } => {
                self.count("send");
                self.send(worker, listener, conn)
            }
            Output::Close { conn } => {
                self.count("close");
                self.books.on_output(conn.listener, &conn);
                let open = self.listeners.contains_key(&conn.listener);
                assert!(!open || conn.tainted, "a client of {} is turned away", conn.listener);
                self.closed += 1;
                None
            }
            Output::Ask { listener, conn } => {
                self.count("asked again");
                self.books.on_output(listener, &conn);
                assert!(conn.kept, "a new client of {listener} is asked about twice");
                // The app answers, or does not, as with any other connection.
                self.app.hook.enter(listener, conn, self.now + TIMEOUT).map(|conn| {
                    self.count("unasked");
                    Input::Accepted { listener, conn }
                })
            }
            Output::Shed { listener, conn } => {
                self.count("shed");
                assert!(!conn.kept, "{listener} sheds what was handed over");
                self.books.on_output(listener, &conn);
                assert!(conn.tainted || conn.listener == listener);
                assert!(self.listeners[&listener].plan().overload.sheds(), "{listener} turns clients away");
                self.closed += 1;
                None
            }
            Output::Pause { listener } => self.set_paused(listener, true),
            Output::Resume { listener } => self.set_paused(listener, false),
            Output::Reclaim { worker } => {
                let room = if self.is_short { self.random.below(2) } else { usize::MAX };
                let (conns, all) = self.worker(worker).reclaim(room);
                self.count(match (all, conns.is_empty()) {
                    (false, _) => "reclaimed in part",
                    (true, true) => "reclaimed nothing",
                    (true, false) => "reclaimed",
                });
                Some(Input::Reclaimed { worker, conns, all })
            }
            Output::WantWake { worker } => {
                self.count("wake");
                self.worker(worker).wake_wanted = true;
                None
            }
            Output::AcceptOnBehalf { worker, listener } => {
                self.count("accept on behalf");
                assert_eq!(self.listeners[&listener].plan().policy, Policy::Kernel);
                self.books.accept_on_behalf(worker, listener);
                None
            }
            Output::StopAcceptingOnBehalf { worker, listener } => {
                self.count("accept no longer on behalf");
                self.books.stop_accepting_on_behalf(worker, listener);
                None
            }
            Output::Probe { worker } => {
                self.count("probe");
                let it = self.worker(worker);
                if it.channel.len() < CHANNEL_PACKETS {
                    it.channel.push_back(Packet::Probe);
                }
                None
            }
        }
    }

    fn send(&mut self, worker: WorkerId, listener: ListenerId, conn: Conn) -> Option<Input<Conn>> {
        assert_eq!(listener, conn.listener);
        self.books.on_output(listener, &conn);
        if let Some(chosen) = conn.chosen {
            self.count(if chosen == worker { "to the chosen" } else { "to another" });
        }
        let full = self.books.is_full(worker, listener);
        let it = self.worker(worker);
        assert!(full.is_some(), "{worker} is no member of {listener}");
        assert!(full == Some(false) || !it.honest, "{worker} is full at {listener}");
        it.batch.push((listener, conn));
        // Connections received and not counted yet may exceed the limit for a moment.
        let limit = if it.honest { 2 * CONFIG.window as usize } else { usize::MAX };
        assert!(it.unreceived().count() <= limit, "{worker} has got more than it can take");
        if it.batch.len() < BATCH { None } else { self.flush_worker(worker) }
    }

    fn set_paused(&mut self, listener: ListenerId, paused: bool) -> Option<Input<Conn>> {
        self.count(if paused { "pause" } else { "resume" });
        let changed = self.listeners.get_mut(&listener).unwrap().set_paused(paused);
        assert!(changed, "{listener} is told the same twice");
        None
    }
}
