//! The state machine behind [`Listeners`].

mod departures;
mod invariants;
mod vacancy;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::request::{Key, ListenRequest, Sharing};
use super::{Input, ListenerSpec, MAX_BYTES, MAX_LISTENERS, Opened, Output};
use crate::ids::{ListenerId, WorkerId};
use crate::schedule::{By, Scheduling};
use crate::wire::{Data, EMFILE, ENOBUFS, Query, Reply};

#[derive(Debug)]
struct Listener {
    key: Key,
    sharing: Sharing,
    /// The custom data of the first worker that had any.
    data: Data,
    /// How many bytes of what is kept here each worker has brought.
    kept: Vec<(WorkerId, usize)>,
    /// See [`Reply::hand_over`].
    hand_over: Option<By>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not answered yet: the workers that wait for it, and the numbers of their requests.
    Opening(Vec<(WorkerId, u32)>),
    Open {
        opened: Opened,
        /// The workers on it, and whether its server is up: only then it gets connections.
        members: BTreeMap<WorkerId, bool>,
        /// Present if and only if there are no members.
        vacancy: Option<Vacancy>,
    },
}

/// A listener is vacant: its last worker has died, or leaves while a replacement is expected.
#[derive(Clone, Copy, Debug)]
struct Vacancy {
    /// The last worker. The app may answer its end with a replacement.
    of: WorkerId,
    /// When to give up. `None` until the app has been told of that end: before that a primary
    /// whose JavaScript is busy could not have answered, however long it takes.
    until: Option<Duration>,
    /// The input that left it without members.
    since: u64,
    /// Whether another worker replaces the last one, and may open it.
    replaced: bool,
}

/// A worker, until the app has been told of its end.
#[derive(Debug)]
struct Worker {
    phase: Phase,
    alive: bool,
    /// Those it is a member of or waits for.
    listeners: BTreeSet<ListenerId>,
    /// The bytes that are kept because it has brought them, at most [`MAX_BYTES`].
    kept: usize,
    /// Which input it was by which its first server was up.
    up: Option<u64>,
    /// On how many listeners it is the only one whose server is up.
    sole: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// None of its servers is up, so it may still want any listener. If it dies like this it
    /// counts on until the app has been told, because its replacement may want one as well.
    Starting,
    /// It has a server. What it listens on next it could as well open.
    Serving,
    /// It is leaving, and gets nothing new.
    Leaving,
}

/// The registry.
#[derive(Debug)]
pub struct Listeners {
    scheduling: Scheduling,
    next: u32,
    /// What a query would join. A listener may be missing here while its members are still
    /// there: another has its name then.
    names: BTreeMap<Key, ListenerId>,
    all: BTreeMap<ListenerId, Listener>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Supervision is going to start workers.
    expecting: bool,
    /// How many one worker may have at a time.
    limit: usize,
    /// How many inputs there have been.
    inputs: u64,
    /// For whom the answer of [`Listeners::sole_servers`] is another one than before.
    sole_changed: BTreeSet<WorkerId>,
}

impl Listeners {
    /// An empty registry. `scheduling` says, among other things, on which listeners workers accept by
    /// themselves. Datagrams are shared in any case.
    #[must_use]
    pub fn new(scheduling: Scheduling) -> Self {
        Self {
            scheduling,
            next: 1,
            names: BTreeMap::new(),
            all: BTreeMap::new(),
            workers: BTreeMap::new(),
            expecting: false,
            limit: MAX_LISTENERS,
            inputs: 0,
            sole_changed: BTreeSet::new(),
        }
    }

    /// Lets a worker have no more than `limit` listeners at a time, and at most [`MAX_LISTENERS`]. More get `EMFILE`.
    pub fn limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_LISTENERS);
    }

    /// Takes note of what happened at `now` and appends what to do to `out`, in order. `now` is
    /// the time since any fixed moment.
    pub fn handle(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        self.inputs += 1;
        match input {
            Input::WorkerStarted { worker } => {
                self.workers.entry(worker).or_insert_with(Worker::starting);
            }
            Input::Query { worker, query } => self.query(worker, query, out),
            Input::Opened { listener, result } => self.opened(listener, result, out),
            Input::Close { worker, listener } => self.close_server(worker, listener, out),
            Input::Listening { worker, listener } => self.listening(worker, listener, out),
            Input::WorkerLeaving { worker } => self.on_leaving(now, worker, false, out),
            Input::WorkerReplaced { worker } => self.on_leaving(now, worker, true, out),
            Input::WorkerDied { worker } => self.on_died(worker, out),
            Input::ExitReported { worker } => self.on_exit_reported(now, worker),
            Input::Expecting(expecting) => self.expect(now, expecting),
            Input::Tick => {}
        }
        self.close_vacant(now, out);
    }

    /// When to send [`Input::Tick`] next, if at all.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.expecting {
            return None;
        }
        self.vacancies().filter_map(|(_, vacancy)| vacancy.until).min()
    }

    /// How many listeners are open or being opened.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is no listener.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether workers are owed, as it has been told last.
    #[must_use]
    pub fn is_expecting(&self) -> bool {
        self.expecting
    }

    /// Whether a worker is on a listener, or waits for it to be opened.
    #[must_use]
    pub fn is_member(&self, worker: WorkerId, listener: ListenerId) -> bool {
        self.workers.get(&worker).is_some_and(|worker| worker.listeners.contains(&listener))
    }

    fn query(&mut self, worker: WorkerId, query: Query, out: &mut Vec<Output>) {
        // A worker that disconnects may still ask. Node leaves it without an answer, and an app
        // must not see a server come up that nobody will send connections to.
        let Some(asking) = self.workers.get_mut(&worker) else {
            return;
        };
        if !asking.alive || asking.phase == Phase::Leaving {
            return;
        }
        let refuse = |errno| Output::Reply { worker, reply: Reply::refusal(query.seq, errno) };
        let request = match ListenRequest::read(&query, &self.scheduling) {
            Ok(request) => request,
            Err(errno) => return out.push(refuse(errno)),
        };
        if asking.listeners.len() >= self.limit {
            return out.push(refuse(EMFILE));
        }
        // A second server at the same address gets a socket of its own, so that it fails as it
        // would in a process without workers.
        let named = self.names.get(&request.key).copied();
        let joins = named.filter(|listener| !asking.listeners.contains(listener));
        let brought = match joins.and_then(|listener| self.all.get(&listener)) {
            Some(listener) if listener.data.is_none() => query.data.len(),
            Some(_) => 0,
            None => query.data.len() + query.address.as_ref().map_or(0, String::len),
        };
        if asking.kept + brought > MAX_BYTES {
            return out.push(refuse(ENOBUFS));
        }
        asking.kept += brought;
        if let Some(listener) = joins {
            asking.listeners.insert(listener);
            return self.join(worker, listener, query, brought, out);
        }
        // After four thousand million listeners the numbers are used up.
        let Some(next) = self.next.checked_add(1) else {
            asking.kept -= brought;
            return out.push(refuse(EMFILE));
        };
        let listener = ListenerId(self.next);
        self.next = next;
        asking.listeners.insert(listener);
        // Named at once, so that others who ask before it is open wait for it. But a listener
        // that works does not lose its name to one that may fail.
        self.names.entry(request.key.clone()).or_insert(listener);
        let state = State::Opening(vec![(worker, query.seq)]);
        let ListenerSpec { sharing, plan, .. } = &request.spec;
        let (sharing, hand_over) = (*sharing, plan.hand_over().filter(|_| !sharing.gives_socket()));
        let kept = vec![(worker, brought)];
        let opening = Listener { key: request.key, sharing, data: query.data, kept, hand_over, state };
        self.all.insert(listener, opening);
        out.push(Output::Open { listener, spec: request.spec });
    }

    /// Adds a worker to a listener that it knows of already.
    fn join(
        &mut self,
        worker: WorkerId,
        id: ListenerId,
        query: Query,
        brought: usize,
        out: &mut Vec<Output>,
    ) {
        let Some(listener) = self.all.get_mut(&id) else {
            return;
        };
        if listener.data.is_none() {
            listener.data = query.data;
            listener.kept.push((worker, brought));
        }
        match &mut listener.state {
            State::Opening(waiting) => waiting.push((worker, query.seq)),
            State::Open { members, vacancy, .. } => {
                members.insert(worker, false);
                *vacancy = None;
                listener.welcome(id, worker, query.seq, out);
            }
        }
    }

    fn opened(&mut self, id: ListenerId, result: Result<Opened, i32>, out: &mut Vec<Output>) {
        let Some(listener) = self.all.get_mut(&id) else {
            return;
        };
        let State::Opening(waiting) = &mut listener.state else {
            return;
        };
        let waiting = std::mem::take(waiting);
        match result {
            Ok(_) if waiting.is_empty() => self.close(id, out),
            Ok(opened) => {
                let members = waiting.iter().map(|&(worker, _)| (worker, false)).collect();
                listener.state = State::Open { opened, members, vacancy: None };
                self.names.insert(listener.key.clone(), id);
                for (worker, seq) in waiting {
                    listener.welcome(id, worker, seq, out);
                }
            }
            Err(errno) => {
                for (worker, seq) in waiting {
                    let data = listener.data.clone();
                    out.push(Output::Reply { worker, reply: Reply { data, ..Reply::refusal(seq, errno) } });
                    if let Some(worker) = self.workers.get_mut(&worker) {
                        worker.listeners.remove(&id);
                    }
                }
                self.forget(id);
            }
        }
    }

    fn close_server(&mut self, worker: WorkerId, id: ListenerId, out: &mut Vec<Output>) {
        // A worker that still waits for its listener cannot know its number, so it is not closing.
        let Some(State::Open { members, .. }) = self.all.get(&id).map(|listener| &listener.state) else {
            return;
        };
        if members.contains_key(&worker) {
            self.withdraw(worker, id, None, out);
        }
    }

    /// A worker is ready for connections. Not before: the reply and a connection travel on
    /// different sockets, so the connection could come first and find no server.
    fn listening(&mut self, worker: WorkerId, id: ListenerId, out: &mut Vec<Output>) {
        let Some(listener) = self.all.get_mut(&id) else {
            return;
        };
        let State::Open { members, .. } = &mut listener.state else {
            return;
        };
        let before = sole(members);
        let Some(up) = members.get_mut(&worker) else {
            return;
        };
        if !std::mem::replace(up, true) && listener.sharing.has_dispatcher() {
            out.push(Output::Join { worker, listener: id });
        }
        let after = sole(members);
        if let Some(worker) = self.workers.get_mut(&worker)
            && worker.phase == Phase::Starting
        {
            worker.phase = Phase::Serving;
            worker.up = Some(self.inputs);
        }
        self.count_sole(before, after);
    }

    fn close(&mut self, id: ListenerId, out: &mut Vec<Output>) {
        self.forget(id);
        out.push(Output::CloseListener { listener: id });
    }

    fn forget(&mut self, id: ListenerId) {
        let Some(listener) = self.all.remove(&id) else {
            return;
        };
        for (worker, bytes) in &listener.kept {
            if let Some(worker) = self.workers.get_mut(worker) {
                worker.kept -= bytes;
            }
        }
        // The name may be another's by now, or never have been its own.
        if self.names.get(&listener.key) == Some(&id) {
            self.names.remove(&listener.key);
        }
    }
}

/// The only member whose server is up, if there is just one.
fn sole(members: &BTreeMap<WorkerId, bool>) -> Option<WorkerId> {
    let mut up = members.iter().filter_map(|(&worker, &up)| up.then_some(worker));
    up.next().filter(|_| up.next().is_none())
}

impl Worker {
    fn starting() -> Self {
        Self { phase: Phase::Starting, alive: true, listeners: BTreeSet::new(), kept: 0, up: None, sole: 0 }
    }
}

impl Listener {
    /// Tells a worker that it is a member. Connections come once it has said that it listens.
    fn welcome(&self, id: ListenerId, worker: WorkerId, seq: u32, out: &mut Vec<Output>) {
        let State::Open { opened, .. } = &self.state else {
            return;
        };
        let reply = Reply {
            seq,
            errno: 0,
            listener: Some(id),
            kind: Some(opened.kind),
            shared: self.sharing.gives_socket(),
            per_slot: self.sharing == Sharing::PerSlot,
            hand_over: self.hand_over.clone(),
            sockname: opened.sockname.clone(),
            data: self.data.clone(),
        };
        out.push(Output::Reply { worker, reply });
    }
}

#[cfg(test)]
mod tests;
