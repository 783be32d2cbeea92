//! The primary's side of locks: reads requests from the rings of processes and answers with messages.

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::deadlines::Deadlines;
use super::leases::LeaseRoom;
use super::peer::{Broken, Peer};
use crate::io::redis::LeaseServer;
use rcluster_core::exchange::{Process, Scope};
use rcluster_core::ids::WorkerId;
use rcluster_core::leases::Output as LeaseOutput;
use rcluster_core::locks::wire::{Ask, Kind, LONGEST, Message, decode};
use rcluster_core::locks::{
    ClientId, Event, Listed, Locks, MAX_OUTCOME, MAX_REQUESTS, Mode, Notice, RequestId, Space,
};
use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::Poller;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::Sent;

/// The maximum number of requests served for one process before the next process gets its turn.
const TURN: usize = 128;

/// How many turns a process gets after it has hung up: enough to empty the ring.
const LAST_TURNS: usize = 16;

/// The maximum number of connections of one worker. It needs one for each copy of this package that it loads.
const MAX_OPEN: usize = 16;

/// The maximum number of messages queued for one process. A blocked process that keeps the rules stays below
/// it: each of its requests causes at most one message that grants it, or refuses it, and one that ends it.
const MAX_OUTBOX: usize = 4 * MAX_REQUESTS;

/// The maximum number of bytes queued for one worker, on all its connections: enough for the longest outcomes of all its
/// requests, and for the answer to a query.
const MAX_UNREAD: usize = MAX_REQUESTS * MAX_OUTCOME + (16 << 20);

/// The approximate size of one message of a query's answer, in bytes.
const PART: usize = 16 << 10;

/// A process that uses locks.
struct Client {
    peer: Peer,
    /// Messages for which the socket had no room.
    outbox: VecDeque<Vec<u8>>,
    /// Their length.
    unread: usize,
    /// Whether the outbox may contain an answer to a query.
    lists: bool,
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct LockRoom {
    /// Created with the first client.
    locks: Option<Locks>,
    clients: BTreeMap<u64, Client>,
    request: Vec<u8>,
    leases: LeaseRoom,
}

impl LockRoom {
    /// Whether a worker may open another connection.
    pub(super) fn has_room_for(&self, worker: Option<WorkerId>) -> bool {
        let open = self.clients.values().filter(|client| client.peer.worker == worker).count();
        worker.is_none() || open < MAX_OPEN
    }

    /// Creates the link of a process and sends it.
    pub(super) fn admit(
        &mut self,
        poller: &Poller,
        token: u64,
        socket: Descriptor,
        worker: Option<WorkerId>,
    ) -> Result<(), (Descriptor, SysError)> {
        let (deadlines, fd) = match Deadlines::new() {
            Ok(made) => made,
            Err(error) => return Err((socket, error)),
        };
        let peer = Peer::admit(poller, token, socket, worker, LONGEST, vec![fd])?;
        // Fencing tokens also rise from one primary to the next, provided that the system clock does.
        let locks = self.locks.get_or_insert_with(|| Locks::new(microseconds_since_1970()));
        locks.join(ClientId(token));
        self.leases.on_join(token, deadlines);
        self.clients.insert(token, Client { peer, outbox: VecDeque::new(), unread: 0, lists: false });
        Ok(())
    }

    /// Sets the server that grants leases.
    pub(super) fn set_server(&mut self, server: LeaseServer) {
        self.leases.set_server(server);
    }

    /// Applies decisions about leases.
    pub(super) fn on_leased(&mut self, poller: &Poller, outputs: Vec<LeaseOutput>) {
        for output in outputs {
            let (id, kind, number, text) = match output {
                LeaseOutput::Granted { id, token, until } => {
                    self.leases.set_deadline(id, until);
                    (id, Kind::Granted, token, String::new())
                }
                LeaseOutput::Renewed { id, until } => {
                    self.leases.set_deadline(id, until);
                    continue;
                }
                LeaseOutput::Unavailable(id) => (id, Kind::Unavailable, 0, String::new()),
                LeaseOutput::Lost(id) => (id, Kind::Lost, 0, String::new()),
                LeaseOutput::Disconnected(id, why) => (id, Kind::Disconnected, 0, why),
                LeaseOutput::Over(id) => {
                    self.leases.on_over(id);
                    continue;
                }
                // These are for the server, not for a process.
                LeaseOutput::Open | LeaseOutput::Close | LeaseOutput::Beat | LeaseOutput::Ask(_) => continue,
            };
            let Some((token, request)) = self.leases.owner(id) else { continue };
            if kind == Kind::Granted {
                self.leases.on_granted((token, request), number);
            } else {
                self.leases.on_end((token, request));
                if let Some(locks) = &mut self.locks {
                    locks.end(ClientId(token), request);
                }
            }
            if let Some(client) = self.clients.get_mut(&token) {
                client.tell(poller, Message { kind, request, number, text: text.as_bytes() }.encode());
            }
        }
        self.tell(poller);
    }

    /// Marks the thread as awake, so that processes do not wake it.
    pub(super) fn wake(&self) {
        self.clients.values().for_each(|client| client.peer.inbox.wake());
    }

    /// Announces to all clients that the thread sleeps. Returns false if a request has arrived meanwhile.
    pub(super) fn sleep(&self) -> bool {
        self.clients.values().fold(true, |asleep, client| {
            // Requests that are held back for lack of room are read when leases are over.
            (client.peer.inbox.sleep() || !self.leases.has_room_for(client.peer.worker)) & asleep
        })
    }

    /// See [`Peer::admit_requests`].
    pub(super) fn admit_requests(&mut self) {
        self.clients.values_mut().for_each(|client| client.peer.admit_requests());
    }

    /// Serves some requests. Returns true if there may be more.
    pub(super) fn work(&mut self, poller: &Poller) -> bool {
        let mut more = false;
        let tokens: Vec<u64> = self.clients.keys().copied().collect();
        for token in tokens {
            match self.serve(poller, token) {
                Ok(served) => more |= served,
                Err(Broken) => self.drop_client(poller, token),
            }
        }
        self.tell(poller);
        more
    }

    /// The socket of a client has room again.
    pub(super) fn on_room(&mut self, poller: &Poller, token: u64) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.flush(poller);
        }
    }

    /// A client has hung up or died.
    pub(super) fn remove(&mut self, poller: &Poller, token: u64) {
        // Requests that the process made before its end are still carried out.
        if let Some(client) = self.clients.get_mut(&token) {
            client.peer.admit_requests();
        }
        for _ in 0..LAST_TURNS {
            if !matches!(self.serve(poller, token), Ok(true)) {
                break;
            }
        }
        self.drop_client(poller, token);
        self.tell(poller);
    }

    /// A worker has died. Its socket has reported that already, unless another process also holds the socket.
    pub(super) fn on_exit(&mut self, poller: &Poller, worker: WorkerId) {
        let its = self.clients.iter().filter(|(_, client)| client.peer.worker == Some(worker));
        let tokens: Vec<u64> = its.map(|(token, _)| *token).collect();
        for token in tokens {
            self.remove(poller, token);
        }
    }

    /// The process that holds the leadership of this name, on this machine or among all.
    pub(super) fn leader(&self, scope: Scope, name: &[u8]) -> Option<Process> {
        let locks = self.locks.as_ref()?;
        let (ClientId(token), request) = match scope {
            Scope::Machine => locks.holder(Space::Lead, name)?,
            Scope::All => locks.holder(Space::LeasedLead, name)?,
        };
        if scope == Scope::All {
            // Having the turn on this machine is not enough: the lease counts.
            self.leases.token((token, request))?;
        }
        let client = self.clients.get(&token)?;
        Some(client.peer.worker.map_or(Process::Primary, Process::Worker))
    }

    fn serve(&mut self, poller: &Poller, token: u64) -> Result<bool, Broken> {
        let (Some(client), Some(locks)) = (self.clients.get_mut(&token), &mut self.locks) else {
            return Ok(false);
        };
        let id = ClientId(token);
        let mut count = 0;
        let mut query = None;
        let worker = client.peer.worker;
        while count < TURN && self.leases.has_room_for(worker) && client.peer.next(&mut self.request)? {
            count += 1;
            match decode(&self.request).ok_or(Broken)? {
                Ask::Request(request, what) => locks.request(id, request, &what).map_err(|_| Broken)?,
                Ask::Lease(request, ..) if !self.leases.has_server() => {
                    let message = Message { kind: Kind::NoBackend, request, number: 0, text: b"" };
                    client.tell(poller, message.encode());
                }
                Ask::Lease(_, _, terms) if !Deadlines::has(terms.place) => return Err(Broken),
                Ask::Lease(request, what, terms) => {
                    locks.request(id, request, &what).map_err(|_| Broken)?;
                    self.leases.on_request((token, request), worker, &what, terms);
                }
                Ask::End(request) => {
                    locks.end(id, request);
                    self.leases.on_end((token, request));
                }
                Ask::Settle(request, outcome) => {
                    locks.settle(id, request, outcome).map_err(|_| Broken)?;
                }
                Ask::Query(request) => {
                    if std::mem::replace(&mut client.lists, true) {
                        return Err(Broken);
                    }
                    query = Some(request);
                }
            }
            client.peer.make_room();
            if query.is_some() {
                break;
            }
        }
        if count > 0 && client.peer.waits_for_answers() {
            client.tell(poller, vec![0]);
        }
        if self.is_flooded(token) {
            return Err(Broken);
        }
        if let Some(request) = query {
            self.tell(poller);
            self.list(poller, token, request)?;
            return Ok(true);
        }
        Ok(count == TURN)
    }

    /// Whether so much is queued for a process that it does not keep the rules, or for its worker.
    fn is_flooded(&self, token: u64) -> bool {
        let Some(client) = self.clients.get(&token) else { return false };
        let worker = client.peer.worker;
        // No sum is needed as long as all connections together cannot have too much.
        let may_be = worker.is_some() && client.unread > MAX_UNREAD / MAX_OPEN;
        let its = || self.clients.values().filter(|other| other.peer.worker == worker);
        client.outbox.len() > MAX_OUTBOX
            || (may_be && its().map(|other| other.unread).sum::<usize>() > MAX_UNREAD)
    }

    /// Answers a query, in as many messages as needed.
    fn list(&mut self, poller: &Poller, token: u64, request: RequestId) -> Result<(), Broken> {
        let listed_in = |space| self.locks.as_ref().map(|locks| locks.snapshot(space)).unwrap_or_default();
        let mut parts = vec![String::new()];
        let all = [Space::Lock, Space::LeasedLock]
            .into_iter()
            .flat_map(|space| listed_in(space).into_iter().map(move |listed| (space, listed)));
        for (space, listed) in all {
            let text = self.describe(space, &listed);
            let last = parts.last_mut().filter(|part| part.is_empty() || part.len() + text.len() < PART);
            match last {
                Some(part) if part.is_empty() => part.push_str(&text),
                Some(part) => part.extend([",", &text]),
                None => parts.push(text),
            }
        }
        let Some(client) = self.clients.get_mut(&token) else { return Ok(()) };
        let count = parts.len() as u64;
        for (part, number) in parts.iter().zip((0..count).rev()) {
            let text = format!("[{part}]");
            let message = Message { kind: Kind::Listed, request, number, text: text.as_bytes() };
            client.tell(poller, message.encode());
        }
        if client.outbox.is_empty() {
            client.lists = false;
        }
        if self.is_flooded(token) { Err(Broken) } else { Ok(()) }
    }

    fn describe(&self, space: Space, listed: &Listed) -> String {
        let is_leased = space.leased().is_some();
        let token = match listed.token {
            // Holding the lock on this machine is not enough: the lease counts.
            Some(_) if is_leased => self.leases.token((listed.client.0, listed.request)),
            token => token,
        };
        let worker = self.clients.get(&listed.client.0).and_then(|client| client.peer.worker);
        json!({
            "name": String::from_utf8_lossy(&listed.name),
            "mode": if listed.mode == Mode::Shared { "shared" } else { "exclusive" },
            "worker": worker.map_or(0, |worker| worker.0),
            "token": token,
            "scope": if is_leased { "all" } else { "machine" },
        })
        .to_string()
    }

    /// Sends the events of the locks to their clients.
    fn tell(&mut self, poller: &Poller) {
        loop {
            let events = self.locks.as_mut().map(Locks::take_events).unwrap_or_default();
            if events.is_empty() {
                return;
            }
            let mut flooded = Vec::new();
            for Event { client: ClientId(token), request, notice } in events {
                match notice {
                    Notice::Granted { .. } if self.leases.on_turn((token, request)) => continue,
                    Notice::Granted { .. } | Notice::Settled(_) => {}
                    Notice::Unavailable | Notice::Stolen | Notice::TooMany => {
                        self.leases.on_end((token, request));
                    }
                }
                let Some(client) = self.clients.get_mut(&token) else { continue };
                client.tell(poller, Message::of(request, &notice).encode());
                if self.is_flooded(token) {
                    flooded.push(token);
                }
            }
            for token in flooded {
                self.drop_client(poller, token);
            }
        }
    }

    fn drop_client(&mut self, poller: &Poller, token: u64) {
        let Some(client) = self.clients.remove(&token) else { return };
        client.peer.leave(poller);
        self.leases.on_leave(token);
        if let Some(locks) = &mut self.locks {
            locks.leave(ClientId(token));
        }
    }
}

impl Client {
    fn tell(&mut self, poller: &Poller, message: Vec<u8>) {
        let waits = !self.outbox.is_empty();
        self.unread += message.len();
        self.outbox.push_back(message);
        if !waits {
            self.flush(poller);
        }
    }

    fn flush(&mut self, poller: &Poller) {
        let waited = self.outbox.len() > 1;
        while let Some(message) = self.outbox.front() {
            match self.peer.send(message) {
                Ok(Sent::Full | Sent::TooManyOnTheirWay) => return self.peer.watch_room(poller, true),
                // The process is gone: its socket reports the hang-up.
                Ok(Sent::Done) | Err(_) => {}
            }
            self.unread -= message.len();
            self.outbox.pop_front();
        }
        self.lists = false;
        if waited {
            self.peer.watch_room(poller, false);
        }
    }
}

fn microseconds_since_1970() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or_default()
}
