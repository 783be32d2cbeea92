//! Locks by name that the processes of a cluster share, with the semantics of Web Locks.
//!
//! A lock is held by a request of a process. It ends when the process releases it, when another one steals
//! it, or when the process leaves. There are no timeouts. Requests for a name are granted in the order in
//! which they came.
//!
//! Every grant has a token, which is greater than that of every earlier grant of any name. A process that
//! guards a resource with a lock passes the token along, and the resource refuses tokens smaller than the
//! largest that it has seen: this fences off a holder that has lost its lock without knowing it yet.
//!
//! Processes are not trusted. Request numbers are local to a process, so no process can end the requests of
//! another.

mod queue;
pub mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use self::queue::Queue;

/// The largest number of requests of one process, held and pending.
pub const MAX_REQUESTS: usize = 10_000;

/// The longest name, in bytes.
pub const MAX_NAME: usize = 2048;

/// The longest outcome of a flight, in bytes.
pub const MAX_OUTCOME: usize = 8192;

/// A process that uses locks. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// The number of a request, chosen by its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The purpose of a name. The same name in another space is another lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// A lock of the application.
    Lock,
    /// Leadership in the cluster.
    Lead,
    /// The computation of a value for which several requests wait. Its holder can send all waiting requests
    /// the outcome, see [`Locks::settle`].
    Flight,
    /// A lock of the application across machines: see [`leases`](crate::leases).
    LeasedLock,
    /// Leadership across machines.
    LeasedLead,
}

impl Space {
    /// All spaces.
    pub const ALL: [Self; 5] = [Self::Lock, Self::Lead, Self::Flight, Self::LeasedLock, Self::LeasedLead];

    /// Its name on the server, if it is shared across machines.
    #[must_use]
    pub fn leased(self) -> Option<&'static str> {
        match self {
            Self::LeasedLock => Some("lock"),
            Self::LeasedLead => Some("lead"),
            Self::Lock | Self::Lead | Self::Flight => None,
        }
    }
}

/// The mode of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One holder.
    Exclusive,
    /// Any number of holders in this mode.
    Shared,
}

/// What happens if a lock, or a lease, cannot be granted at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// The request waits.
    Wait,
    /// The request ends; a lock is answered with [`Notice::Unavailable`].
    GiveUp,
    /// The current holders lose the lock.
    Steal,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The space.
    pub space: Space,
    /// The name in UTF-8.
    pub name: &'a [u8],
    /// The mode.
    pub mode: Mode,
    /// What to do if it cannot be granted at once.
    pub otherwise: Otherwise,
}

/// A message to a process about one of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The request holds the lock.
    Granted {
        /// See the module.
        token: u64,
    },
    /// The lock cannot be granted at once. The request has ended.
    Unavailable,
    /// The request held the lock, and another one has stolen it. The request has ended.
    Stolen,
    /// The holder has settled what this request waited for. The request has ended.
    Settled(Arc<[u8]>),
    /// The process has too many requests. The request has ended.
    TooMany,
}

/// A message with its receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The process.
    pub client: ClientId,
    /// Its request.
    pub request: RequestId,
    /// The message.
    pub notice: Notice,
}

/// A violation of the protocol. The package itself never does this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an invalid request for a lock")]
pub struct ProtocolViolation;

/// One request, held or pending, as [`Locks::snapshot`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: Arc<[u8]>,
    /// The mode.
    pub mode: Mode,
    /// The client that holds it or waits for it.
    pub client: ClientId,
    /// Its request.
    pub request: RequestId,
    /// The token, if it is held.
    pub token: Option<u64>,
}

type Name = (Space, Arc<[u8]>);

/// The position of a process' request.
#[derive(Clone, Debug)]
struct Place {
    name: Name,
    /// Its number in the order of all requests.
    order: u64,
}

/// The locks: see the module.
#[derive(Debug)]
pub struct Locks {
    queues: HashMap<Name, Queue>,
    clients: HashMap<ClientId, BTreeMap<RequestId, Place>>,
    next_order: u64,
    next_token: u64,
    events: Vec<Event>,
}

impl Locks {
    /// Creates the state without locks. The first token is greater than `floor`.
    #[must_use]
    pub fn new(floor: u64) -> Self {
        Self {
            queues: HashMap::new(),
            clients: HashMap::new(),
            next_order: 0,
            next_token: floor + 1,
            events: Vec::new(),
        }
    }

    /// A process starts to use locks.
    pub fn join(&mut self, client: ClientId) {
        self.clients.entry(client).or_default();
    }

    /// A process requests a lock.
    ///
    /// # Errors
    /// The name is too long, the process reuses the number of a request that has not ended, or it has left.
    pub fn request(
        &mut self,
        client: ClientId,
        id: RequestId,
        request: &Request<'_>,
    ) -> Result<(), ProtocolViolation> {
        let Request { space, name, mode, otherwise } = *request;
        let requests = self.clients.get_mut(&client).ok_or(ProtocolViolation)?;
        let is_valid = name.len() <= MAX_NAME && !(otherwise == Otherwise::Steal && mode == Mode::Shared);
        if !is_valid || requests.contains_key(&id) {
            return Err(ProtocolViolation);
        }
        if requests.len() >= MAX_REQUESTS {
            self.events.push(Event { client, request: id, notice: Notice::TooMany });
            return Ok(());
        }
        let name = (space, Arc::from(name));
        let queue = self.queues.get_mut(&name);
        if otherwise == Otherwise::GiveUp && queue.as_ref().is_some_and(|queue| !queue.is_free_for(mode)) {
            self.events.push(Event { client, request: id, notice: Notice::Unavailable });
            return Ok(());
        }
        let order = self.next_order;
        self.next_order += 1;
        let name = match queue {
            Some(queue) => Arc::clone(queue.name()),
            None => name.1,
        };
        let name = (space, name);
        let place = Place { name: name.clone(), order };
        requests.insert(id, place);
        let queue = self.queues.entry(name.clone()).or_insert_with(|| Queue::new(Arc::clone(&name.1)));
        if otherwise == Otherwise::Steal {
            for victim in queue.take_held() {
                self.events.push(Event { client: victim.client, request: victim.id, notice: Notice::Stolen });
                if let Some(requests) = self.clients.get_mut(&victim.client) {
                    requests.remove(&victim.id);
                }
            }
            let token = self.next_token;
            self.next_token += 1;
            queue.hold(order, queue::Entry { client, id, mode }, token);
            self.events.push(Event { client, request: id, notice: Notice::Granted { token } });
        } else {
            queue.wait(order, queue::Entry { client, id, mode });
            self.grant(&name);
        }
        Ok(())
    }

    /// Ends a request: releases the lock, or stops waiting for it. No error if the request has already ended,
    /// for example because the lock was stolen at the same time.
    pub fn end(&mut self, client: ClientId, id: RequestId) {
        let Some(place) = self.clients.get_mut(&client).and_then(|requests| requests.remove(&id)) else {
            return;
        };
        self.remove(&place);
        self.grant(&place.name);
    }

    /// The holder of a flight settles it. All requests that wait for it get the outcome and end, and so does
    /// the holder's. Later requests start a new flight.
    ///
    /// # Errors
    /// It is not a flight, or the outcome is too long. No error if the request has already ended.
    pub fn settle(
        &mut self,
        client: ClientId,
        id: RequestId,
        outcome: &[u8],
    ) -> Result<(), ProtocolViolation> {
        let Some(place) = self.clients.get(&client).and_then(|requests| requests.get(&id)).cloned() else {
            return Ok(());
        };
        let queue = self.queues.get_mut(&place.name).ok_or(ProtocolViolation)?;
        let may_settle = place.name.0 == Space::Flight && queue.is_held_by(place.order);
        if !may_settle || outcome.len() > MAX_OUTCOME {
            return Err(ProtocolViolation);
        }
        let outcome = Arc::from(outcome);
        for waiting in queue.take_pending() {
            if let Some(requests) = self.clients.get_mut(&waiting.client) {
                requests.remove(&waiting.id);
            }
            let notice = Notice::Settled(Arc::clone(&outcome));
            self.events.push(Event { client: waiting.client, request: waiting.id, notice });
        }
        self.end(client, id);
        Ok(())
    }

    /// A process has died or has stopped using locks. All its locks are released.
    pub fn leave(&mut self, client: ClientId) {
        let Some(requests) = self.clients.remove(&client) else { return };
        // Remove all its requests first: none of them may be granted a lock that another one held.
        for place in requests.values() {
            self.remove(place);
        }
        for place in requests.values() {
            self.grant(&place.name);
        }
    }

    /// The messages since the last call, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// All held and pending requests of a space: held ones by token, pending ones in their order.
    #[must_use]
    pub fn snapshot(&self, space: Space) -> Vec<Listed> {
        let mut all: Vec<(u64, Listed)> = Vec::new();
        for ((_, name), queue) in self.queues.iter().filter(|(name, _)| name.0 == space) {
            for (order, entry, token) in queue.list() {
                let (name, mode) = (Arc::clone(name), entry.mode);
                let listed = Listed { name, mode, client: entry.client, request: entry.id, token };
                all.push((order, listed));
            }
        }
        all.sort_by_key(|(order, listed)| (listed.token.is_none(), listed.token.unwrap_or(*order)));
        all.into_iter().map(|(_, listed)| listed).collect()
    }

    /// The client that holds a lock; if several share it, the one that has held it for longest.
    #[must_use]
    pub fn holder(&self, space: Space, name: &[u8]) -> Option<(ClientId, RequestId)> {
        self.queues.get(&(space, name.into()))?.holder()
    }

    fn remove(&mut self, place: &Place) {
        if let Some(queue) = self.queues.get_mut(&place.name) {
            queue.remove(place.order);
        }
    }

    /// Grants what can be granted, in order, and removes the queue if it is empty.
    fn grant(&mut self, name: &Name) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        while let Some(entry) = queue.grant_next(self.next_token) {
            let notice = Notice::Granted { token: self.next_token };
            self.next_token += 1;
            self.events.push(Event { client: entry.client, request: entry.id, notice });
        }
        if queue.is_empty() {
            self.queues.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
