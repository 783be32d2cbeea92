//! Locks by name that the processes of a cluster share, with the semantics of Web Locks.
//!
//! A lock is held by a request of a process. It ends when the process releases it, when another one steals it, or when the
//! process leaves. No clock is involved. Requests for a name are granted in the order in which they came.
//!
//! Every grant has a token, which is greater than that of every earlier grant of any name. Whoever guards a resource
//! with a lock hands the token along, and the resource refuses a smaller one than it has seen: that fences off a holder
//! that has lost its lock and does not know it yet.
//!
//! Processes are not trusted. They name their requests by numbers of their own, so nobody can end what is another's.

mod queue;
pub mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use self::queue::Queue;

/// How many requests of one process may be held or pending.
pub const MAX_REQUESTS: usize = 10_000;

/// The longest name, in bytes.
pub const MAX_NAME: usize = 2048;

/// The longest outcome of a flight, in bytes.
pub const MAX_OUTCOME: usize = 8192;

/// A process that takes part. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What a process calls one of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What a name is for. The same name in another space is another lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// A lock of the application.
    Lock,
    /// Who leads.
    Lead,
    /// Who makes a value that several wait for. Its holder can tell all that wait how it went, see [`Locks::settle`].
    Flight,
}

/// With whom a lock can be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With nobody.
    Exclusive,
    /// With all that want to share it.
    Shared,
}

/// What happens if the lock cannot be granted at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// The request waits.
    Wait,
    /// It is answered with [`News::Unavailable`].
    GiveUp,
    /// Those who hold it lose it.
    Steal,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What for.
    pub space: Space,
    /// UTF-8.
    pub name: &'a [u8],
    /// With whom.
    pub mode: Mode,
    /// If not at once.
    pub otherwise: Otherwise,
}

/// What a process is told of one of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It holds the lock.
    Granted {
        /// See the module.
        token: u64,
    },
    /// It cannot have the lock at once. That was the end of the request.
    Unavailable,
    /// It held the lock, and another has taken it away. That was the end of the request.
    Stolen,
    /// Whoever held the lock has settled what this request waited for. That was the end of the request.
    Settled(Arc<[u8]>),
    /// The process has too many requests. That was the end of the request.
    TooMany,
}

/// Some news, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The process.
    pub client: ClientId,
    /// Its request.
    pub request: RequestId,
    /// What happened.
    pub news: News,
}

/// The process breaks the rules: an honest one never does this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request for a lock makes no sense")]
pub struct Nonsense;

/// One request, held or pending, as [`Locks::snapshot`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: Arc<[u8]>,
    /// With whom.
    pub mode: Mode,
    /// Whose.
    pub client: ClientId,
    /// The token, if it is held.
    pub token: Option<u64>,
}

type Name = (Space, Arc<[u8]>);

/// Where a request of a process is.
#[derive(Clone, Debug)]
struct Place {
    name: Name,
    /// Its place in the order of all requests.
    order: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Locks {
    queues: HashMap<Name, Queue>,
    clients: HashMap<ClientId, BTreeMap<RequestId, Place>>,
    next_order: u64,
    next_token: u64,
    events: Vec<Event>,
}

impl Locks {
    /// The first token is greater than `floor`.
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

    /// A process takes part from now on.
    pub fn join(&mut self, client: ClientId) {
        self.clients.entry(client).or_default();
    }

    /// A process asks for a lock.
    ///
    /// # Errors
    /// The name is too long, or the process uses the number of a request that has not ended, or has left.
    pub fn request(
        &mut self,
        client: ClientId,
        id: RequestId,
        request: &Request<'_>,
    ) -> Result<(), Nonsense> {
        let Request { space, name, mode, otherwise } = *request;
        let requests = self.clients.get_mut(&client).ok_or(Nonsense)?;
        let is_valid = name.len() <= MAX_NAME && !(otherwise == Otherwise::Steal && mode == Mode::Shared);
        if !is_valid || requests.contains_key(&id) {
            return Err(Nonsense);
        }
        if requests.len() >= MAX_REQUESTS {
            self.events.push(Event { client, request: id, news: News::TooMany });
            return Ok(());
        }
        let name = (space, Arc::from(name));
        let queue = self.queues.get_mut(&name);
        if otherwise == Otherwise::GiveUp && queue.as_ref().is_some_and(|queue| !queue.is_free_for(mode)) {
            self.events.push(Event { client, request: id, news: News::Unavailable });
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
                self.events.push(Event { client: victim.client, request: victim.id, news: News::Stolen });
                if let Some(requests) = self.clients.get_mut(&victim.client) {
                    requests.remove(&victim.id);
                }
            }
            let token = self.next_token;
            self.next_token += 1;
            queue.hold(order, queue::Entry { client, id, mode }, token);
            self.events.push(Event { client, request: id, news: News::Granted { token } });
        } else {
            queue.wait(order, queue::Entry { client, id, mode });
            self.grant(&name);
        }
        Ok(())
    }

    /// A process no longer wants a lock: it releases it, or does not wait any longer. A request that has ended already,
    /// because it was stolen at the same time, is no error.
    pub fn end(&mut self, client: ClientId, id: RequestId) {
        let Some(place) = self.clients.get_mut(&client).and_then(|requests| requests.remove(&id)) else {
            return;
        };
        self.remove(&place);
        self.grant(&place.name);
    }

    /// The holder of a flight says how it went. All that wait for it are told, and their requests end, as does his. What
    /// is asked for later begins anew.
    ///
    /// # Errors
    /// It is no flight, or the outcome is too long. One that has ended already is no error.
    pub fn settle(&mut self, client: ClientId, id: RequestId, outcome: &[u8]) -> Result<(), Nonsense> {
        let Some(place) = self.clients.get(&client).and_then(|requests| requests.get(&id)).cloned() else {
            return Ok(());
        };
        let queue = self.queues.get_mut(&place.name).ok_or(Nonsense)?;
        let may_settle = place.name.0 == Space::Flight && queue.is_held_by(place.order);
        if !may_settle || outcome.len() > MAX_OUTCOME {
            return Err(Nonsense);
        }
        let outcome = Arc::from(outcome);
        for waiting in queue.take_pending() {
            if let Some(requests) = self.clients.get_mut(&waiting.client) {
                requests.remove(&waiting.id);
            }
            let news = News::Settled(Arc::clone(&outcome));
            self.events.push(Event { client: waiting.client, request: waiting.id, news });
        }
        self.end(client, id);
        Ok(())
    }

    /// A process is dead, or does not take part any longer. All that it held is released.
    pub fn leave(&mut self, client: ClientId) {
        let Some(requests) = self.clients.remove(&client) else { return };
        // All of its requests first: none of them may be granted what another one held.
        for place in requests.values() {
            self.remove(place);
        }
        for place in requests.values() {
            self.grant(&place.name);
        }
    }

    /// What has happened since this was called last, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Everything that is held or pending in a space: what is held by token, what is pending in the order of the requests.
    #[must_use]
    pub fn snapshot(&self, space: Space) -> Vec<Listed> {
        let mut all: Vec<(u64, Listed)> = Vec::new();
        for ((_, name), queue) in self.queues.iter().filter(|(name, _)| name.0 == space) {
            for (order, entry, token) in queue.list() {
                let listed = Listed { name: Arc::clone(name), mode: entry.mode, client: entry.client, token };
                all.push((order, listed));
            }
        }
        all.sort_by_key(|(order, listed)| (listed.token.is_none(), listed.token.unwrap_or(*order)));
        all.into_iter().map(|(_, listed)| listed).collect()
    }

    fn remove(&mut self, place: &Place) {
        if let Some(queue) = self.queues.get_mut(&place.name) {
            queue.remove(place.order);
        }
    }

    /// Grants what can be granted, in order, and forgets a queue that is empty.
    fn grant(&mut self, name: &Name) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        while let Some(entry) = queue.grant_next(self.next_token) {
            let news = News::Granted { token: self.next_token };
            self.next_token += 1;
            self.events.push(Event { client: entry.client, request: entry.id, news });
        }
        if queue.is_empty() {
            self.queues.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
