//! Messages between the processes of a cluster: channels with any number of subscribers, and requests that
//! one process answers.
//!
//! # Design
//! A process is identified by its links: one for each copy of this package that it loads. Everything for a
//! process waits in its [`Outbox`], which is bounded: a process that does not read loses messages addressed
//! to it, and is told how many. A request is refused if the outbox of its target is full, so every request
//! gets an outcome.
//!
//! A request ends with an answer, or with the end of the process that should answer: there are no timeouts.
//!
//! Two processes between which a request was made get a socket of their own, see [`pairs`]. Short messages
//! between them bypass the exchange. It serves all other processes, and everything for which that socket has
//! no room.
//!
//! Processes are not trusted. The link on which a message arrives identifies its sender. Requests are
//! numbered by the process that makes them, and calls are answered by the process that was called; the number
//! of another process' request or call has no effect.

mod backlog;
mod calls;
mod channels;
mod common;
mod consequence;
pub mod declared;
mod direct;
pub mod endpoint;
pub mod frame;
mod outbox;
mod pair;
pub mod pairs;
mod reading;
mod remote;
mod requests;
pub mod roster;
mod routing;
mod transport;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::calls::Calls;
use self::channels::Channels;
pub use self::common::Subscription;
use self::common::Subscriptions;
use self::frame::{Head, Kind, Outgoing, Status};
use self::outbox::{Outbox, Topic};
use self::pairs::{PairId, Pairs, Published};
use self::requests::Content;
use self::roster::Roster;
use self::wire::Ask;
use crate::ids::{Slot, WorkerId};

/// The largest size of one message, in bytes.
pub const MAX_DATA: usize = 4 << 20;

/// The longest name of a channel, a handler or a leader, in bytes.
pub const MAX_NAME: usize = 1024;

/// The largest number of bytes that may wait for one process.
pub const MAX_QUEUED: usize = 16 << 20;

/// The largest number of them that may come from one other process.
pub const MAX_QUEUED_OF_ONE: usize = MAX_QUEUED / 2;

/// The largest number of unfinished calls of one process, and of calls that one process may have to answer.
pub const MAX_CALLS: usize = 10_000;

/// The largest number of channels that one process may subscribe to, and of names that it may handle.
pub const MAX_NAMES: usize = 10_000;

/// The largest number of answers that may wait for a process that obeys the protocol.
pub const MAX_ANSWERS: usize = 4 * MAX_CALLS + 2 * MAX_NAMES;

/// A link of a process. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// The link for all other machines, which take part like one process of this machine.
pub const OTHER_MACHINES: ClientId = ClientId(u64::MAX);

/// The processes that a channel connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Scope {
    /// The processes of this machine.
    Machine = 0,
    /// The processes of all machines that use the same server.
    All = 1,
}

/// The number of a request, chosen by its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The number with which a call is answered. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A process of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Process {
    /// The primary.
    Primary,
    /// A worker.
    Worker(WorkerId),
    /// Processes of other machines.
    OtherMachines,
}

impl Process {
    /// The number of the worker; 0 is the primary.
    fn number(self) -> u32 {
        match self {
            Self::Primary | Self::OtherMachines => 0,
            Self::Worker(worker) => worker.0,
        }
    }
}

/// The target of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A worker.
    Worker(WorkerId),
    /// The worker of a slot.
    Slot(Slot),
    /// The worker with the fewest unanswered calls among those that handle the name.
    Any,
    /// All workers.
    All,
    /// The primary.
    Primary,
    /// All workers of all machines.
    Everywhere,
    /// The process that leads under a name, on this machine or on any of them.
    Leader(Scope, &'a [u8]),
}

/// A violation of the protocol. The package itself never does this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an invalid request to the exchange")]
pub struct ProtocolViolation;

/// Finds the process of this machine that leads under a name, in this scope.
pub type Leaders<'a> = &'a dyn Fn(Scope, &[u8]) -> Option<Process>;

/// A pair that needs its sockets: for each process, the packet with which its socket is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The pair.
    pub pair: PairId,
    /// The processes, with the packet for each.
    pub packets: [(ClientId, Box<[u8]>); 2],
}

/// A process with more unread answers gets no pair.
const MAX_UNREAD: usize = 1000;

#[derive(Debug)]
struct Client {
    process: Process,
    outbox: Outbox,
    handles: BTreeSet<Arc<[u8]>>,
}

/// The exchange: see the module.
#[derive(Debug)]
pub struct Exchange {
    roster: Roster,
    clients: BTreeMap<ClientId, Client>,
    channels: Channels,
    /// The channels that span machines.
    common: Channels,
    subscriptions: Subscriptions,
    links: BTreeMap<Process, BTreeSet<ClientId>>,
    calls: Calls,
    pairs: Pairs,
    /// Clients with something new to read.
    ready: BTreeSet<ClientId>,
    turn: usize,
    nothing: Arc<[u8]>,
}

impl Exchange {
    /// Creates an exchange with the workers that are alive.
    #[must_use]
    pub fn new(roster: Roster) -> Self {
        Self {
            roster,
            clients: BTreeMap::new(),
            channels: Channels::default(),
            common: Channels::default(),
            subscriptions: Subscriptions::default(),
            links: BTreeMap::new(),
            calls: Calls::default(),
            pairs: Pairs::default(),
            ready: BTreeSet::new(),
            turn: 0,
            nothing: Arc::from([]),
        }
    }

    /// The workers.
    pub fn roster(&mut self) -> &mut Roster {
        &mut self.roster
    }

    /// A process opens a link.
    pub fn join(&mut self, client: ClientId, process: Process) {
        let (outbox, handles) = (Outbox::of(process), BTreeSet::new());
        self.clients.insert(client, Client { process, outbox, handles });
        let links = self.links.entry(process).or_default();
        let others: Vec<ClientId> = links.iter().copied().collect();
        links.insert(client);
        // With several links, only the exchange knows which of them handles a name, so the pairs are retired.
        let pairs: Vec<_> = others.into_iter().flat_map(|other| self.pairs.of(other)).collect();
        for (pair, partner) in pairs {
            self.tell_of_pair(partner, Kind::Retired, pair, 0);
        }
    }

    /// Processes a request of a client.
    ///
    /// # Errors
    /// The client violates the protocol, or has left.
    pub fn on_ask(
        &mut self,
        client: ClientId,
        ask: &Ask<'_>,
        leaders: Leaders<'_>,
        published: Published<'_>,
    ) -> Result<(), ProtocolViolation> {
        let its = self.clients.get_mut(&client).ok_or(ProtocolViolation)?;
        let worker = its.process.number();
        match *ask {
            Ask::Subscribe(scope, channel) => return self.subscribe(client, scope, channel),
            Ask::Unsubscribe(scope, channel) => self.unsubscribe(client, scope, channel),
            Ask::Post { scope, channel, origin, echo, data } => {
                self.post(client, (scope, channel), origin, echo, data);
            }
            Ask::Handle(name) if its.handles.len() < MAX_NAMES => {
                its.handles.insert(name.into());
                self.subscriptions.on_change(Subscription::Handler(name.into()));
            }
            Ask::Handle(_) => return Err(ProtocolViolation),
            Ask::Unhandle(name) => {
                its.handles.remove(name);
                its.outbox.forget(&Topic::Handler(name.into()));
                self.subscriptions.on_change(Subscription::Handler(name.into()));
            }
            Ask::Request { id, target, name, data } => {
                let found = self.find(client, target, (name, data), leaders, published);
                if let (Target::Worker(_), [(_, Ok(to))]) = (target, &found[..]) {
                    self.pair(client, *to);
                }
                let what = Content::new(worker, target, name, data);
                return self.request(client, id, &what, found, published);
            }
            Ask::Notify { target, name, data } => {
                let found = self.find(client, target, (name, data), leaders, published);
                let what = Content::new(worker, target, name, data);
                self.notify(client, &what, found);
            }
            Ask::Cancel { id, tell } => self.cancel(client, id, tell),
            Ask::Reply { call, status, data } => self.reply(client, call, status, data),
            Ask::Answer { pair, id, status, data } => self.answer_pair(client, pair, id, status, data),
            Ask::Mark { pair, number } => self.mark(client, pair, number),
            Ask::Unpair(pair) => self.end_pair(client, pair),
        }
        Ok(())
    }

    /// Tells a client that waited for room that it can send requests again.
    pub fn tell_room(&mut self, client: ClientId) {
        let frame = Outgoing::new(&Head::new(Kind::Room), &self.nothing);
        self.answer(client, frame);
    }

    /// A client has left or was cut off.
    pub fn leave(&mut self, client: ClientId) {
        let Some(its) = self.clients.remove(&client) else { return };
        self.ready.remove(&client);
        self.leave_channels(client);
        let handled = its.handles.iter().cloned().map(Subscription::Handler);
        handled.for_each(|name| self.subscriptions.on_change(name));
        if let Some(links) = self.links.get_mut(&its.process) {
            links.remove(&client);
            if links.is_empty() {
                self.links.remove(&its.process);
            }
        }
        let (settled, cancelled) = self.calls.leave(client);
        let nothing = Arc::clone(&self.nothing);
        for settled in settled {
            self.tell_outcome(settled, Status::Gone, &nothing, client);
        }
        for (to, call) in cancelled {
            self.tell_cancelled(client, to, call, false);
        }
        for (pair, partner) in self.pairs.leave(client) {
            self.tell_of_pair(partner, Kind::Unpaired, pair, Status::Gone as u8);
        }
    }

    /// The new pairs that are to get their sockets, each once.
    pub fn take_introductions(&mut self) -> Vec<Introduction> {
        let made = self.pairs.take_made();
        let introductions = made.into_iter().map(|(pair, [one, other])| {
            let packet = |own: pairs::End, partner: pairs::End| {
                let worker = self.clients.get(&partner.client).map_or(0, |its| its.process.number());
                // There are fewer places than that.
                let flag = u8::try_from(own.place).unwrap_or(u8::MAX);
                (own.client, Head { flag, worker, rest: pair.0, ..Head::new(Kind::Paired) }.encode(0))
            };
            Introduction { pair, packets: [packet(one, other), packet(other, one)] }
        });
        introductions.collect()
    }

    /// Whether a packet that does not come from [`Exchange::peek`] may be sent to a client now.
    #[must_use]
    pub fn is_between_frames(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|its| its.outbox.is_between_frames())
    }

    /// The sockets of a pair could not be sent to both processes.
    pub fn on_not_introduced(&mut self, introduction: &Introduction) {
        self.pairs.on_not_made(introduction.pair);
        for (client, _) in &introduction.packets {
            self.tell_of_pair(*client, Kind::Unpaired, introduction.pair, Status::Gone as u8);
        }
    }

    /// The clients with something new to read, each once.
    pub fn take_ready(&mut self) -> BTreeSet<ClientId> {
        std::mem::take(&mut self.ready)
    }

    /// Whether something waits for a client.
    #[must_use]
    pub fn has_news(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|its| !its.outbox.is_empty())
    }

    /// Copies the next bytes for a client, up to `limit`.
    pub fn peek(&self, client: ClientId, limit: usize, packet: &mut Vec<u8>) {
        packet.clear();
        if let Some(its) = self.clients.get(&client) {
            its.outbox.peek(limit, packet);
        }
    }

    /// This many of those bytes were sent.
    pub fn on_sent(&mut self, client: ClientId, count: usize) {
        if let Some(its) = self.clients.get_mut(&client) {
            its.outbox.on_sent(count);
        }
    }

    /// Whether a client leaves more answers unread than the protocol allows.
    #[must_use]
    pub fn is_flooded(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|its| its.outbox.answers() > MAX_ANSWERS)
    }

    /// The bytes from other processes that wait for a client.
    #[must_use]
    pub fn queued(&self, client: ClientId) -> usize {
        self.clients.get(&client).map_or(0, |its| its.outbox.bytes())
    }

    fn answer(&mut self, client: ClientId, frame: Outgoing) {
        if let Some(its) = self.clients.get_mut(&client) {
            its.outbox.answer(frame);
            self.ready.insert(client);
        }
    }

    /// Checks the invariants.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check_invariants(&self) {
        self.calls.check_invariants(|client| self.clients.contains_key(&client));
        for (client, its) in &self.clients {
            its.outbox.check_invariants();
            assert!(self.links[&its.process].contains(client), "a link is found by its process");
        }
        self.channels.check_invariants(|client| self.clients.contains_key(&client));
        self.common.check_invariants(|client| self.clients.contains_key(&client));
        self.pairs.check_invariants(|client| self.clients.contains_key(&client));
        assert_eq!(self.links.values().map(BTreeSet::len).sum::<usize>(), self.clients.len());
        assert!(self.ready.iter().all(|client| self.clients.contains_key(client)));
    }
}

#[cfg(test)]
mod tests;
