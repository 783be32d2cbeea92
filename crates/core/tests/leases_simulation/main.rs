//! Simulates machines that lease names from one server, with random delays, disconnects, deaths, pauses and
//! losses.
//!
//! Two machines never use the same lease at once, even while one of them is paused: its processes know when
//! their leases end. Tokens rise. After the failures stop, every waiting request gets its turn.

mod machine;
mod server;

use std::collections::BTreeMap;

use machine::{Machine, NAMES};
use rcluster_core::leases::{Answer, Ask, Input, LeaseId, Output};
use rcluster_core::locks::Otherwise;
use rcluster_core::random::Random;
use rcluster_testing::seeds;
use server::{Back, Server};

const SEEDS: u64 = 300;
const MACHINES: u64 = 3;

/// How long failures last, in ms, and how long the quiet time after them.
const STORM: u64 = 20_000;
const QUIET: u64 = 20_000;

#[derive(Clone, Debug)]
enum Event {
    /// A machine tries to connect; at this time the result is known.
    Connect {
        machine: u64,
        connection: u64,
    },
    ToServer {
        machine: u64,
        connection: u64,
        ask: Option<Ask>,
    },
    ToMachine {
        machine: u64,
        connection: u64,
        id: LeaseId,
        number: u64,
        answer: Answer,
    },
    Beaten {
        machine: u64,
        connection: u64,
    },
    Hangup {
        machine: u64,
        connection: u64,
    },
    Told {
        machine: u64,
        connection: u64,
        name: Vec<u8>,
    },
    Wake {
        machine: u64,
    },
    Chaos,
    BackUp(Back),
}

struct World {
    time: u64,
    random: Random,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    server: Server,
    machines: Vec<Machine>,
    /// When the last message arrives, by connection and direction: messages do not overtake each other.
    arrivals: BTreeMap<(u64, bool), u64>,
    next_connection: u64,
    next_lease: u64,
    has_steals: bool,
    /// The server's clock is set back, and the server loses nothing: if both happen, tokens may fall.
    sets_clock: bool,
    /// The last token reported, by name.
    tokens: BTreeMap<Vec<u8>, u64>,
    grants: u64,
    losses: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let server = Server::new(&mut random);
        let machines = (0..MACHINES).map(|_| Machine::new(&mut random)).collect();
        let (has_steals, sets_clock) = (random.one_in(2), random.one_in(3));
        Self {
            time: 1,
            random,
            events: BTreeMap::new(),
            sequence: 0,
            server,
            machines,
            arrivals: BTreeMap::new(),
            next_connection: 1,
            next_lease: 1,
            has_steals,
            sets_clock,
            tokens: BTreeMap::new(),
            grants: 0,
            losses: 0,
        }
    }

    fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((time, self.sequence), event);
    }

    fn soon(&mut self, event: Event) {
        let delay =
            if self.random.one_in(20) { self.random.number(0, 400) } else { self.random.number(0, 4) };
        self.at(self.time + u64::from(delay), event);
    }

    /// On a connection, messages do not overtake each other.
    fn send(&mut self, connection: u64, to_server: bool, event: Event) {
        let delay =
            if self.random.one_in(30) { self.random.number(0, 600) } else { self.random.number(0, 3) };
        let last = self.arrivals.entry((connection, to_server)).or_default();
        *last = (*last).max(self.time + u64::from(delay));
        let at = *last;
        self.at(at, event);
    }

    fn run(&mut self) {
        for machine in 0..MACHINES {
            self.at(1, Event::Wake { machine });
        }
        self.at(5, Event::Chaos);
        while let Some(((time, _), event)) = self.events.pop_first() {
            self.time = time;
            if time > STORM + QUIET {
                break;
            }
            self.on(event);
        }
        for machine in &self.machines {
            assert!(machine.waiting().is_empty(), "{:?} waits in vain", machine.waiting());
            assert!(machine.ended() <= 2, "{} leases are never over", machine.ended());
        }
        assert!(self.grants > 20, "something happens: {}", self.grants);
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Connect { machine, connection } => {
                let is_up = self.server.is_up && self.server.paused_until <= self.time;
                let input = if is_up { Input::Opened } else { Input::Failed("no".into()) };
                self.deliver(machine, connection, input, Event::Connect { machine, connection });
            }
            Event::ToServer { machine, connection, ref ask } => {
                if self.server.paused_until > self.time {
                    let at = self.server.paused_until;
                    return self.at(at, event);
                }
                if !self.server.is_up {
                    return self.soon(Event::Hangup { machine, connection });
                }
                let Some(ask) = ask else {
                    return self.send(connection, false, Event::Beaten { machine, connection });
                };
                let (answer, tells) = self.server.execute(machine, ask, self.time);
                let (id, number) = (ask.id, ask.number);
                if tells {
                    self.tell(&ask.name.clone());
                }
                let answer = Event::ToMachine { machine, connection, id, number, answer };
                self.send(connection, false, answer);
            }
            Event::ToMachine { machine, connection, id, number, ref answer } => {
                let input = Input::Answered { id, number, answer: answer.clone() };
                self.deliver(machine, connection, input, event);
            }
            Event::Beaten { machine, connection } => self.deliver(machine, connection, Input::Beaten, event),
            Event::Hangup { machine, connection } => {
                self.deliver(machine, connection, Input::Failed("cut".into()), event);
            }
            Event::Told { machine, connection, ref name } => {
                self.deliver(machine, connection, Input::Released(name.clone()), event);
            }
            Event::Wake { machine } => {
                let connection = self.machines[index(machine)].connection;
                self.deliver(machine, connection, Input::Tick, event);
            }
            Event::Chaos => self.chaos(),
            Event::BackUp(how) => self.server.come_back(how, self.time),
        }
    }

    fn tell(&mut self, name: &[u8]) {
        for machine in 0..MACHINES {
            let connection = self.machines[index(machine)].connection;
            if !self.random.one_in(10) {
                self.soon(Event::Told { machine, connection, name: name.to_vec() });
            }
        }
    }

    /// Gives an input to a machine as soon as it runs. Inputs of an older connection are dropped.
    fn deliver(&mut self, machine: u64, connection: u64, input: Input, event: Event) {
        let it = &self.machines[index(machine)];
        if it.connection != connection {
            return;
        }
        if it.paused_until > self.time {
            let at = it.paused_until;
            return self.at(at, event);
        }
        let now = it.now(self.time);
        let mut out = Vec::new();
        self.machines[index(machine)].leases.input(input, now, &mut out);
        self.carry_out(machine, out);
    }

    fn carry_out(&mut self, machine: u64, out: Vec<Output>) {
        for output in out {
            let connection = self.machines[index(machine)].connection;
            match output {
                Output::Open => {
                    let connection = self.next_connection;
                    self.next_connection += 1;
                    self.machines[index(machine)].connection = connection;
                    self.soon(Event::Connect { machine, connection });
                }
                // Messages that were sent may still arrive.
                Output::Close => self.machines[index(machine)].connection = 0,
                Output::Beat => {
                    self.send(connection, true, Event::ToServer { machine, connection, ask: None });
                }
                Output::Ask(ask) => {
                    self.send(connection, true, Event::ToServer { machine, connection, ask: Some(ask) });
                }
                Output::Granted { id, token, until } => self.on_granted(machine, id, token, until),
                Output::Renewed { id, until } => self.machines[index(machine)].on_renewed(id, until),
                Output::Lost(id) => {
                    self.losses += 1;
                    self.machines[index(machine)].on_over(id);
                }
                Output::Unavailable(id) | Output::Disconnected(id, _) => {
                    self.machines[index(machine)].on_over(id);
                }
                Output::Over(id) => self.machines[index(machine)].on_nothing_kept(id),
            }
        }
        let it = &self.machines[index(machine)];
        if let Some(at) = it.leases.next_deadline() {
            // It takes some time to wake up.
            let at = it.time_of(at).max(self.time) + u64::from(self.random.number(0, 4));
            self.at(at, Event::Wake { machine });
        }
    }

    fn on_granted(&mut self, machine: u64, id: LeaseId, token: u64, until: u64) {
        self.grants += 1;
        let Some((name, otherwise)) = self.machines[index(machine)].on_granted(id, until) else {
            panic!("nobody has asked for {id:?}");
        };
        for (place, other) in self.machines.iter().enumerate() {
            if place == index(machine) || !other.uses(&name, self.time) {
                continue;
            }
            assert!(
                otherwise == Otherwise::Steal || self.has_steals,
                "machine {place} still uses what {machine} has got at {}",
                self.time
            );
        }
        if !self.has_steals {
            let last = self.tokens.insert(name, token).unwrap_or_default();
            assert!(token > last, "tokens rise: {token} after {last}");
        }
    }

    fn chaos(&mut self) {
        let is_quiet = self.time > STORM;
        let machine = u64::from(self.random.number(0, u32::try_from(MACHINES - 1).unwrap()));
        match self.random.below(if is_quiet { 6 } else { 100 }) {
            0..=2 | 6..=40 => self.want(machine, is_quiet),
            3..=5 | 41..=70 => self.end(machine),
            71..=74 => {
                let it = &mut self.machines[index(machine)];
                it.paused_until = self.time + u64::from(self.random.number(1, 900));
            }
            75..=76 => self.machines[index(machine)] = Machine::new(&mut self.random),
            77..=80 => {
                let connection = self.machines[index(machine)].connection;
                self.soon(Event::Hangup { machine, connection });
            }
            81..=83 => self.server.paused_until = self.time + u64::from(self.random.number(1, 1500)),
            84..=85 if self.server.is_up => {
                self.server.is_up = false;
                let how = [Back::Whole, Back::Older, Back::Empty][self.random.below(3)];
                let how = if self.sets_clock { Back::Whole } else { how };
                let at = self.time + u64::from(self.random.number(1, 800));
                self.at(at, Event::BackUp(how));
                for machine in 0..MACHINES {
                    let connection = self.machines[index(machine)].connection;
                    self.soon(Event::Hangup { machine, connection });
                }
            }
            86..=92 => self.server.replicate(),
            93 if self.sets_clock => {
                self.server.set_back += u64::from(self.random.number(1, 4_000_000));
            }
            _ => {}
        }
        self.at(self.time, Event::Wake { machine });
        // At the end, only waiting requests keep the simulation running.
        if self.time < STORM + QUIET - 5_000 || self.machines.iter().any(|it| !it.waiting().is_empty()) {
            let at = self.time + u64::from(self.random.number(1, 60));
            self.at(at, Event::Chaos);
        }
    }

    fn want(&mut self, machine: u64, is_quiet: bool) {
        let name = NAMES[self.random.below(NAMES.len())];
        let otherwise = match self.random.below(10) {
            0 | 1 => Otherwise::GiveUp,
            2 if self.has_steals => Otherwise::Steal,
            _ => Otherwise::Wait,
        };
        let it = &mut self.machines[index(machine)];
        let is_over = self.time > STORM + QUIET - 8_000;
        if it.paused_until > self.time || it.has(name) || (is_quiet && is_over) {
            return;
        }
        let id = LeaseId(self.next_lease);
        self.next_lease += 1;
        let want = it.want(id, name, otherwise);
        let mut out = Vec::new();
        let now = it.now(self.time);
        it.leases.input(Input::Want(id, want), now, &mut out);
        self.carry_out(machine, out);
    }

    fn end(&mut self, machine: u64) {
        let it = &mut self.machines[index(machine)];
        if it.paused_until > self.time {
            return;
        }
        // Losses that are due are reported first: a request ends once.
        let mut out = Vec::new();
        let now = it.now(self.time);
        it.leases.input(Input::Tick, now, &mut out);
        self.carry_out(machine, out);
        let random = &mut self.random;
        let it = &mut self.machines[index(machine)];
        // Usually a holder ends, and sometimes a waiting request.
        let ends_waiting = random.one_in(5) && self.time < STORM;
        let Some(id) = it.pick(random, ends_waiting) else { return };
        it.on_over(id);
        let mut out = Vec::new();
        it.leases.input(Input::End(id), now, &mut out);
        self.carry_out(machine, out);
    }
}

fn index(machine: u64) -> usize {
    usize::try_from(machine).unwrap()
}

#[test]
fn two_machines_never_use_one_lease() {
    let seeds = seeds(SEEDS);
    let mut losses = 0;
    for seed in seeds.each() {
        let mut world = World::new(seed.number);
        world.run();
        losses += world.losses;
    }
    assert!(losses > 0 || seeds.are_given(), "leases are lost as well");
}
