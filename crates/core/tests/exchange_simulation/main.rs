//! Simulates processes that post, call, answer, cancel, flood, do not read and die at random, with links that
//! carry only part of what is waiting. The invariants: each request has exactly one outcome for each process
//! that it was for, unless the requester is dead; posted messages arrive in order and at most once, and lost
//! ones are counted; memory is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use rcluster_core::exchange::frame::{Assembler, Frame, Kind, Status};
use rcluster_core::exchange::roster::Roster;
use rcluster_core::exchange::wire::Ask;
use rcluster_core::exchange::{
    CallId, ClientId, Exchange, MAX_CALLS, MAX_QUEUED, Process, RequestId, Scope, Target,
};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::random::Random;
use rcluster_testing::seeds;

const SEEDS: u64 = 12;
const STEPS: usize = 800;
const CHANNELS: [&[u8]; 2] = [b"one", b"two"];
const NAMES: [&[u8]; 2] = [b"sum", b"time"];

/// The state of a process that obeys the protocol.
#[derive(Default)]
struct Client {
    worker: u32,
    assembler: Assembler,
    /// It reads nothing.
    is_blocked: bool,
    /// Its requests without a final outcome, and the processes that have answered.
    open: BTreeMap<u64, BTreeSet<u32>>,
    next_id: u64,
    /// Calls that it must answer.
    to_answer: Vec<u64>,
    /// The last message received from each sender, by channel.
    heard: BTreeMap<(u64, usize), u64>,
    received: u64,
    lagged: u64,
    /// How many messages were posted to its channels.
    posted: u64,
    subscribed: BTreeSet<usize>,
}

struct World {
    exchange: Exchange,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    next_worker: u32,
    next_post: u64,
    outcomes: BTreeMap<Status, u64>,
}

impl World {
    fn new() -> Self {
        Self {
            exchange: Exchange::new(Roster::new()),
            clients: BTreeMap::new(),
            next_client: 1,
            next_worker: 1,
            next_post: 1,
            outcomes: BTreeMap::new(),
        }
    }

    fn ask(&mut self, client: u64, ask: &Ask<'_>) {
        let leader = self.clients.values().map(|it| it.worker).find(|worker| *worker > 0);
        let leaders = |_: Scope, _: &[u8]| leader.map(|worker| Process::Worker(WorkerId(worker)));
        self.exchange.on_ask(ClientId(client), ask, &leaders, &|_, _| 0).expect("it keeps the rules");
    }

    fn start(&mut self, random: &mut Random) {
        let worker = self.next_worker;
        self.next_worker += 1;
        let slot = (!random.one_in(6)).then(|| Slot(random.number(0, 4)));
        self.exchange.roster().on_started(WorkerId(worker), slot);
        // A process may have several links, or none.
        for _ in 0..random.below(3) {
            self.join(worker);
        }
    }

    fn join(&mut self, worker: u32) {
        let client = self.next_client;
        self.next_client += 1;
        let process = if worker == 0 { Process::Primary } else { Process::Worker(WorkerId(worker)) };
        self.exchange.join(ClientId(client), process);
        self.clients.insert(client, Client { worker, next_id: 1, ..Client::default() });
    }

    fn die(&mut self, worker: u32) {
        self.exchange.roster().on_exit(WorkerId(worker));
        let its: Vec<u64> =
            self.clients.iter().filter(|(_, it)| it.worker == worker).map(|(id, _)| *id).collect();
        for client in its {
            self.exchange.leave(ClientId(client));
            self.clients.remove(&client);
        }
    }

    /// The system has no descriptors for sockets of pairs, so everything goes through the exchange.
    fn refuse_pairs(&mut self) {
        for introduction in self.exchange.take_introductions() {
            self.exchange.on_not_introduced(&introduction);
        }
    }

    /// A link carries up to this many bytes.
    fn carry(&mut self, id: u64, limit: usize) {
        let mut packet = Vec::new();
        self.exchange.peek(ClientId(id), limit, &mut packet);
        self.exchange.on_sent(ClientId(id), packet.len());
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.assembler.push(&packet);
        let mut assembler = std::mem::take(&mut client.assembler);
        while let Some(frame) = assembler.next_frame().expect("frames are whole") {
            client.on_frame(&frame, &mut self.outcomes);
        }
        client.assembler = assembler;
    }

    fn settle_all(&mut self) {
        let ids: Vec<u64> = self.clients.keys().copied().collect();
        for _ in 0..1000 {
            for id in &ids {
                while self.exchange.has_news(ClientId(*id)) {
                    self.carry(*id, 64 << 10);
                }
                let calls = self.clients.get_mut(id).map(|it| std::mem::take(&mut it.to_answer));
                for call in calls.unwrap_or_default() {
                    self.ask(
                        *id,
                        &Ask::Reply { call: CallId(call), status: Status::Value, data: b"at last" },
                    );
                }
            }
            if self.exchange.take_ready().is_empty() {
                return;
            }
        }
        panic!("it comes to rest");
    }
}

impl Client {
    fn on_frame(&mut self, frame: &Frame<'_>, outcomes: &mut BTreeMap<Status, u64>) {
        match frame.kind {
            Kind::Message => {
                // The data contain the number of the post; numbers rise across all senders.
                let number = u64::from_le_bytes(frame.data[..8].try_into().unwrap());
                let channel = CHANNELS.iter().position(|it| *it == frame.name).unwrap();
                let last = self.heard.insert((frame.number, channel), number);
                assert!(last < Some(number), "in the order of the sender, and once");
                self.received += 1;
            }
            Kind::ChannelLag => self.lagged += frame.number,
            Kind::Request => self.to_answer.push(frame.number),
            Kind::Outcome => {
                let answered = self.open.get_mut(&frame.number).expect("of a request that is open");
                assert!(answered.insert(frame.worker), "one outcome for each process");
                if frame.rest == 0 {
                    self.open.remove(&frame.number);
                }
                let status = [
                    Status::Value,
                    Status::Error,
                    Status::NoHandler,
                    Status::Gone,
                    Status::Busy,
                    Status::NoLeader,
                    Status::Limit,
                    Status::Lost,
                    Status::Cancelled,
                    Status::Nobody,
                    Status::Disconnected,
                ];
                *outcomes.entry(status[usize::from(frame.flag)]).or_default() += 1;
            }
            // Here no pair can be created: see `World::refuse_pairs`.
            Kind::Notice | Kind::Cancelled | Kind::HandlerLag | Kind::Room | Kind::Unpaired => {}
            kind => panic!("{kind:?} without pairs"),
        }
    }
}

fn run(seed: u64, outcomes: &mut BTreeMap<Status, u64>) -> (u64, u64) {
    let mut random = Random::new(seed);
    let mut world = World::new();
    world.join(0);
    for step_number in 0..STEPS {
        step(&mut world, &mut random);
        world.refuse_pairs();
        if step_number % 25 == 0 {
            world.exchange.check_invariants();
        }
        for id in world.clients.keys() {
            assert!(world.exchange.queued(ClientId(*id)) <= MAX_QUEUED, "memory is bounded");
            assert!(!world.exchange.is_flooded(ClientId(*id)), "it has kept the rules");
        }
    }
    world.clients.values_mut().for_each(|it| it.is_blocked = false);
    world.settle_all();
    world.exchange.check_invariants();
    let (mut received, mut lagged) = (0, 0);
    for client in world.clients.values() {
        assert!(client.open.is_empty(), "each request ends: {:?}", client.open);
        assert_eq!(client.received + client.lagged, client.posted, "what is not heard is counted");
        received += client.received;
        lagged += client.lagged;
    }
    for (status, count) in world.outcomes {
        *outcomes.entry(status).or_default() += count;
    }
    (received, lagged)
}

fn step(world: &mut World, random: &mut Random) {
    let ids: Vec<u64> = world.clients.keys().copied().collect();
    let Some(id) = random.pick(&ids) else { return world.join(0) };
    match random.below(30) {
        0 => world.start(random),
        1 if random.one_in(2) => {
            let workers: Vec<u32> = world.clients.values().map(|it| it.worker).filter(|it| *it > 0).collect();
            if let Some(worker) = random.pick(&workers) {
                world.die(worker);
            }
        }
        2 => {
            let blocked = random.one_in(3);
            world.clients.get_mut(&id).unwrap().is_blocked = blocked;
        }
        3 => world.ask(id, &Ask::Handle(random.pick(&NAMES).unwrap())),
        4 if random.one_in(4) => world.ask(id, &Ask::Unhandle(random.pick(&NAMES).unwrap())),
        5 => {
            let channel = random.below(CHANNELS.len());
            world.ask(id, &Ask::Subscribe(Scope::Machine, CHANNELS[channel]));
            world.clients.get_mut(&id).unwrap().subscribed.insert(channel);
        }
        6..=10 => {
            // Sometimes a flood.
            let size = if random.one_in(8) { 1 << 20 } else { random.below(300) };
            for _ in 0..if random.one_in(20) { 30 } else { 1 } {
                post(world, random, id, size);
            }
        }
        11..=17 => {
            let target = match random.below(7) {
                0 => Target::Any,
                1 => Target::All,
                2 => Target::Primary,
                3 => Target::Slot(Slot(random.number(0, 5))),
                4 => Target::Leader(Scope::Machine, b"cron"),
                _ => Target::Worker(WorkerId(random.number(0, world.next_worker))),
            };
            let client = world.clients.get_mut(&id).unwrap();
            assert!(client.open.len() < MAX_CALLS);
            let request = client.next_id;
            client.next_id += 1;
            client.open.insert(request, BTreeSet::new());
            let data = vec![0; if random.one_in(12) { 3 << 20 } else { 9 }];
            let name = random.pick(&NAMES).unwrap();
            world.ask(id, &Ask::Request { id: RequestId(request), target, name, data: &data });
        }
        18 => {
            let target = random.pick(&[Target::Any, Target::All, Target::Primary]).unwrap();
            world.ask(id, &Ask::Notify { target, name: NAMES[0], data: b"notice" });
        }
        19 => {
            let client = world.clients.get_mut(&id).unwrap();
            let open: Vec<u64> = client.open.keys().copied().collect();
            // A request that does not exist has no effect.
            let request = random.pick(&open).unwrap_or(999_999);
            world.ask(id, &Ask::Cancel { id: RequestId(request), tell: true });
        }
        20..=22 => {
            let client = world.clients.get_mut(&id).unwrap();
            // Sometimes a call of another process, or one that was answered before.
            let call = client.to_answer.pop().unwrap_or(random.bits() % 1000);
            let is_its_own = world.clients.values().all(|it| !it.to_answer.contains(&call));
            if is_its_own {
                let size = if random.one_in(10) { 3 << 20 } else { 5 };
                let status = if random.one_in(2) { Status::Value } else { Status::Error };
                world.ask(id, &Ask::Reply { call: CallId(call), status, data: &vec![1; size] });
            }
        }
        _ => {
            for id in ids {
                if !world.clients[&id].is_blocked {
                    let limit = 1 + random.below(1 << 16);
                    world.carry(id, limit);
                }
            }
        }
    }
}

fn post(world: &mut World, random: &mut Random, id: u64, size: usize) {
    let channel = random.below(CHANNELS.len());
    let number = world.next_post;
    world.next_post += 1;
    let mut data = number.to_le_bytes().to_vec();
    data.resize(8 + size, 0);
    let echo = random.one_in(2);
    for (other, client) in &mut world.clients {
        if client.subscribed.contains(&channel) && (echo || *other != id) {
            client.posted += 1;
        }
    }
    // The origin is the sender, so that whoever hears it knows.
    world.ask(
        id,
        &Ask::Post { scope: Scope::Machine, channel: CHANNELS[channel], origin: id, echo, data: &data },
    );
}

#[test]
fn every_request_ends_and_every_message_arrives_or_is_counted() {
    let (mut outcomes, mut received, mut lagged) = (BTreeMap::new(), 0, 0);
    let seeds = seeds(SEEDS);
    for seed in seeds.each() {
        let (heard, lost) = run(seed.number, &mut outcomes);
        received += heard;
        lagged += lost;
    }
    if seeds.are_given() {
        return;
    }
    let mut met = String::new();
    write!(met, "{outcomes:?}, {received} heard, {lagged} lost").unwrap();
    assert!(received > 500 && lagged > 50, "{met}");
    for status in
        [Status::Value, Status::Error, Status::NoHandler, Status::Gone, Status::Busy, Status::Cancelled]
    {
        assert!(outcomes.get(&status).is_some_and(|count| *count > 2), "{status:?} hardly happens: {met}");
    }
}
