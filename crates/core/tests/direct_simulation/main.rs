//! Simulates processes that send each other messages directly and through the exchange, with small buffers:
//! they call, answer, cancel, notify, post, read late, die, close sockets of pairs and write garbage into
//! them, at random. The invariants: messages from one process to another arrive in the order in which they
//! were sent, by whichever way; each request has one outcome; the least busy process is known; and a process
//! that violates the protocol harms no other.

mod turns;
mod wires;

use std::collections::{BTreeMap, BTreeSet};

use rcluster_core::exchange::declared::DECLARED;
use rcluster_core::exchange::endpoint::{Endpoint, Incoming, Transport};
use rcluster_core::exchange::frame::{Frame, Kind, Status};
use rcluster_core::exchange::roster::Roster;
use rcluster_core::exchange::wire::{Ask, decode, is_declaration};
use rcluster_core::exchange::{CallId, ClientId, Exchange, Process, RequestId, Scope, Target};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::random::Random;
use rcluster_testing::seeds;
use wires::{Socket, Wires};

const SEEDS: u64 = 24;
const STEPS: usize = 2500;

#[derive(Default)]
struct App {
    worker: u32,
    endpoint: Endpoint,
    wires: Wires,
    /// The number of its last message.
    last: u64,
    /// The last message received from each worker.
    heard: BTreeMap<u32, u64>,
    next_id: u64,
    open: BTreeSet<u64>,
    unwanted: BTreeSet<u64>,
    to_answer: Vec<u64>,
    answered: BTreeMap<u8, u64>,
    /// How many of its declarations were read.
    declared: usize,
    /// A process that violates the protocol. Its partners may receive anything from it.
    is_rogue: bool,
    reads: bool,
    /// It is told where there is something to read.
    has_event_loop: bool,
}

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

/// The number of a message, padded to its length.
fn numbered(number: u64, length: usize) -> Vec<u8> {
    let mut data = number.to_le_bytes().to_vec();
    data.resize(8 + length, 7);
    data
}

impl App {
    fn data(&mut self, random: &mut Random) -> Vec<u8> {
        self.last += 1;
        // Some are too long for a packet of a pair.
        numbered(self.last, if random.one_in(60) { 20 << 10 } else { random.below(100) })
    }

    fn send(&mut self, ask: &Ask<'_>) {
        self.endpoint.send(&mut self.wires, ask).expect("there is room");
    }

    fn request(&mut self, random: &mut Random, target: Target<'_>) {
        self.next_id += 1;
        self.open.insert(self.next_id);
        let (id, data) = (RequestId(self.next_id), self.data(random));
        self.send(&Ask::Request { id, target, name: b"name", data: &data });
    }

    /// Reads up to `count` frames. False if there are no more.
    fn read(&mut self, count: usize, rogues: &BTreeSet<u32>) -> bool {
        if self.has_event_loop {
            let mut pairs = Vec::new();
            let link = self.wires.poll(&mut pairs);
            // In any order: that of the loop is none.
            pairs.iter().rev().for_each(|pair| self.endpoint.on_ready(Some(*pair)));
            if link {
                self.endpoint.on_ready(None);
            } else if pairs.is_empty() {
                return false;
            }
        }
        self.endpoint.begin_turn();
        for _ in 0..count {
            let next = self.endpoint.next(&mut self.wires, |frame: Frame<'_>| {
                let number = frame.data.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
                (frame.kind, frame.flag, frame.worker, frame.number, number)
            });
            match next.expect("the exchange makes sense") {
                Incoming::Nothing => return false,
                Incoming::End => panic!("nobody ends the link"),
                Incoming::Frame(frame) => self.on_frame(frame, rogues),
            }
        }
        true
    }

    fn on_frame(&mut self, told: (Kind, u8, u32, u64, Option<u64>), rogues: &BTreeSet<u32>) {
        let (kind, flag, worker, number, message) = told;
        if let Some(message) = message.filter(|_| !rogues.contains(&worker)) {
            let last = self.heard.insert(worker, message);
            assert!(last < Some(message), "{} hears {worker}: {message} after {last:?}", self.worker);
        }
        match kind {
            Kind::Request => self.to_answer.push(number),
            Kind::Cancelled => self.to_answer.retain(|call| *call != number),
            Kind::Outcome => {
                // The outcome may have been under way when the request was cancelled.
                let is_one = self.open.remove(&number) || self.unwanted.remove(&number);
                assert!(is_one, "one outcome for each request");
                *self.answered.entry(flag).or_default() += 1;
            }
            Kind::Message | Kind::Notice | Kind::ChannelLag | Kind::HandlerLag => {}
            kind => panic!("{kind:?} is not for the process"),
        }
    }
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
                self.exchange.is_between_frames(*client) && self.apps[&client.0].wires.has_room()
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
        for (id, app) in &mut self.apps {
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

    fn die(&mut self, id: u64) {
        // Everything that it had sent is processed.
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
        match random.below(40) {
            0 if ids.len() < 5 => self.start(random.one_in(5)),
            1 if random.one_in(12) => self.die(id),
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
            22 if app.is_rogue && random.one_in(8) => rampage(app, random),
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

/// Violates the protocol.
fn rampage(app: &mut App, random: &mut Random) {
    let pairs: Vec<_> = app.wires.sockets.keys().copied().collect();
    let Some(pair) = random.pick(&pairs) else { return };
    if random.one_in(4) {
        app.wires.close(pair);
        return;
    }
    let mut packet: Vec<u8> = (0..random.below(60)).map(|_| random.bits().to_le_bytes()[0]).collect();
    if packet.len() > 24 && random.one_in(2) {
        // A complete frame of any kind, with any number.
        let length = u32::try_from(packet.len() - 4).unwrap();
        packet[..4].copy_from_slice(&length.to_le_bytes());
        packet[4] = random.bits().to_le_bytes()[0] % 16;
        packet[6..8].copy_from_slice(&[0, 0]);
        packet[16..24].copy_from_slice(&(random.bits() % 50).to_le_bytes());
    }
    let _sent_or_full = app.wires.send_to(pair, &packet);
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
    world.exchange.check_invariants();
    for app in world.apps.values().filter(|app| !app.is_rogue) {
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
