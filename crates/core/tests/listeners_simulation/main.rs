//! Simulates the registry of listeners in situations that no machine would produce on demand.
//!
//! Workers start, send listen requests, listen, close, leave and die in any order, some of them in violation
//! of the protocol; sockets open late or not at all; the app is told of a death at once or much later. A
//! simulated primary carries out the outputs and compares them with a model of its own.

mod chance;
mod world;

use std::time::Duration;

use rcluster_core::control::listeners::{Input, LINGER, Opened};
use rcluster_core::frames::{FromWorker, Kind};
use rcluster_core::ids::{ListenerId, WorkerId};
use rcluster_testing::seeds;
use serde_json::{Value, json};
use world::{Vacant, Worker, World, clash, opened};

const SEEDS: u64 = 200;
const EADDRINUSE: i32 = -98;
const EACCES: i32 = -13;

#[test]
fn nothing_goes_wrong_in_any_order() {
    for seed in seeds(SEEDS).each() {
        simulate(seed.number);
    }
}

fn simulate(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..300 {
        world.something_happens();
    }
    world.everything_ends();
}

impl World {
    fn something_happens(&mut self) {
        match self.chance.below(100) {
            0..10 => self.start(),
            10..45 => self.listen(),
            45..55 => self.answer(),
            55..63 => self.say(|worker, listener| Input::Close { worker, listener }),
            63..73 => self.say(|worker, listener| Input::Listening { worker, listener }),
            73..77 => self.leave(false),
            77..79 => self.leave(true),
            79..85 => self.die(),
            85..90 => self.report_exit(),
            90..92 => self.expect(!self.expecting),
            _ => self.pass_time(),
        }
    }

    fn everything_ends(&mut self) {
        self.expect(false);
        while self.sockets.values().any(|socket| socket.opening) {
            self.answer();
        }
        let unanswered = |worker: &&Worker| worker.takes_part() && !worker.asked.is_empty();
        assert_eq!(
            self.workers.values().filter(unanswered).count(),
            0,
            "a listen request was never answered"
        );
        for worker in self.workers.keys().copied().collect::<Vec<_>>() {
            if !self.workers[&worker].dead {
                self.end(worker);
            }
            self.told(worker);
        }
        // Listeners whose workers were replaced also linger when no worker is left.
        self.now += LINGER;
        self.input(Input::Tick);
        assert!(self.listeners.is_empty(), "{:?}", self.listeners);
        assert!(self.sockets.is_empty() && self.dispatched.is_empty() && self.names.is_empty());
    }

    /// A worker that was started at some time, or one that never was.
    fn any_worker(&mut self) -> WorkerId {
        let known = usize::try_from(self.next_worker).unwrap();
        let first = known.saturating_sub(8);
        WorkerId(u32::try_from(first + self.chance.below(known + 1 - first)).unwrap())
    }

    fn known_worker(&mut self) -> Option<WorkerId> {
        let known: Vec<_> = self.workers.keys().copied().collect();
        (!known.is_empty()).then(|| self.chance.pick(&known))
    }

    fn start(&mut self) {
        let worker = WorkerId(self.next_worker);
        self.next_worker += 1;
        self.workers.insert(worker, Worker::default());
        self.input(Input::WorkerStarted { worker });
    }

    fn listen(&mut self) {
        let worker = self.any_worker();
        let seq = self.next_seq;
        self.next_seq += 1;
        let fields = self.listen_request();
        let mut frame = json!({ "act": "query", "seq": seq, "index": self.chance.below(3) });
        for (field, value) in fields.as_object().unwrap() {
            frame[field] = value.clone();
        }
        let request = match FromWorker::parse(frame.to_string().as_bytes()) {
            Ok(FromWorker::Listen(request)) => *request,
            other => panic!("{frame} is read as {other:?}"),
        };
        let index = (request.port == Some(0)).then_some(request.index);
        let words =
            format!("{:?} {index:?}", (&request.address, request.port, request.address_type, request.fd));
        let named = self.names.get(&words).copied();
        if let Some(asking) = self.workers.get_mut(&worker).filter(|asking| asking.takes_part()) {
            asking.asked.insert(seq, words.clone());
            // It joins the listener of that name, unless it is a member already.
            let joins = named.filter(|listener| {
                !asking.member.contains(listener) && !self.sockets[listener].waiting.contains(&worker)
            });
            if let Some(socket) = joins.and_then(|listener| self.sockets.get_mut(&listener)) {
                if socket.opening {
                    socket.waiting.insert(worker);
                } else {
                    socket.vacant = None;
                }
            }
            let out = self.input_with(Input::Listen { worker, request }, Some((worker, &words)));
            assert_eq!(joins.is_some(), !out.opened && !out.refused, "{frame} of {worker}: {named:?}");
        } else {
            let out = self.input(Input::Listen { worker, request });
            assert!(!out.opened && !out.refused && !out.welcomed, "{worker} is not there and was heard");
        }
    }

    fn listen_request(&mut self) -> Value {
        let port = self.chance.pick(&[0, 0, 1, 1, 2, 3]);
        let requests = [
            json!({ "port": port, "addressType": 4, "data": self.chance.below(9) }),
            json!({ "port": port, "addressType": 4, "address": "127.0.0.1", "backlog": 5 }),
            json!({ "port": port, "addressType": 6, "address": "::1", "flags": 1 }),
            json!({ "port": -1, "addressType": -1, "address": format!("/run/{port}") }),
            json!({ "port": port, "addressType": "udp4", "address": "0.0.0.0", "fd": -1, "flags": 0 }),
            json!({ "addressType": "udp4", "address": "0.0.0.0", "fd": -1 }),
            json!({ "fd": port + 3 }),
            json!({ "port": 65_536 + port, "addressType": 4 }),
            json!({ "port": port, "addressType": -1 }),
            json!({ "fd": -1 }),
        ];
        self.chance.pick(&requests)
    }

    /// The system answers for a socket that is being opened.
    fn answer(&mut self) {
        let opening: Vec<_> =
            self.sockets.iter().filter(|(_, socket)| socket.opening).map(|(&listener, _)| listener).collect();
        if opening.is_empty() {
            let listener = ListenerId(u32::try_from(self.chance.below(50)).unwrap());
            let result = Ok(Opened { kind: Kind::Tcp, sockname: None });
            let out = self.input(Input::Opened { listener, result });
            assert!(!out.welcomed && !out.refused);
            return;
        }
        let listener = self.chance.pick(&opening);
        let address = &self.sockets[&listener].spec.address;
        let taken = self.sockets.values().any(|other| !other.opening && clash(&other.spec.address, address));
        let result = if taken && !self.chance.percent(10) {
            Err(EADDRINUSE)
        } else if self.chance.percent(10) {
            Err(EACCES)
        } else {
            Ok(opened(address, listener))
        };
        let socket = self.sockets.get_mut(&listener).unwrap();
        socket.opening = false;
        if result.is_err() {
            self.forget(listener);
        } else if !socket.waiting.is_empty() {
            self.names.insert(socket.words.clone(), listener);
        }
        self.input(Input::Opened { listener, result });
    }

    /// A worker sends a message about a listener: usually one of its own, sometimes any.
    fn say(&mut self, what: impl Fn(WorkerId, ListenerId) -> Input) {
        let worker = self.any_worker();
        let own: Vec<_> =
            self.workers.get(&worker).map_or_else(Vec::new, |known| known.member.iter().copied().collect());
        let listener = if own.is_empty() || self.chance.percent(10) {
            ListenerId(u32::try_from(self.chance.below(200)).unwrap())
        } else {
            self.chance.pick(&own)
        };
        let input = what(worker, listener);
        if own.contains(&listener) {
            let known = self.workers.get_mut(&worker).unwrap();
            if matches!(input, Input::Listening { .. }) {
                known.up.get_or_insert(self.steps + 1);
                known.serves.insert(listener);
            } else {
                known.serves.remove(&listener);
                assert!(known.member.remove(&listener));
            }
        }
        self.input(input);
    }

    fn leave(&mut self, replaced: bool) {
        let worker = self.any_worker();
        if let Some(known) = self.workers.get_mut(&worker) {
            known.left = true;
            let member = std::mem::take(&mut known.member);
            for (listener, socket) in &mut self.sockets {
                socket.waiting.remove(&worker);
                let others = self.workers.values().any(|other| other.member.contains(listener));
                if self.expecting || replaced {
                    if member.contains(listener) && !others {
                        let (told, since) = (Some(self.now), self.steps + 1);
                        socket.vacant = Some(Vacant { of: worker, told, since, replaced });
                    }
                } else if socket.vacant.is_some_and(|vacant| vacant.of == worker) {
                    socket.vacant = None;
                }
            }
        }
        self.input(if replaced { Input::WorkerReplaced { worker } } else { Input::WorkerLeaving { worker } });
    }

    fn expect(&mut self, expecting: bool) {
        if std::mem::replace(&mut self.expecting, expecting) && !expecting {
            for told in self.sockets.values_mut().filter_map(|socket| socket.vacant.as_mut()?.told.as_mut()) {
                *told = self.now;
            }
        }
        self.input(Input::Expecting(expecting));
    }

    fn die(&mut self) {
        if let Some(worker) = self.known_worker().filter(|worker| !self.workers[worker].dead) {
            self.end(worker);
        }
    }

    fn end(&mut self, worker: WorkerId) {
        let known = self.workers.get_mut(&worker).unwrap();
        known.dead = true;
        let member = std::mem::take(&mut known.member);
        for (listener, socket) in &mut self.sockets {
            socket.waiting.remove(&worker);
            let others = self.workers.values().any(|other| other.member.contains(listener));
            if member.contains(listener) && !others {
                let since = self.steps + 1;
                socket.vacant = Some(Vacant { of: worker, told: None, since, replaced: false });
            }
        }
        self.input(Input::WorkerDied { worker });
    }

    fn report_exit(&mut self) {
        match self.known_worker() {
            Some(worker) if self.workers[&worker].dead => self.told(worker),
            // In violation of the protocol, and without effect.
            Some(worker) => drop(self.input(Input::ExitReported { worker })),
            None => {}
        }
    }

    fn told(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
        for socket in self.sockets.values_mut() {
            if let Some(vacant) = &mut socket.vacant
                && vacant.of == worker
            {
                vacant.told = Some(self.now);
            }
        }
        self.input(Input::ExitReported { worker });
    }

    fn pass_time(&mut self) {
        self.now = match self.listeners.next_deadline() {
            Some(deadline) if self.chance.percent(50) => deadline.max(self.now),
            _ => self.now + Duration::from_millis(self.chance.next() % 4000),
        };
        self.input(Input::Tick);
    }
}
