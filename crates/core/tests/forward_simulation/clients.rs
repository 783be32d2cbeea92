//! Clients and workers that start, refuse, hang, leave and die.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rcluster_core::forward::{Activity, Config, ConnId, Forward, Input, Output, Reason, Refusal, Time};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::schedule::{Key, Policy};

use super::{Random, play};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Connecting(WorkerId),
    Open(WorkerId),
    HalfOpen(WorkerId),
}

struct World {
    random: Random,
    forward: Forward,
    now: Time,
    conns: BTreeMap<ConnId, State>,
    /// The workers that get connections.
    members: BTreeSet<WorkerId>,
    accepting: bool,
    last_conn: u64,
    last_worker: u32,
    served: usize,
    turned_away: usize,
}

/// No byte is ever moved.
struct Still;

impl Activity for Still {
    fn last_moved(&self, _: ConnId) -> Time {
        Time::ZERO
    }
}

impl World {
    fn tell(&mut self, input: Input) {
        let mut out = Vec::new();
        self.forward.handle(self.now, input, &Still, &mut out);
        for output in out {
            match output {
                Output::Connect { conn, worker } => {
                    assert!(self.members.contains(&worker), "{worker} gets nothing any more");
                    let before = self.conns.insert(conn, State::Connecting(worker));
                    assert_eq!(before, Some(State::Waiting), "{conn:?} waited for it");
                }
                Output::GiveUp { conn } => {
                    let before = self.conns.insert(conn, State::Waiting);
                    assert!(matches!(before, Some(State::Connecting(_))), "{conn:?}: {before:?}");
                }
                Output::Abort { conn, reason } => {
                    let before = self.conns.remove(&conn);
                    let open = matches!(before, Some(State::Open(_) | State::HalfOpen(_)));
                    assert_eq!(open, reason == Reason::Idle, "{conn:?}: {before:?}, {reason:?}");
                    self.turned_away += usize::from(!open);
                }
                Output::Pause => assert!(std::mem::replace(&mut self.accepting, false)),
                Output::Resume => assert!(!std::mem::replace(&mut self.accepting, true)),
            }
        }
        self.forward.check_invariants(self.now);
        assert_eq!(self.forward.connections(), self.conns.len());
        let waiting = self.conns.values().filter(|state| **state == State::Waiting).count();
        assert_eq!(self.forward.waiting(), waiting);
    }

    fn accept(&mut self) {
        if self.accepting {
            self.last_conn += 1;
            let conn = ConnId(self.last_conn);
            self.conns.insert(conn, State::Waiting);
            // Clients come back, and some have no address.
            let client = self.random.below(9);
            let key = (client > 0).then(|| Key::of(&client.to_be_bytes()));
            self.tell(Input::Accepted { conn, key });
        }
    }

    /// A worker accepts or refuses, or a connection ends.
    fn answer(&mut self, conn: ConnId, kind: usize) {
        match (self.conns[&conn], kind) {
            (State::Connecting(worker), 0..5) => {
                self.conns.insert(conn, State::Open(worker));
                self.served += 1;
                self.tell(Input::Connected { conn });
            }
            (State::Connecting(_) | State::Open(_), 5..8) => {
                self.conns.insert(conn, State::Waiting);
                let why = [Refusal::Absent, Refusal::Saturated, Refusal::Exhausted][kind - 5];
                self.tell(Input::Refused { conn, why });
            }
            (State::Open(worker), 8) => {
                self.conns.insert(conn, State::HalfOpen(worker));
                self.tell(Input::HalfClosed { conn });
            }
            (State::Waiting | State::Connecting(_), _) => {}
            (State::Open(_) | State::HalfOpen(_), _) => {
                self.conns.remove(&conn);
                self.tell(Input::Ended { conn });
            }
        }
    }

    fn any_conn(&mut self) -> Option<ConnId> {
        let count = self.conns.len();
        if count == 0 { None } else { self.conns.keys().nth(self.random.below(count)).copied() }
    }

    fn step(&mut self) {
        let worker = match self.members.len() {
            0 => None,
            count => self.members.iter().nth(self.random.below(count)).copied(),
        };
        match (self.random.below(40), worker) {
            (0..12, _) => self.accept(),
            (12..28, _) => {
                let kind = self.random.below(11);
                if let Some(conn) = self.any_conn() {
                    self.answer(conn, kind);
                }
            }
            (28..34, _) => {
                self.now += Duration::from_millis(self.random.below(300) as u64);
                self.tell(Input::Tick);
            }
            (34..36, _) if self.members.len() < 5 => {
                self.last_worker += 1;
                let worker = WorkerId(self.last_worker);
                self.members.insert(worker);
                self.tell(Input::WorkerAdded { worker, slot: Slot(worker.0) });
            }
            (36, Some(worker)) => {
                self.members.remove(&worker);
                self.tell(Input::WorkerLeaving { worker });
            }
            (37, Some(worker)) => {
                self.members.remove(&worker);
                self.tell(Input::WorkerExited { worker });
            }
            (38, _) if self.random.one_in(5) => self.tell(Input::Exhausted),
            _ => {}
        }
    }
}

#[test]
fn every_client_is_in_one_place_and_waits_for_something() {
    let (served, turned_away) = (Cell::new(0), Cell::new(0));
    let seeds = play(|seed| {
        let mut random = Random::new(seed);
        let config = Config {
            connect_timeout: Duration::from_secs(2),
            attempt_timeout: Duration::from_millis(500),
            idle_timeout: random.one_in(2).then(|| Duration::from_secs(1)),
            half_open_timeout: random.one_in(2).then(|| Duration::from_millis(700)),
            max_connections: random.one_in(2).then_some(7),
            waiting_limit: 1 + random.below(5),
            ..Config::default()
        };
        let policy = [Policy::RoundRobin, Policy::LeastConnections, Policy::Sticky][random.below(3)];
        let mut world = World {
            random,
            forward: Forward::new(config, policy),
            now: Time::ZERO,
            conns: BTreeMap::new(),
            members: BTreeSet::new(),
            accepting: false,
            last_conn: 0,
            last_worker: 0,
            served: 0,
            turned_away: 0,
        };
        for _ in 0..300 {
            world.step();
        }
        // With a worker that accepts all clients, no client is left waiting.
        world.last_worker += 1;
        let worker = WorkerId(world.last_worker);
        world.members.insert(worker);
        world.tell(Input::WorkerAdded { worker, slot: Slot(worker.0) });
        for _ in 0..1_000 {
            let asked = |state: &State| matches!(state, State::Connecting(_));
            if let Some(conn) = world.conns.iter().find(|(_, state)| asked(state)).map(|(conn, _)| *conn) {
                world.answer(conn, 0);
            } else if world.forward.waiting() > 0 {
                let deadline = world.forward.next_deadline().expect("who waits is looked after");
                world.now = world.now.max(deadline);
                world.tell(Input::Tick);
            } else {
                break;
            }
        }
        assert_eq!(world.forward.waiting(), 0, "{:?} at {:?}", world.forward, world.now);
        served.set(served.get() + world.served);
        turned_away.set(turned_away.get() + world.turned_away);
    });
    if !seeds.are_given() {
        assert!(
            served.get() > 1_000 && turned_away.get() > 10,
            "a world in which nothing happens proves nothing"
        );
    }
}
