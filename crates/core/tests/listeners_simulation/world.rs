//! The simulated primary: carries out the outputs of the registry, and compares them with a model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rcluster_core::control::listeners::{
    Input, LINGER, ListenAddress, ListenerSpec, Listeners, Opened, Output,
};
use rcluster_core::frames::{Family, Kind, Reply, Sockname};
use rcluster_core::ids::{ListenerId, WorkerId};
use rcluster_core::schedule::Scheduling;

use crate::chance::Chance;

/// A worker as the simulated primary sees it, from its start until the app was told of its end.
#[derive(Default)]
pub(crate) struct Worker {
    pub(crate) dead: bool,
    pub(crate) left: bool,
    /// The step in which its first server reported that it listens.
    pub(crate) up: Option<u64>,
    /// The listeners on which its servers have reported that they listen.
    pub(crate) serves: BTreeSet<ListenerId>,
    /// Its unanswered listen requests.
    pub(crate) asked: BTreeMap<u32, String>,
    /// The listeners of which it is a member.
    pub(crate) member: BTreeSet<ListenerId>,
}

impl Worker {
    pub(crate) fn takes_part(&self) -> bool {
        !self.dead && !self.left
    }
}

/// A listener as the simulated primary sees it.
pub(crate) struct Socket {
    /// Listen requests with the same words mean the same listener.
    pub(crate) words: String,
    pub(crate) spec: ListenerSpec,
    /// The system has been asked to open it and has not answered.
    pub(crate) opening: bool,
    /// The workers that wait for it while it opens.
    pub(crate) waiting: BTreeSet<WorkerId>,
    /// Since when it has been without workers.
    pub(crate) vacant: Option<Vacant>,
}

#[derive(Clone, Copy)]
pub(crate) struct Vacant {
    /// The worker whose end left it without workers.
    pub(crate) of: WorkerId,
    /// When its linger time begins; `None` until the app has been told.
    pub(crate) told: Option<Duration>,
    /// The step in which it became vacant.
    pub(crate) since: u64,
    /// Another worker replaces that one.
    pub(crate) replaced: bool,
}

pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) share: bool,
    pub(crate) listeners: Listeners,
    pub(crate) now: Duration,
    /// Workers are expected.
    pub(crate) expecting: bool,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) sockets: BTreeMap<ListenerId, Socket>,
    /// The listener that a listen request with the same words should join.
    pub(crate) names: BTreeMap<String, ListenerId>,
    /// Which workers get connections of which listener: the dispatcher's view.
    pub(crate) dispatched: BTreeSet<(WorkerId, ListenerId)>,
    /// The number of inputs so far.
    pub(crate) steps: u64,
    /// The last reported number of listeners that only this worker serves.
    alone: BTreeMap<WorkerId, usize>,
    pub(crate) next_worker: u32,
    pub(crate) next_seq: u32,
    pub(crate) seen: BTreeSet<ListenerId>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let share = chance.percent(30);
        Self {
            chance,
            share,
            listeners: Listeners::new(Scheduling::of_node(share)),
            now: Duration::ZERO,
            expecting: false,
            workers: BTreeMap::new(),
            sockets: BTreeMap::new(),
            names: BTreeMap::new(),
            dispatched: BTreeSet::new(),
            steps: 0,
            alone: BTreeMap::new(),
            next_worker: 1,
            next_seq: 1,
            seen: BTreeSet::new(),
        }
    }

    pub(crate) fn forget(&mut self, listener: ListenerId) {
        let socket = self.sockets.remove(&listener).unwrap();
        if self.names.get(&socket.words) == Some(&listener) {
            self.names.remove(&socket.words);
        }
    }

    pub(crate) fn input(&mut self, input: Input) -> Outcome {
        self.input_with(input, None)
    }

    /// Gives an input, carries out the outputs, and compares them with the model.
    pub(crate) fn input_with(&mut self, input: Input, asking: Option<(WorkerId, &str)>) -> Outcome {
        let mut out = Vec::new();
        let mut outcome = Outcome::default();
        self.steps += 1;
        self.listeners.handle(self.now, input, &mut out);
        self.listeners.check_invariants();
        for output in out {
            match output {
                Output::Open { listener, spec } => {
                    let (worker, words) = asking.expect("only a listen request opens");
                    assert!(self.seen.insert(listener), "{listener} was there before");
                    let socket = Socket {
                        words: words.into(),
                        spec,
                        opening: true,
                        waiting: BTreeSet::from([worker]),
                        vacant: None,
                    };
                    self.sockets.insert(listener, socket);
                    self.names.entry(words.into()).or_insert(listener);
                    outcome.opened = true;
                }
                Output::Reply { worker, reply } => self.replied(worker, &reply, &mut outcome),
                Output::Join { worker, listener } => {
                    assert!(self.dispatched.insert((worker, listener)), "{worker} joined twice");
                }
                Output::Leave { worker, listener } => {
                    assert!(
                        self.dispatched.remove(&(worker, listener)),
                        "{worker} left what it never joined"
                    );
                }
                Output::CloseListener { listener } => self.closed(listener),
            }
        }
        self.check();
        self.check_alone();
        outcome
    }

    fn replied(&mut self, worker: WorkerId, reply: &Reply, outcome: &mut Outcome) {
        let known = self.workers.get_mut(&worker).expect("a reply to a worker that exists");
        assert!(known.takes_part(), "{worker} is gone and gets a reply");
        let words = known.asked.remove(&reply.seq).expect("a reply to a listen request, and only one");
        if reply.errno != 0 {
            assert_eq!(*reply, Reply { data: reply.data.clone(), ..Reply::refusal(reply.seq, reply.errno) });
            outcome.refused = true;
            return;
        }
        let listener = reply.listener.expect("a success has a listener");
        let socket = self.sockets.get_mut(&listener).expect("a success has an open listener");
        assert_eq!(socket.words, words, "{worker} got what it did not ask for");
        let opened = opened(&socket.spec.address, listener);
        assert_eq!((reply.kind, &reply.sockname), (Some(opened.kind), &opened.sockname));
        assert_eq!(reply.shared, self.share || opened.kind == Kind::Udp);
        socket.waiting.remove(&worker);
        known.member.insert(listener);
        outcome.welcomed = true;
    }

    fn closed(&mut self, listener: ListenerId) {
        let socket = &self.sockets[&listener];
        assert!(!socket.opening, "{listener} closes before it is open");
        assert!(
            !self.dispatched.iter().any(|(_, joined)| *joined == listener),
            "{listener} closes under workers"
        );
        assert!(!self.has_members(listener), "{listener} closes under workers");
        if let Some(vacant) = socket.vacant {
            assert!(!self.expecting, "{listener} closes although workers are owed");
            let of = vacant.of;
            let told = vacant
                .told
                .unwrap_or_else(|| panic!("{listener} closes before the app knows that {of} died"));
            assert!(
                self.now >= told + LINGER || !self.hope(vacant),
                "{listener} closes although a worker may open it"
            );
        }
        self.forget(listener);
    }

    fn has_members(&self, listener: ListenerId) -> bool {
        self.workers.values().any(|worker| worker.member.contains(&listener))
    }

    /// Whether a worker exists that may open a vacant listener: it has no server so far, or got its first one
    /// since.
    fn hope(&self, vacant: Vacant) -> bool {
        vacant.replaced
            || self.workers.values().any(|worker| match worker.up {
                None => !worker.left,
                Some(step) => worker.takes_part() && step > vacant.since,
            })
    }

    /// The reported numbers of sole servers are right.
    fn check_alone(&mut self) {
        self.alone.extend(self.listeners.sole_servers());
        let serves =
            |worker: &Worker, listener| worker.serves.contains(listener) && worker.member.contains(listener);
        for (id, worker) in &self.workers {
            let alone = worker.member.iter().filter(|listener| {
                let others = self.workers.iter().filter(|(other, _)| *other != id);
                serves(worker, listener) && !others.into_iter().any(|(_, other)| serves(other, listener))
            });
            assert_eq!(self.alone.get(id).copied().unwrap_or(0), alone.count(), "{id} is told wrong");
        }
    }

    fn check(&self) {
        assert_eq!(self.listeners.len(), self.sockets.len());
        let mut deadlines = Vec::new();
        for (&listener, socket) in &self.sockets {
            if socket.opening || self.has_members(listener) {
                continue;
            }
            let Some(vacant) = socket.vacant else { panic!("{listener} is open for nobody") };
            if let Some(told) = vacant.told
                && !self.expecting
            {
                assert!(self.hope(vacant) && self.now < told + LINGER, "{listener} waits in vain");
                deadlines.push(told + LINGER);
            }
        }
        assert_eq!(self.listeners.next_deadline(), deadlines.into_iter().min());
        assert!(!self.expecting || self.listeners.next_deadline().is_none());
        let mut dispatched = BTreeSet::new();
        for (&id, worker) in &self.workers {
            let serves = worker.serves.intersection(&worker.member);
            let balanced = serves.filter(|listener| self.sockets[listener].spec.backlog.is_some());
            dispatched.extend(balanced.map(|&listener| (id, listener)));
        }
        assert_eq!(self.dispatched, dispatched, "connections go where no server is up, or not where one is");
    }
}

/// The result of an input.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) opened: bool,
    pub(crate) welcomed: bool,
    pub(crate) refused: bool,
}

/// Whether the system does not allow the two at the same time.
pub(crate) fn clash(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Tcp { port: one, .. }, ListenAddress::Tcp { port: other, .. })
        | (ListenAddress::TcpAnywhere { port: one, .. }, ListenAddress::TcpAnywhere { port: other, .. })
        | (ListenAddress::Udp { port: one, .. }, ListenAddress::Udp { port: other, .. }) => {
            one == other && *one != 0
        }
        (ListenAddress::Path { path: one, .. }, ListenAddress::Path { path: other, .. }) => one == other,
        _ => false,
    }
}

pub(crate) fn opened(address: &ListenAddress, listener: ListenerId) -> Opened {
    let at = |port: u16| {
        let port = if port == 0 { u16::try_from(40_000 + listener.0).unwrap() } else { port };
        Some(Sockname { address: "127.0.0.1".into(), family: Family::IPv4, port })
    };
    match *address {
        ListenAddress::Tcp { port, .. } | ListenAddress::TcpAnywhere { port, .. } => {
            Opened { kind: Kind::Tcp, sockname: at(port) }
        }
        ListenAddress::Udp { port, .. } => Opened { kind: Kind::Udp, sockname: at(port) },
        ListenAddress::Datagram { .. } => Opened { kind: Kind::Udp, sockname: at(0) },
        ListenAddress::Stream { .. } | ListenAddress::Path { .. } => {
            Opened { kind: Kind::Pipe, sockname: None }
        }
    }
}
