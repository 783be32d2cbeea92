//! A simulated worker, and its channel.

use std::collections::{BTreeMap, VecDeque};

use rcluster_core::dispatch::{Input, Refusal};
use rcluster_core::ids::{ListenerId, WorkerId};

use crate::nonsense::{any_listener, any_refusal};
use rcluster_core::random::Random;

/// A connection. It cannot be copied, so it cannot be in two places; it could only be lost.
#[derive(Debug)]
pub(crate) struct Conn {
    /// The listener that accepted it, or that a dishonest worker names.
    pub(crate) listener: ListenerId,
    /// Its client; 0 has no key.
    pub(crate) client: u8,
    /// The worker that the app has chosen, if any.
    pub(crate) chosen: Option<WorkerId>,
    /// A dishonest worker has had it.
    pub(crate) tainted: bool,
    /// A worker has handed it over.
    pub(crate) kept: bool,
}

pub(crate) enum Packet {
    Conns(Vec<(ListenerId, Conn)>),
    Probe,
}

/// A server in a worker.
struct Server {
    max_connections: Option<usize>,
    told_full: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    Leaving,
    Dead,
}

pub(crate) struct Worker {
    id: WorkerId,
    pub(crate) honest: bool,
    pub(crate) blocked: bool,
    pub(crate) life: Life,
    pub(crate) channel: VecDeque<Packet>,
    /// The connections that the shell is about to send in one packet.
    pub(crate) batch: Vec<(ListenerId, Conn)>,
    pub(crate) wake_wanted: bool,
    /// Its messages that the shell has not received yet.
    pub(crate) says: VecDeque<Input<Conn>>,
    /// Received in this turn of its loop and not counted yet.
    hands: Option<Vec<(ListenerId, Conn)>>,
    serving: Vec<(ListenerId, Conn)>,
    servers: BTreeMap<ListenerId, Server>,
}

impl Worker {
    pub(crate) fn new(id: WorkerId, honest: bool) -> Self {
        Self {
            id,
            honest,
            blocked: false,
            life: Life::Running,
            channel: VecDeque::new(),
            batch: Vec::new(),
            wake_wanted: false,
            says: VecDeque::new(),
            hands: None,
            serving: Vec::new(),
            servers: BTreeMap::new(),
        }
    }

    pub(crate) fn listen(&mut self, listener: ListenerId, max_connections: Option<usize>) {
        self.servers.insert(listener, Server { max_connections, told_full: false });
        // An earlier server of it may have been full, and the report may still be under way.
        self.says.push_back(Input::Room { worker: self.id, listener });
    }

    /// False if it did not listen there.
    pub(crate) fn unlisten(&mut self, listener: ListenerId) -> bool {
        self.servers.remove(&listener).is_some()
    }

    /// Returns the number of connections that end with it. The shell reclaims those that it has not received.
    pub(crate) fn kill(&mut self) -> usize {
        self.life = Life::Dead;
        self.serving.drain(..).count() + self.hands.take().map_or(0, |hands| hands.len())
    }

    /// Whether it would take a connection of this listener at once.
    pub(crate) fn is_at_work(&self, listener: ListenerId) -> bool {
        let able = self.honest && !self.blocked && self.life != Life::Dead;
        able && self.servers.contains_key(&listener) && !self.is_full(listener)
    }

    fn is_full(&self, listener: ListenerId) -> bool {
        let open = self.serving.iter().filter(|(other, _)| *other == listener).count();
        self.servers[&listener].max_connections.is_some_and(|max| open >= max)
    }

    pub(crate) fn unreceived(&self) -> impl Iterator<Item = &(ListenerId, Conn)> {
        let packets = self.channel.iter().filter_map(|packet| match packet {
            Packet::Conns(conns) => Some(conns),
            Packet::Probe => None,
        });
        packets.flatten().chain(&self.batch)
    }

    /// The number of its connections, in any place.
    pub(crate) fn holds(&self) -> usize {
        let returned = self.says.iter().filter(|said| matches!(said, Input::Returned { .. })).count();
        self.unreceived().count() + self.hands.as_ref().map_or(0, Vec::len) + self.serving.len() + returned
    }

    /// The shell reclaims what was not received; from the channel, it has descriptors for this many packets. Also returns
    /// whether that was all.
    pub(crate) fn reclaim(&mut self, packets: usize) -> (Vec<(ListenerId, Conn)>, bool) {
        let taken = packets.min(self.channel.len());
        let packets = self.channel.drain(..taken).filter_map(|packet| match packet {
            Packet::Conns(conns) => Some(conns),
            Packet::Probe => None,
        });
        let conns = packets.flatten().chain(self.batch.drain(..)).collect();
        (conns, self.channel.is_empty())
    }

    /// The first half of a turn of its loop: it takes packets from its channel. Only packets make it turn.
    pub(crate) fn receive(&mut self, random: &mut Random) -> bool {
        if self.life == Life::Dead || self.blocked || self.hands.is_some() || self.channel.is_empty() {
            return false;
        }
        let mut hands = Vec::new();
        for packet in self.channel.drain(..=random.below(self.channel.len())) {
            if let Packet::Conns(conns) = packet {
                hands.extend(conns);
            }
        }
        self.hands = Some(hands);
        true
    }

    /// The second half: it counts the connections, reports the turn if requested, and serves or returns the
    /// connections.
    pub(crate) fn serve(&mut self, counter: &mut u64, random: &mut Random) -> bool {
        if self.blocked {
            return false;
        }
        let Some(hands) = self.hands.take() else {
            return false;
        };
        *counter = match random.below(4) {
            0 if !self.honest => counter.wrapping_add(random.noise()),
            1 if !self.honest => random.noise(),
            2 if !self.honest => *counter,
            _ => counter.wrapping_add(hands.len() as u64),
        };
        if std::mem::take(&mut self.wake_wanted) {
            self.says.push_back(Input::Woke { worker: self.id });
        }
        for (listener, mut conn) in hands {
            conn.tainted |= !self.honest;
            if !self.honest && random.one_in(2) {
                let elsewhere = any_listener(random);
                let why = any_refusal(random);
                conn.listener = elsewhere;
                // The shell does not check what the worker reports.
                conn.kept |= why == Refusal::HandedOver;
                self.refuse(elsewhere, conn, why);
            } else if !self.honest {
                self.serving.push((listener, conn));
            } else if !self.servers.contains_key(&listener) {
                self.refuse(listener, conn, Refusal::NotListening);
            } else if self.is_full(listener) {
                self.servers.get_mut(&listener).unwrap().told_full = true;
                self.refuse(listener, conn, Refusal::Full);
            } else {
                self.serving.push((listener, conn));
            }
        }
        true
    }

    fn refuse(&mut self, listener: ListenerId, conn: Conn, why: Refusal) {
        self.says.push_back(Input::Returned { worker: self.id, listener, conn, why });
    }

    /// It drains, and hands over one of its connections. False if it has none.
    pub(crate) fn hand_over(&mut self, random: &mut Random) -> bool {
        if self.blocked || self.life != Life::Leaving || self.serving.is_empty() {
            return false;
        }
        let (listener, mut conn) = self.serving.swap_remove(random.below(self.serving.len()));
        conn.kept = true;
        conn.chosen = None;
        self.refuse(listener, conn, Refusal::HandedOver);
        true
    }

    /// One of its connections ends. False if it has none.
    pub(crate) fn finish_one(&mut self, random: &mut Random) -> bool {
        if self.blocked || self.serving.is_empty() {
            return false;
        }
        let (listener, _) = self.serving.swap_remove(random.below(self.serving.len()));
        if let Some(server) = self.servers.get_mut(&listener)
            && std::mem::take(&mut server.told_full)
        {
            self.says.push_back(Input::Room { worker: self.id, listener });
        }
        true
    }

    /// It violates the protocol. Returns the number of connections that it invented.
    pub(crate) fn lie(&mut self, counter: &mut u64, random: &mut Random) -> usize {
        let listener = any_listener(random);
        match random.below(5) {
            0 => self.says.push_back(Input::Woke { worker: self.id }),
            1 => self.says.push_back(Input::Room { worker: self.id, listener }),
            2 => *counter = random.noise(),
            _ => {
                let why = any_refusal(random);
                let kept = why == Refusal::HandedOver;
                self.refuse(listener, Conn { listener, client: 0, chosen: None, tainted: true, kept }, why);
                return 1;
            }
        }
        0
    }
}
