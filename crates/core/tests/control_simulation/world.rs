//! The simulated environment of the control thread: processes, sockets, descriptors and an app.

mod links;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rcluster_core::control::listeners::{ListenerSpec, Opened, Sharing};
use rcluster_core::control::supervise::{self, ExitKind, KillSignal, Options, SpawnOrder};
use rcluster_core::control::{Control, Input, Output};
use rcluster_core::frames::{Drain, FromWorker, Kind, Reply, ToWorker};
use rcluster_core::ids::{ListenerId, Request, Slot, Ticket, WorkerId};
use rcluster_core::schedule::{Policy, Scheduling};
use serde_json::json;

use crate::process::{Deed, Process};
use rcluster_core::random::Random;
use rcluster_testing::Seed;

pub(crate) type Tally = BTreeMap<&'static str, u64>;

/// The port on which only standbys listen.
const STANDBY_PORT: u16 = 95;

/// The negative error number of EMFILE.
const NO_DESCRIPTORS: i32 = -24;

/// A future event.
#[derive(Debug)]
pub(crate) enum Due {
    Deed(WorkerId, Deed),
    /// The app has been told of the end of a worker, and handles it.
    ExitReported(WorkerId),
    /// The dispatcher has passed the waiting connections.
    LastCalled(WorkerId, Drain),
    /// The stack of a worker has been captured, or could not be.
    Stack(WorkerId),
}

#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) control: Control,
    pub(crate) options: Options,
    pub(crate) now: Duration,
    pub(crate) ports: Vec<u16>,
    pub(crate) processes: BTreeMap<WorkerId, Process>,
    /// The open sockets with their specs.
    pub(crate) sockets: BTreeMap<ListenerId, ListenerSpec>,
    /// The listeners of which a worker has got connections.
    ever_joined: BTreeSet<ListenerId>,
    agenda: BTreeMap<(Duration, u64), Due>,
    next: u64,
    next_worker: u32,
    next_seq: u32,
    pub(crate) next_listener: u32,
    pub(crate) open: BTreeSet<Request>,
    next_request: u64,
    /// Descriptors have run out.
    pub(crate) exhausted: bool,
    /// Nothing fails from now on.
    pub(crate) calm: bool,
    pub(crate) gentle: bool,
    /// Nothing may be spawned any more.
    pub(crate) ending: bool,
    /// The ends that have not been reported to the app, and those that the app has not handled.
    exits: BTreeSet<WorkerId>,
    /// Workers that get nothing more from the forwarder.
    not_forwarded: BTreeSet<WorkerId>,
    pub(crate) unsettled: BTreeSet<WorkerId>,
    pub(crate) tally: Tally,
    trace: bool,
}

impl World {
    pub(crate) fn new(seed: &Seed, gentle: bool) -> Self {
        let mut random = Random::new(seed.number);
        let policies = [Policy::RoundRobin, Policy::RoundRobin, Policy::None, Policy::Kernel];
        let policy = random.pick(&policies).unwrap();
        let options = crate::options::any(&mut random, gentle);
        Self {
            control: Control::new(Scheduling::all(policy), 100),
            options,
            now: Duration::ZERO,
            ports: if random.one_in(2) { vec![80] } else { vec![80, 81] },
            processes: BTreeMap::new(),
            sockets: BTreeMap::new(),
            ever_joined: BTreeSet::new(),
            agenda: BTreeMap::new(),
            next: 0,
            next_worker: 1,
            next_seq: 1,
            next_listener: 1,
            open: BTreeSet::new(),
            next_request: 0,
            exhausted: false,
            calm: gentle,
            gentle,
            ending: false,
            exits: BTreeSet::new(),
            not_forwarded: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            tally: Tally::new(),
            trace: seed.is_replay(),
            random,
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Gives the state machine an input, carries out its outputs in order, and answers them.
    pub(crate) fn give(&mut self, input: Input) {
        let mut answers = VecDeque::from([input]);
        let mut outputs = Vec::new();
        while let Some(input) = answers.pop_front() {
            let said = if self.trace { format!("{:?} {input:?}", self.now) } else { String::new() };
            if self.trace {
                println!("{said}");
            }
            self.control.input(self.now, input, &mut outputs);
            if let Err(broken) = self.control.check_invariants() {
                panic!("{broken}, after {said}");
            }
            for output in outputs.drain(..) {
                if self.trace {
                    println!("{:?}     {output:?}", self.now);
                }
                answers.extend(self.carry_out(output));
            }
            assert!(self.exits.is_empty(), "{:?} have ended, and the app is not told", self.exits);
        }
    }

    fn carry_out(&mut self, output: Output) -> Vec<Input> {
        self.check(&output);
        match output {
            Output::Spawn(SpawnOrder { ticket, slot, .. }) => return self.spawn(ticket, slot),
            Output::Promote { worker, slot } => {
                self.count("promote");
                let process = self.processes.get_mut(&worker).unwrap();
                process.slot = Some(slot);
                process.standby = false;
            }
            Output::Open { listener, spec } => return vec![self.open_socket(listener, spec)],
            Output::CloseListener(listener) => {
                let closed = self.sockets.remove(&listener);
                if closed.is_some_and(|spec| spec.name == STANDBY_PORT.to_string())
                    && !self.ever_joined.contains(&listener)
                {
                    self.count("a standby's listener closes");
                }
            }
            Output::Reply(worker, reply) => return self.on_reply(worker, reply),
            Output::Send(worker, frame) => self.on_frame(worker, &frame),
            Output::Join(worker, listener) => {
                self.count("join");
                self.processes.get_mut(&worker).unwrap().joined.insert(listener);
                self.ever_joined.insert(listener);
            }
            Output::Leave(worker, listener) => {
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.joined.remove(&listener);
                }
            }
            Output::Withdraw(worker) => self.processes.get_mut(&worker).unwrap().withdrawn = true,
            Output::LastCall(worker, order) => {
                self.count("last call");
                let stopped = self.not_forwarded.contains(&worker);
                assert!(!stopped, "clients of the forwarder cannot be passed to {worker} any more");
                let after = self.random.ms(0, 5);
                self.plan(after, Due::LastCalled(worker, order));
            }
            Output::Unlink(worker) => self.unlink(worker),
            Output::Kill(worker, signal) => self.signal(worker, signal),
            Output::CaptureStack(worker) => {
                let after = self.random.ms(0, 700);
                self.plan(after, Due::Stack(worker));
            }
            Output::Forget(worker) => assert!(self.exits.contains(&worker), "{worker} lives"),
            Output::TellExit(worker, _) => {
                assert!(self.exits.remove(&worker), "the end of {worker} is told twice");
                self.unsettled.insert(worker);
                let after = if self.random.one_in(2) { Duration::ZERO } else { self.random.ms(0, 300) };
                self.plan(after, Due::ExitReported(worker));
            }
            Output::Tell(event) => self.on_event(&event),
            Output::Answer { request, result } => {
                self.count(if result.is_ok() { "done" } else { "failed" });
                assert!(self.open.remove(&request), "{request:?} is answered, and was not open");
            }
            Output::StopPrimary { .. } => self.count("stop primary"),
            Output::StopForwarding(worker) => drop(self.not_forwarded.insert(worker)),
            Output::Agree(_) | Output::TellBroken(..) | Output::Operator(_) => {}
        }
        Vec::new()
    }

    fn spawn(&mut self, ticket: Ticket, slot: Option<Slot>) -> Vec<Input> {
        if self.exhausted {
            self.fail_for_want_of_descriptors("spawn failed");
            return vec![Input::SpawnFailed { ticket, cause: "no descriptors".into() }];
        }
        let worker = self.start(true, slot);
        let mut answers = vec![Input::Spawned { ticket, worker, slot, external: false }];
        if !self.calm && self.random.one_in(60) {
            answers.push(Input::Broke { worker, why: "its link cannot be watched".into() });
        }
        answers
    }

    /// Starts a process.
    fn start(&mut self, supervised: bool, slot: Option<Slot>) -> WorkerId {
        let worker = WorkerId(self.next_worker);
        self.next_worker += 1;
        let mut ports = self.ports.clone();
        if supervised && slot.is_none() && !self.calm && self.random.one_in(3) {
            ports.push(STANDBY_PORT);
        }
        let mut process = Process::new(&mut self.random, &ports, self.calm);
        for (after, deed) in process.plan.clone() {
            self.plan(after, Due::Deed(worker, deed));
        }
        process.supervised = supervised;
        process.standby = supervised && slot.is_none();
        process.slot = slot;
        self.processes.insert(worker, process);
        worker
    }

    /// The app forks a worker of its own.
    pub(crate) fn fork(&mut self) {
        self.count("fork");
        let worker = self.start(false, None);
        self.give(Input::Forked { worker, external: false });
    }

    fn open_socket(&mut self, listener: ListenerId, spec: ListenerSpec) -> Input {
        let taken = self.sockets.values().any(|other| other.address == spec.address);
        let result = if self.exhausted {
            self.fail_for_want_of_descriptors("open failed");
            Err(NO_DESCRIPTORS)
        } else if taken {
            Err(-98)
        } else {
            self.count("open");
            self.sockets.insert(listener, spec);
            Ok(Opened { kind: Kind::Tcp, sockname: None })
        };
        Input::Opened { listener, result }
    }

    fn fail_for_want_of_descriptors(&mut self, what: &'static str) {
        self.count(what);
        if self.processes.values().any(|it| it.goes) {
            self.count("no descriptors in a drain");
        }
    }

    fn plan(&mut self, after: Duration, due: Due) {
        self.next += 1;
        self.agenda.insert((self.now + after, self.next), due);
    }

    /// Handles everything that is due until then, in order.
    pub(crate) fn let_time_pass(&mut self, how_long: Duration) {
        let until = self.now + how_long;
        let mut busy = 0;
        loop {
            let due = self.agenda.first_key_value().map(|(&(at, _), _)| at.max(self.now));
            let tick = self.control.next_deadline().map(|at| at.max(self.now));
            let Some(next) = due.into_iter().chain(tick).min().filter(|next| *next <= until) else { break };
            busy = if next > self.now { 0 } else { busy + 1 };
            assert!(busy < 2_000, "too much happens at {next:?}");
            self.now = next;
            if due == Some(next) {
                let (_, due) = self.agenda.pop_first().unwrap();
                self.on_due(due);
            } else {
                self.give(Input::Tick);
            }
        }
        self.now = until;
    }

    fn on_due(&mut self, due: Due) {
        match due {
            Due::Deed(worker, deed) => self.act(worker, deed),
            Due::ExitReported(worker) => {
                self.unsettled.remove(&worker);
                self.give(Input::ExitReported(worker));
            }
            Due::LastCalled(worker, order) => self.give(Input::LastCalled(worker, order)),
            Due::Stack(worker) => {
                self.give(Input::Supervise(supervise::Input::Stack { worker, text: None }));
            }
        }
    }

    /// A process does something, if it still exists and is able to.
    pub(crate) fn act(&mut self, worker: WorkerId, deed: Deed) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        if let Deed::Exit(exit) = deed {
            self.processes.remove(&worker);
            self.exits.insert(worker);
            return self.give(Input::Exited { worker, exit });
        }
        if !process.linked {
            return;
        }
        match deed {
            Deed::Hello => self.give(Input::Frame(worker, FromWorker::Hello)),
            Deed::Ask(port) => self.ask_for(worker, port),
            Deed::Listen(listener) => {
                self.give(Input::Frame(worker, FromWorker::Listening { listener }));
            }
            Deed::Ready => self.give(Input::Frame(worker, FromWorker::Ready)),
            Deed::Close(listener) => {
                process.lies |= !process.listeners.remove(&listener);
                self.give(Input::Frame(worker, FromWorker::Close { listener }));
            }
            Deed::Leave => {
                process.goes = true;
                process.asked.clear();
                process.listeners.clear();
                self.give(Input::Frame(worker, FromWorker::Leaving));
            }
            Deed::HangUp => {
                process.linked = false;
                process.asked.clear();
                self.count("hung up");
                self.give(Input::HungUp(worker));
            }
            Deed::Exit(_) => {}
        }
    }

    fn ask_for(&mut self, worker: WorkerId, port: u16) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let process = self.processes.get_mut(&worker).unwrap();
        if process.goes {
            return;
        }
        process.asked.insert(seq, port);
        let frame =
            json!({ "act": "query", "seq": seq, "index": 0, "port": port, "addressType": 4, "data": null });
        let frame = FromWorker::parse(frame.to_string().as_bytes()).expect("a listen request");
        self.give(Input::Frame(worker, frame));
    }

    /// Sends supervision a request that is answered.
    pub(crate) fn request(&mut self, input: impl FnOnce(Request) -> supervise::Input) {
        let request = Request(self.next_request);
        self.next_request += 1;
        self.open.insert(request);
        self.give(Input::Supervise(input(request)));
    }

    /// Whether workers get this listener's socket.
    pub(crate) fn is_shared(&self, listener: ListenerId) -> bool {
        self.sockets.get(&listener).is_some_and(|spec| spec.sharing != Sharing::Passed)
    }
}
