//! Simulates processes that send each other messages directly and through the exchange, with small buffers:
//! they call, answer, cancel, notify, post, read late, die, close sockets of pairs and write garbage into
//! them, at random. The invariants: messages from one process to another arrive in the order in which they
//! were sent, by whichever way; each request has one outcome; the least busy process is known; and a process
//! that violates the protocol harms no other.

mod app;
mod turns;
mod wires;

use std::collections::{BTreeMap, BTreeSet};

use app::{App, numbered};
use rcluster_core::exchange::declared::DECLARED;
use rcluster_core::exchange::endpoint::Transport;
use rcluster_core::exchange::frame::Status;
use rcluster_core::exchange::roster::Roster;
use rcluster_core::exchange::wire::{Ask, decode, is_declaration};
use rcluster_core::exchange::{CallId, ClientId, Exchange, Process, RequestId, Scope, Target};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::random::Random;
use rcluster_testing::seeds;
use wires::Socket;

const SEEDS: u64 = 24;
const STEPS: usize = 2500;

#[derive(Default)]
struct Met {
    direct: u64,
    full: u64,
    outcomes: BTreeMap<u8, u64>,
}

struct World {
    exchange: Exchange,
    apps: BTreeMap<u64, App>,
    rogues: BTreeSet<u32>,
    next: u32,
    met: Met,
    /// Descriptors have run out.
    is_short: bool,
}

impl World {
    fn new() -> Self {
        Self {
            exchange: Exchange::new(Roster::new()),
            apps: BTreeMap::new(),
            rogues: BTreeSet::new(),
            next: 1,
            met: Met::default(),
            is_short: false,
        }
    }

    fn start(&mut self, is_rogue: bool) {
        let worker = self.next;
        self.next += 1;
        self.exchange.roster().on_started(WorkerId(worker), Some(Slot(worker)));
        self.exchange.join(ClientId(worker.into()), Process::Worker(WorkerId(worker)));
        let has_event_loop = worker.is_multiple_of(2);
        let mut app = App { worker, is_rogue, reads: true, has_event_loop, ..App::default() };
        app.send(&Ask::Handle(b"name"));
        app.send(&Ask::Subscribe(Scope::Machine, b"channel"));
        if is_rogue {
            self.rogues.insert(worker);
        }
        self.apps.insert(worker.into(), app);
    }

    /// The thread handles up to `count` requests of a process.
    fn serve(&mut self, id: u64, count: usize) {
        for _ in 0..count {
            let Some(app) = self.apps.get_mut(&id) else { break };
            let Some(words) = app.wires.ring.pop_front() else { break };
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let ask = decode(&bytes).expect("an endpoint makes sense");
            app.declared += usize::from(is_declaration(bytes[0]));
            let published = app.wires.published.get(&DECLARED).copied();
            assert!(app.declared <= published.unwrap_or(0), "a declaration is counted before it is read");
            let apps = &self.apps;
            let published = |ClientId(id), place: usize| {
                apps.get(&id).and_then(|app| app.wires.published.get(&place)).copied().unwrap_or(0)
            };
            let client = ClientId(id);
            self.exchange.on_ask(client, &ask, &|_, _| None, &published).expect("it keeps the rules");
        }
        let app = self.apps.get_mut(&id).expect("it is there");
        if app.wires.ring.is_empty() && std::mem::take(&mut app.wires.wants_room) {
            self.exchange.tell_room(ClientId(id));
        }
        self.deliver();
    }

    fn deliver(&mut self) {
        for introduction in self.exchange.take_introductions() {
            let fits = introduction.packets.iter().all(|(client, _)| {
                let app = &self.apps[&client.0];
                self.exchange.is_between_frames(*client) && !app.has_ended && app.wires.has_room()
            });
            if !fits || self.is_short {
                self.exchange.on_not_introduced(&introduction);
                continue;
            }
            for ((client, packet), socket) in introduction.packets.iter().zip(Socket::pair()) {
                self.apps.get_mut(&client.0).expect("it is there").wires.deliver(packet, Some(socket));
            }
        }
        let _ready = self.exchange.take_ready();
        let mut packet = Vec::new();
        for (id, app) in self.apps.iter_mut().filter(|(_, app)| !app.has_ended) {
            while app.wires.has_room() {
                self.exchange.peek(ClientId(*id), 2000, &mut packet);
                if packet.is_empty() {
                    break;
                }
                app.wires.deliver(&packet, None);
                self.exchange.on_sent(ClientId(*id), packet.len());
            }
        }
    }

    /// The exchange hears that a process has ended, after everything that it had sent.
    fn reap(&mut self, id: u64) {
        self.serve(id, usize::MAX);
        let Some(app) = self.apps.remove(&id) else { return };
        self.exchange.roster().on_exit(WorkerId(app.worker));
        self.exchange.leave(ClientId(id));
        self.count(app);
    }

    fn count(&mut self, app: App) {
        self.met.direct += app.wires.sent;
        self.met.full += app.wires.refused;
        for (flag, count) in app.answered {
            *self.met.outcomes.entry(flag).or_default() += count;
        }
    }

    fn step(&mut self, random: &mut Random) {
        let ids: Vec<u64> = self.apps.keys().copied().collect();
        let Some(id) = random.pick(&ids) else { return self.start(false) };
        // Usually a running process, and most often the same one.
        let others =
            [random.pick(&ids).unwrap(), ids[(ids.iter().position(|it| *it == id).unwrap() + 1) % ids.len()]];
        let other = if random.one_in(20) {
            u64::from(random.number(1, self.next))
        } else {
            random.pick(&others).unwrap()
        };
        let target = Target::Worker(WorkerId(u32::try_from(other).unwrap()));
        let app = self.apps.get_mut(&id).expect("it is there");
        if app.has_ended {
            // It is a while until the exchange hears of it.
            return if random.one_in(10) { self.reap(id) } else { self.serve(id, random.below(3)) };
        }
        match random.below(40) {
            0 if ids.len() < 5 => self.start(random.one_in(5)),
            1 if random.one_in(12) => app.end(),
            2 => app.reads = !random.one_in(4),
            3 => self.is_short = random.one_in(20),
            4..=10 => app.request(random, target),
            11 if random.one_in(4) => {
                let target = random_target(random);
                app.request(random, target);
            }
            12..=14 => {
                let data = app.data(random);
                app.send(&Ask::Notify { target, name: b"name", data: &data });
            }
            15 if random.one_in(4) => {
                let data = app.data(random);
                app.send(&Ask::Post {
                    scope: Scope::Machine,
                    channel: b"channel",
                    origin: 0,
                    echo: false,
                    data: &data,
                });
            }
            16 => {
                let open: Vec<u64> = app.open.iter().copied().collect();
                if let Some(request) = random.pick(&open) {
                    let tell = random.one_in(2);
                    let id = RequestId(request);
                    let told = app.endpoint.cancel(&mut app.wires, id, tell).expect("there is room");
                    if told.is_some() || !tell {
                        app.open.remove(&request);
                    }
                    if told.is_none() && !tell {
                        app.unwanted.insert(request);
                    }
                }
            }
            17..=21 => {
                if let Some(call) = app.to_answer.pop() {
                    let (status, data) = (random.pick(&[Status::Value, Status::Error]), app.data(random));
                    app.send(&Ask::Reply { call: CallId(call), status: status.unwrap(), data: &data });
                }
            }
            22 if app.is_rogue && random.one_in(8) => app.rampage(random),
            23..=31 => self.serve(id, random.below(12)),
            _ => {
                if app.reads {
                    app.read(random.below(12), &self.rogues);
                }
            }
        }
    }

    /// All processes read, answer and are served, until nothing happens any more.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut idle = true;
            for id in self.apps.keys().copied().collect::<Vec<_>>() {
                let app = self.apps.get_mut(&id).expect("it is there");
                if app.has_ended {
                    self.reap(id);
                    idle = false;
                    continue;
                }
                idle &= !app.read(usize::MAX, &self.rogues) && app.wires.ring.is_empty();
                while let Some(call) = app.to_answer.pop() {
                    idle = false;
                    app.last += 1;
                    let data = numbered(app.last, 0);
                    app.send(&Ask::Reply { call: CallId(call), status: Status::Value, data: &data });
                }
                self.serve(id, usize::MAX);
                idle &= !self.exchange.has_news(ClientId(id));
                let mut pairs = Vec::new();
                idle &=
                    !self.apps.get_mut(&id).expect("it is there").wires.poll(&mut pairs) && pairs.is_empty();
            }
            if idle {
                return;
            }
        }
        panic!("it comes to rest");
    }
}

fn random_target(random: &mut Random) -> Target<'static> {
    random.pick(&[Target::Any, Target::Slot(Slot(1)), Target::Slot(Slot(2)), Target::Primary]).unwrap()
}

fn run(seed: u64) -> Met {
    let mut random = Random::new(seed);
    let mut world = World::new();
    for _ in 0..3 {
        world.start(false);
    }
    for number in 0..STEPS {
        world.step(&mut random);
        if number % 20 == 0 {
            world.exchange.check_invariants();
            world.apps.values().for_each(|app| app.endpoint.check_invariants());
        }
    }
    world.settle();
    // A rogue may owe answers to others, but not beyond its end.
    world.apps.values_mut().filter(|app| app.is_rogue).for_each(App::end);
    world.settle();
    world.exchange.check_invariants();
    for app in world.apps.values() {
        assert!(app.open.is_empty(), "each request of {} ends: {:?}", app.worker, app.open);
        let mut published = app.wires.published.clone();
        assert_eq!(published.remove(&DECLARED).unwrap_or(0), app.declared, "all declarations were counted");
        assert!(published.values().all(|count| *count == 0), "nothing is under way");
    }
    for (_, app) in std::mem::take(&mut world.apps) {
        world.count(app);
    }
    world.met
}

#[test]
fn messages_arrive_in_order_on_all_paths_and_every_request_ends() {
    let mut met = Met::default();
    let seeds = seeds(SEEDS);
    for seed in seeds.each() {
        let its = run(seed.number);
        met.direct += its.direct;
        met.full += its.full;
        for (flag, count) in its.outcomes {
            *met.outcomes.entry(flag).or_default() += count;
        }
    }
    if seeds.are_given() {
        return;
    }
    let Met { direct, full, outcomes } = met;
    assert!(direct > 1000 && full > 20, "{direct} directly, {full} found no room: {outcomes:?}");
    for status in [Status::Value, Status::Error, Status::Gone, Status::NoHandler] {
        assert!(outcomes.get(&(status as u8)).is_some_and(|count| *count > 2), "{status:?}: {outcomes:?}");
    }
}
