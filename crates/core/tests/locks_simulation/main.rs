//! Simulates processes that request, release, abort, steal, settle and die at random, beside a model that is
//! too simple to be wrong: a list of requests for each name.

use std::collections::{BTreeMap, BTreeSet};

use rcluster_core::locks::{
    ClientId, Event, Locks, MAX_REQUESTS, Mode, Notice, Otherwise, Request, RequestId, Space,
};
use rcluster_core::random::Random;
use rcluster_testing::seeds;

const SEEDS: u64 = 150;
const STEPS: usize = 600;
const NAMES: [&[u8]; 3] = [b"one", b"two", b""];
const SPACES: [Space; 2] = [Space::Lock, Space::Flight];

type Key = (Space, usize);
type Who = (u64, u64);

#[derive(Clone, Copy, Debug)]
struct Entry {
    who: Who,
    mode: Mode,
    held: bool,
}

/// All held and pending requests for each name, in the order of the requests.
#[derive(Default)]
struct Model {
    queues: BTreeMap<Key, Vec<Entry>>,
    clients: BTreeSet<u64>,
    /// The expected messages, without the tokens.
    expected: Vec<(Who, char)>,
    last_token: u64,
}

impl Model {
    fn held(queue: &[Entry]) -> impl Iterator<Item = &Entry> {
        queue.iter().filter(|entry| entry.held)
    }

    fn grant(&mut self, key: Key) {
        let queue = self.queues.entry(key).or_default();
        for at in 0..queue.len() {
            if queue[at].held {
                continue;
            }
            let alone = Self::held(queue).next().is_none();
            let shares =
                queue[at].mode == Mode::Shared && Self::held(queue).all(|it| it.mode == Mode::Shared);
            if !alone && !shares {
                break;
            }
            queue[at].held = true;
            self.expected.push((queue[at].who, 'g'));
        }
    }

    fn request(&mut self, key: Key, who: Who, mode: Mode, otherwise: Otherwise) {
        let queue = self.queues.entry(key).or_default();
        let free = queue.iter().all(|it| it.held && it.mode == Mode::Shared && mode == Mode::Shared);
        match otherwise {
            Otherwise::GiveUp if !free => return self.expected.push((who, 'u')),
            Otherwise::Steal => {
                self.expected.extend(Self::held(queue).map(|it| (it.who, 's')));
                queue.retain(|it| !it.held);
                queue.push(Entry { who, mode, held: true });
                return self.expected.push((who, 'g'));
            }
            Otherwise::GiveUp | Otherwise::Wait => queue.push(Entry { who, mode, held: false }),
        }
        self.grant(key);
    }

    fn find(&self, who: Who) -> Option<(Key, Entry)> {
        let all = self.queues.iter().flat_map(|(key, queue)| queue.iter().map(|it| (*key, *it)));
        all.into_iter().find(|(_, it)| it.who == who)
    }

    fn end(&mut self, who: Who) {
        if let Some((key, _)) = self.find(who) {
            self.queues.entry(key).or_default().retain(|it| it.who != who);
            self.grant(key);
        }
    }

    fn settle(&mut self, who: Who) {
        let Some((key, _)) = self.find(who) else { return };
        let queue = self.queues.entry(key).or_default();
        self.expected.extend(queue.iter().filter(|it| !it.held).map(|it| (it.who, 'f')));
        queue.retain(|it| it.held);
        self.end(who);
    }

    fn leave(&mut self, client: u64) {
        self.clients.remove(&client);
        let mut keys: Vec<(u64, Key)> = Vec::new();
        for (key, queue) in &mut self.queues {
            let gone = queue.iter().filter(|it| it.who.0 == client);
            keys.extend(gone.map(|it| (it.who.1, *key)));
            queue.retain(|it| it.who.0 != client);
        }
        // In the order of its requests.
        keys.sort_by_key(|(id, _)| *id);
        for (_, key) in keys {
            self.grant(key);
        }
    }

    /// Compares the messages with the expected ones, and checks the invariants.
    fn check(&mut self, locks: &mut Locks) {
        let mut told = Vec::new();
        for Event { client, request, notice } in locks.take_events() {
            let letter = match notice {
                Notice::Granted { token } => {
                    assert!(token > self.last_token, "tokens rise strictly");
                    self.last_token = token;
                    'g'
                }
                Notice::Unavailable => 'u',
                Notice::Stolen => 's',
                Notice::Settled(_) => 'f',
                Notice::TooMany => panic!("there are not so many"),
            };
            assert!(self.clients.contains(&client.0), "the dead are told nothing");
            told.push(((client.0, request.0), letter));
        }
        assert_eq!(told, std::mem::take(&mut self.expected));
        let mut listed = 0;
        for space in SPACES {
            let all = locks.snapshot(space);
            listed += all.len();
            assert!(all.iter().all(|it| self.clients.contains(&it.client.0)), "the dead hold nothing");
            for name in NAMES {
                let held = all.iter().filter(|it| *it.name == *name && it.token.is_some());
                let (exclusive, shared): (Vec<_>, Vec<_>) = held.partition(|it| it.mode == Mode::Exclusive);
                assert!(exclusive.len() <= 1 && (exclusive.is_empty() || shared.is_empty()), "held by one");
            }
        }
        let model: usize = self.queues.values().map(Vec::len).sum();
        assert_eq!(listed, model);
        assert!(model < MAX_REQUESTS);
    }
}

#[test]
fn locks_match_their_model() {
    let seeds = seeds(SEEDS);
    let mut grants = 0;
    for seed in seeds.each() {
        let first_token = seed.number;
        let mut random = Random::new(seed.number);
        let mut locks = Locks::new(first_token);
        let mut model = Model { last_token: first_token, ..Model::default() };
        let (mut next_client, mut next_id) = (0, 0);
        for _ in 0..STEPS {
            let clients: Vec<u64> = model.clients.iter().copied().collect();
            let known: Vec<Who> = model.queues.values().flatten().map(|it| it.who).collect();
            match random.below(20) {
                0 => {
                    locks.join(ClientId(next_client));
                    model.clients.insert(next_client);
                    next_client += 1;
                }
                1 if clients.len() > 1 => {
                    let client = random.pick(&clients).unwrap();
                    locks.leave(ClientId(client));
                    model.leave(client);
                }
                2..=6 => {
                    // Sometimes with the number of another client's request, which has no effect.
                    let (Some((client, id)), Some(other)) = (random.pick(&known), random.pick(&clients))
                    else {
                        continue;
                    };
                    let client = if random.one_in(4) { other } else { client };
                    locks.end(ClientId(client), RequestId(id));
                    model.end((client, id));
                }
                7 => {
                    let Some(who) = random.pick(&known) else { continue };
                    let (key, entry) = model.find(who).unwrap();
                    let settled = locks.settle(ClientId(who.0), RequestId(who.1), b"outcome");
                    let may_settle = key.0 == Space::Flight && entry.held;
                    assert_eq!(settled.is_ok(), may_settle);
                    if may_settle {
                        model.settle(who);
                    }
                }
                _ => {
                    let Some(client) = random.pick(&clients) else { continue };
                    let name = random.below(NAMES.len());
                    let space = random.pick(&SPACES).unwrap();
                    let otherwise = random
                        .pick(&[Otherwise::Wait, Otherwise::Wait, Otherwise::GiveUp, Otherwise::Steal])
                        .unwrap();
                    let shares = otherwise != Otherwise::Steal && random.one_in(2);
                    let mode = if shares { Mode::Shared } else { Mode::Exclusive };
                    let what = Request { space, name: NAMES[name], mode, otherwise };
                    locks.request(ClientId(client), RequestId(next_id), &what).unwrap();
                    model.request((space, name), (client, next_id), mode, otherwise);
                    next_id += 1;
                }
            }
            model.check(&mut locks);
        }
        grants += model.last_token - first_token;
    }
    assert!(grants > SEEDS * 100 || seeds.are_given(), "{grants} grants");
}
