//! The machines, their connections to the server, and the failures.

use std::collections::{BTreeMap, BTreeSet};

use rcluster_core::machines::wire::{Content, Publication};
use rcluster_core::machines::{Input, Output, SILENCE, Topic};
use rcluster_core::random::Random;

use super::ledger::Ledger;
use super::machine::{Leader, Machine, number_of};

const MACHINES: u64 = 3;

/// How long failures occur, in ms, and the quiet time after that.
const STORM: u64 = 30_000;
const QUIET: u64 = 2 * SILENCE;

#[derive(Clone, Debug)]
enum Event {
    /// A machine is connecting; the result is known at this time.
    Connect {
        machine: u64,
        connection: u64,
    },
    ToServer {
        machine: u64,
        connection: u64,
        output: Output,
    },
    ToMachine {
        machine: u64,
        connection: u64,
        input: Input,
    },
    Hangup {
        machine: u64,
        connection: u64,
    },
    Wake {
        machine: u64,
    },
    Chaos,
}

/// The two paths of a connection, commands and subscriptions. Order is kept on each path, not between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Commands,
    Replies,
    News,
}

pub(crate) struct World {
    time: u64,
    random: Random,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    is_up: bool,
    /// The subscriptions of each connection, and its machine.
    subscribed: BTreeMap<u64, (u64, BTreeSet<Topic>)>,
    machines: BTreeMap<u64, Machine>,
    next_machine: u64,
    next_connection: u64,
    arrivals: BTreeMap<(u64, Way), u64>,
    leader: Leader,
    pub(crate) ledger: Ledger,
    is_quiet: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            time: 1,
            random: Random::new(seed),
            events: BTreeMap::new(),
            sequence: 0,
            is_up: true,
            subscribed: BTreeMap::new(),
            machines: BTreeMap::new(),
            next_machine: 1,
            next_connection: 1,
            arrivals: BTreeMap::new(),
            leader: None,
            ledger: Ledger::default(),
            is_quiet: false,
        }
    }

    fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((time, self.sequence), event);
    }

    fn send(&mut self, connection: u64, way: Way, event: Event) {
        let delay = match self.random.below(60) {
            0 if !self.is_quiet => self.random.number(0, 3000),
            1 | 2 => self.random.number(0, 300),
            _ => self.random.number(0, 3),
        };
        let last = self.arrivals.entry((connection, way)).or_default();
        *last = (*last).max(self.time + u64::from(delay));
        let at = *last;
        self.at(at, event);
    }

    fn start_machine(&mut self) {
        let number = self.next_machine;
        self.next_machine += 1;
        let mut machine = Machine::new(number, self.random.bits());
        for _ in 0..self.random.below(4) {
            let worker = machine.start_worker();
            machine.handle(worker);
        }
        self.machines.insert(number, machine);
        self.input(number, None);
    }

    fn kill_machine(&mut self, number: u64) {
        let Some(machine) = self.machines.remove(&number) else { return };
        for request in machine.requests() {
            self.ledger.abandon(request);
        }
        // Usually the kernel closes the connection; a machine that has lost its power sends nothing.
        if self.random.one_in(2) {
            self.subscribed.remove(&machine.connection);
        }
    }

    fn input(&mut self, number: u64, input: Option<Input>) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        let outputs = machine.input(input, self.time, self.leader, &mut self.ledger);
        let deadline = machine.next_deadline();
        for output in outputs {
            let machine = self.machines.get_mut(&number).expect("it is there");
            match output {
                Output::Open => {
                    machine.connection = self.next_connection;
                    self.next_connection += 1;
                    let connection = machine.connection;
                    self.send(connection, Way::Replies, Event::Connect { machine: number, connection });
                }
                Output::Close => {
                    let connection = std::mem::take(&mut machine.connection);
                    // The server notices it some time later.
                    let at = self.time + u64::from(self.random.number(0, 500));
                    self.at(at, Event::Hangup { machine: number, connection });
                }
                output => {
                    let connection = machine.connection;
                    let way = if matches!(output, Output::Change { .. }) { Way::News } else { Way::Commands };
                    self.send(connection, way, Event::ToServer { machine: number, connection, output });
                }
            }
        }
        if let Some(deadline) = deadline {
            self.at(deadline.max(self.time + 1), Event::Wake { machine: number });
        }
    }

    /// Publications count only on the machine's current connection.
    fn is_current(&self, machine: u64, connection: u64) -> bool {
        self.machines.get(&machine).is_some_and(|it| it.connection == connection)
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Connect { machine, connection } if self.is_current(machine, connection) => {
                if self.is_up {
                    self.subscribed.insert(connection, (machine, BTreeSet::new()));
                }
                let failed = Input::Failed("it is down".into());
                self.input(machine, Some(if self.is_up { Input::Opened } else { failed }));
            }
            Event::ToServer { machine, connection, output } => self.on_server(machine, connection, output),
            Event::ToMachine { machine, connection, input } if self.is_current(machine, connection) => {
                self.input(machine, Some(input));
            }
            Event::Hangup { machine, connection } => {
                self.subscribed.remove(&connection);
                if self.is_current(machine, connection) {
                    self.input(machine, Some(Input::Failed("it is lost".into())));
                }
            }
            Event::Wake { machine } => {
                let is_due = |it: &Machine| it.next_deadline().is_some_and(|at| at <= self.time);
                if self.machines.get(&machine).is_some_and(is_due) {
                    self.input(machine, Some(Input::Tick));
                }
            }
            Event::Chaos => self.on_chaos(),
            Event::Connect { .. } | Event::ToMachine { .. } => {}
        }
    }

    fn on_server(&mut self, machine: u64, connection: u64, output: Output) {
        if !self.subscribed.contains_key(&connection) {
            return;
        }
        match output {
            Output::Change { subscribe, unsubscribe } => {
                let (_, its) = self.subscribed.get_mut(&connection).expect("it is connected");
                its.extend(subscribe);
                its.retain(|topic| !unsubscribe.contains(topic));
                self.send(
                    connection,
                    Way::News,
                    Event::ToMachine { machine, connection, input: Input::Changed },
                );
            }
            Output::Publish(batch) => {
                let counts = batch.into_iter().map(|(topic, bytes)| self.publish(&topic, &bytes)).collect();
                let input = Input::Published(counts);
                self.send(connection, Way::Replies, Event::ToMachine { machine, connection, input });
            }
            Output::Beat(topic, bytes) => {
                self.publish(&topic, &bytes);
            }
            output => panic!("{output:?}"),
        }
    }

    fn publish(&mut self, topic: &Topic, bytes: &[u8]) -> u64 {
        let hear = self.subscribed.iter().filter(|(_, (_, topics))| topics.contains(topic));
        let hear: Vec<(u64, u64)> = hear.map(|(connection, (machine, _))| (*machine, *connection)).collect();
        let publication = Publication::decode(bytes).expect("it is valid");
        if let Content::Ask { data, .. } = publication.content {
            let names = hear.iter().filter_map(|(machine, _)| Some(self.machines.get(machine)?.id));
            let reached = names.filter(|id| *id != publication.machine).collect();
            // A machine without power still counts for the server.
            self.ledger.on_published(number_of(data), reached);
        }
        for (machine, connection) in &hear {
            let input = Input::Received {
                topic: topic.clone(),
                bytes: bytes.to_vec(),
                has_room: self.is_quiet || !self.random.one_in(500),
            };
            let event = Event::ToMachine { machine: *machine, connection: *connection, input };
            self.send(*connection, Way::News, event);
        }
        hear.len() as u64
    }

    fn pick(&mut self) -> Option<u64> {
        let all: Vec<u64> = self.machines.keys().copied().collect();
        self.random.pick(&all)
    }

    fn request(&mut self, number: u64) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        let Some(worker) = self.random.pick(&machine.workers()) else { return };
        let is_for_leader = self.random.one_in(3) && !self.is_quiet;
        let request = self.ledger.begin(machine.id, is_for_leader);
        machine.request(worker, request, is_for_leader, self.leader);
        self.input(number, None);
    }

    fn on_chaos(&mut self) {
        if self.is_quiet {
            return;
        }
        let wait = self.random.number(1, 60);
        self.at(self.time + u64::from(wait), Event::Chaos);
        if (self.machines.len() as u64) < MACHINES && self.random.one_in(10) {
            self.start_machine();
        }
        let Some(number) = self.pick() else { return };
        let machine = self.machines.get_mut(&number).expect("it is there");
        let worker = self.random.pick(&machine.workers());
        match (self.random.below(60), worker) {
            (0, _) if self.random.one_in(4) => self.kill_machine(number),
            (1, _) if self.random.one_in(6) => {
                self.is_up = !self.is_up;
                if !self.is_up {
                    for (connection, (machine, _)) in std::mem::take(&mut self.subscribed) {
                        self.send(connection, Way::Replies, Event::Hangup { machine, connection });
                    }
                }
            }
            (2, _) if self.random.one_in(4) => {
                let connection = machine.connection;
                self.at(self.time, Event::Hangup { machine: number, connection });
            }
            // Publications to the machine are lost first, while its own are still published.
            (26, _) if self.random.one_in(4) => {
                let connection = machine.connection;
                if let Some((_, topics)) = self.subscribed.get_mut(&connection) {
                    topics.clear();
                }
                let at = self.time + u64::from(self.random.number(0, 3000));
                self.at(at, Event::Hangup { machine: number, connection });
            }
            (3, Some(worker)) => {
                let lost = machine.kill_worker(worker);
                for request in lost {
                    self.ledger.abandon(request);
                }
                self.input(number, None);
            }
            (4, _) => {
                let worker = machine.start_worker();
                if !self.random.one_in(4) {
                    machine.handle(worker);
                }
                self.input(number, None);
            }
            (5, worker) => self.leader = worker.map(|worker| (machine.id, worker)),
            (6..=9, Some(worker)) => {
                let tell = self.random.one_in(2);
                if let Some(request) = machine.cancel(worker, tell) {
                    self.ledger.abandon(request);
                }
                self.input(number, None);
            }
            (10..=25, _) => self.request(number),
            (_, Some(worker)) => {
                machine.answer(worker, self.random.below(4));
                self.input(number, None);
            }
            _ => {}
        }
    }

    fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((time, _), event) = entry.remove_entry();
            self.time = time;
            self.on(event);
        }
        self.time = end;
    }

    fn answer_all(&mut self) {
        let all: Vec<u64> = self.machines.keys().copied().collect();
        for number in all {
            let machine = self.machines.get_mut(&number).expect("it is there");
            for worker in machine.workers() {
                machine.answer(worker, usize::MAX);
            }
            self.input(number, None);
        }
    }

    pub(crate) fn run(&mut self) {
        for _ in 0..MACHINES {
            self.start_machine();
        }
        self.at(5, Event::Chaos);
        self.run_until(STORM);
        self.is_quiet = true;
        self.is_up = true;
        // In the end the server notices which machines are gone.
        let machines = &self.machines;
        self.subscribed.retain(|_, (machine, _)| machines.contains_key(machine));
        self.run_until(STORM + QUIET);
        for machine in self.machines.values() {
            let stray = machine.stray_calls(&mut self.ledger);
            assert_eq!(stray, [0; 0], "handlers are told that nobody waits");
        }
        // From now on all calls are answered.
        let all: Vec<u64> = self.machines.keys().copied().collect();
        let complete = self.ledger.complete;
        let mut expected = 0;
        for number in &all {
            expected += u64::from(!self.machines[number].workers().is_empty());
        }
        self.answer_all();
        self.run_until(STORM + 2 * QUIET);
        let before = self.ledger.complete;
        assert!(before >= complete);
        for number in &all {
            self.request(*number);
        }
        for step in 1..=QUIET / 100 {
            self.run_until(STORM + 2 * QUIET + step * 100);
            self.answer_all();
        }
        assert_eq!(self.ledger.complete - before, expected, "all are asked, and all answer");
        for machine in self.machines.values() {
            assert_eq!(machine.requests(), [0; 0], "each request ends");
            assert_eq!((machine.pending(), machine.calls()), ((0, 0, 0), 0), "nothing is left");
        }
    }
}
