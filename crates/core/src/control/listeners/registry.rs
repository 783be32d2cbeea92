//! The state machine behind [`Listeners`].

mod departures;
mod invariants;
mod vacancy;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::request::{Key, ResolvedRequest, Sharing};
use super::{Input, ListenerSpec, MAX_BYTES, MAX_LISTENERS, Opened, Output};
use crate::frames::{Data, EMFILE, ENOBUFS, ListenRequest, Reply};
use crate::ids::{ListenerId, WorkerId};
use crate::schedule::{By, Scheduling};

#[derive(Debug)]
struct Listener {
    key: Key,
    sharing: Sharing,
    /// The custom data of the first member that sent any.
    data: Data,
    /// The number of kept bytes that each worker has sent.
    kept: Vec<(WorkerId, usize)>,
    /// See [`Reply::hand_over`].
    hand_over: Option<By>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Being opened: the waiting workers, and the numbers of their requests.
    Opening(Vec<(WorkerId, u32)>),
    Open {
        opened: Opened,
        /// Its workers, and whether the server of each is up: only then it gets connections.
        members: BTreeMap<WorkerId, bool>,
        /// Present if and only if there are no members.
        vacancy: Option<Vacancy>,
    },
}

/// A listener without members: its last worker has died, or leaves while a replacement is expected.
#[derive(Clone, Copy, Debug)]
struct Vacancy {
    /// The last worker. The app may answer its end with a replacement.
    of: WorkerId,
    /// When to close it. `None` until the app has been notified of the worker's end: a primary whose
    /// JavaScript is busy could not have forked a replacement earlier.
    until: Option<Duration>,
    /// The number of the input that left it without members.
    since: u64,
    /// Whether a replacement of the last worker is coming, which may open it.
    replaced: bool,
}

/// A worker, until the app has been notified of its end.
#[derive(Debug)]
struct Worker {
    phase: Phase,
    alive: bool,
    /// The listeners of which it is a member, or for which it waits.
    listeners: BTreeSet<ListenerId>,
    /// The bytes kept for it, at most [`MAX_BYTES`].
    kept: usize,
    /// The number of the input with which its first server was up.
    up: Option<u64>,
    /// The number of listeners on which only its server is up.
    sole: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// None of its servers is up, so it may still want any listener. If it dies in this phase, it counts
    /// until the app has been notified, because its replacement may want one as well.
    Starting,
    /// It has a server. It could also open any other listener that it wants next.
    Serving,
    /// It is leaving, and gets nothing new.
    Leaving,
}

/// The registry of listeners.
#[derive(Debug)]
pub struct Listeners {
    scheduling: Scheduling,
    next: u32,
    /// The listener that a listen request with this key joins. A listener may be missing here although it has
    /// members, if another listener has taken over its key.
    names: BTreeMap<Key, ListenerId>,
    all: BTreeMap<ListenerId, Listener>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Supervision is going to start workers.
    expecting: bool,
    /// The largest number of listeners of one worker.
    limit: usize,
    /// The number of inputs so far.
    inputs: u64,
    /// The workers for which the result of [`Listeners::sole_servers`] has changed.
    sole_changed: BTreeSet<WorkerId>,
}

impl Listeners {
    /// Creates an empty registry. `scheduling` says, among other things, on which listeners workers accept by
    /// themselves. Datagram sockets are always shared.
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

    /// Sets the largest number of listeners of one worker, at most [`MAX_LISTENERS`]. Requests beyond it get
    /// `EMFILE`.
    pub fn limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_LISTENERS);
    }

    /// Processes an input at the time `now`, counted from any fixed moment, and appends the outputs to `out`,
    /// in order.
    pub fn handle(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        self.inputs += 1;
        match input {
            Input::WorkerStarted { worker } => {
                self.workers.entry(worker).or_insert_with(Worker::starting);
            }
            Input::Listen { worker, request } => self.listen(worker, request, out),
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

    /// When to give [`Input::Tick`], if at all.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.expecting {
            return None;
        }
        self.vacancies().filter_map(|(_, vacancy)| vacancy.until).min()
    }

    /// The number of listeners that are open or being opened.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is no listener.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The last value of [`Input::Expecting`].
    #[must_use]
    pub fn is_expecting(&self) -> bool {
        self.expecting
    }

    /// Whether a worker is a member of a listener, or waits for it to be opened.
    #[must_use]
    pub fn is_member(&self, worker: WorkerId, listener: ListenerId) -> bool {
        self.workers.get(&worker).is_some_and(|worker| worker.listeners.contains(&listener))
    }

    fn listen(&mut self, worker: WorkerId, request: ListenRequest, out: &mut Vec<Output>) {
        // A worker that disconnects may still send a listen request. Like Node, leave it unanswered: the app
        // must not see a server come up that gets no connections.
        let Some(asking) = self.workers.get_mut(&worker) else {
            return;
        };
        if !asking.alive || asking.phase == Phase::Leaving {
            return;
        }
        let refuse = |errno| Output::Reply { worker, reply: Reply::refusal(request.seq, errno) };
        let resolved = match ResolvedRequest::read(&request, &self.scheduling) {
            Ok(resolved) => resolved,
            Err(errno) => return out.push(refuse(errno)),
        };
        if asking.listeners.len() >= self.limit {
            return out.push(refuse(EMFILE));
        }
        // A second server of a worker at the same address gets a socket of its own, so that it fails as it
        // would in a process without workers.
        let named = self.names.get(&resolved.key).copied();
        let joins = named.filter(|listener| !asking.listeners.contains(listener));
        let brought = match joins.and_then(|listener| self.all.get(&listener)) {
            Some(listener) if listener.data.is_none() => request.data.len(),
            Some(_) => 0,
            None => request.data.len() + request.address.as_ref().map_or(0, String::len),
        };
        if asking.kept + brought > MAX_BYTES {
            return out.push(refuse(ENOBUFS));
        }
        asking.kept += brought;
        if let Some(listener) = joins {
            asking.listeners.insert(listener);
            return self.join(worker, listener, request, brought, out);
        }
        // The numbers are exhausted after four billion listeners.
        let Some(next) = self.next.checked_add(1) else {
            asking.kept -= brought;
            return out.push(refuse(EMFILE));
        };
        let listener = ListenerId(self.next);
        self.next = next;
        asking.listeners.insert(listener);
        // Registered at once, so that requests which come before it is open wait for it. But a working
        // listener does not lose its key to one that may fail to open.
        self.names.entry(resolved.key.clone()).or_insert(listener);
        let state = State::Opening(vec![(worker, request.seq)]);
        let ListenerSpec { sharing, plan, .. } = &resolved.spec;
        let (sharing, hand_over) = (*sharing, plan.hand_over().filter(|_| !sharing.gives_socket()));
        let kept = vec![(worker, brought)];
        let opening = Listener { key: resolved.key, sharing, data: request.data, kept, hand_over, state };
        self.all.insert(listener, opening);
        out.push(Output::Open { listener, spec: resolved.spec });
    }

    /// Adds a worker to an existing listener.
    fn join(
        &mut self,
        worker: WorkerId,
        id: ListenerId,
        request: ListenRequest,
        brought: usize,
        out: &mut Vec<Output>,
    ) {
        let Some(listener) = self.all.get_mut(&id) else {
            return;
        };
        if listener.data.is_none() {
            listener.data = request.data;
            listener.kept.push((worker, brought));
        }
        match &mut listener.state {
            State::Opening(waiting) => waiting.push((worker, request.seq)),
            State::Open { members, vacancy, .. } => {
                members.insert(worker, false);
                *vacancy = None;
                listener.welcome(id, worker, request.seq, out);
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
        // A worker that still waits for its listener cannot know the listener's number, so this is not a
        // close.
        let Some(State::Open { members, .. }) = self.all.get(&id).map(|listener| &listener.state) else {
            return;
        };
        if members.contains_key(&worker) {
            self.withdraw(worker, id, None, out);
        }
    }

    /// A worker is ready for connections. Connections must not be passed earlier: the reply and a connection
    /// travel on different sockets, so the connection could arrive first and find no server.
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
        // The key may belong to another listener by now.
        if self.names.get(&listener.key) == Some(&id) {
            self.names.remove(&listener.key);
        }
    }
}

/// The only member whose server is up, if there is exactly one.
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
    /// Sends a worker the reply that it is a member. It gets connections once it has reported that it
    /// listens.
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
