//! The side of the primary for locks: it reads what processes ask for on their rings, and tells them by messages.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::shell::NAME;
use rcluster_core::ids::WorkerId;
use rcluster_core::locks::wire::{Ask, Kind, LONGEST, Message, decode};
use rcluster_core::locks::{ClientId, Event, Listed, Locks, MAX_REQUESTS, Mode, RequestId, Space};
use rcluster_core::store::ops::{Outcome, Status};
use rcluster_core::store::ring::{Inbox, Wanted, page_words};
use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::{Interest, Poller, Waker};
use rcluster_sys::error::SysError;
use rcluster_sys::passing::{Sent, duplicate, send};
use rcluster_sys::segment::Segment;

/// How many requests of one process are served before it is the turn of the next one.
const TURN: usize = 128;

/// How many turns a process gets after it has hung up: more than the ring holds.
const LAST_TURNS: usize = 16;

/// How many connections one worker may have. It needs one for each copy of this package that it loads.
const MAX_OPEN: usize = 16;

/// How many messages may wait for a process. One that is blocked and keeps the rules has fewer: each request that it has
/// made ends by one message, and is granted by one.
const MAX_OUTBOX: usize = 4 * MAX_REQUESTS;

/// How many bytes of an answer to a query go into one message, about.
const PART: usize = 16 << 10;

/// A process that uses locks.
struct Client {
    inbox: Inbox<Segment>,
    /// Never read, because the process has it as well.
    bell: Waker,
    socket: Descriptor,
    worker: Option<WorkerId>,
    /// What the socket had no room for.
    outbox: VecDeque<Vec<u8>>,
    /// Whether an answer to a query may be in the outbox.
    lists: bool,
}

/// The process breaks the rules, and is cut off.
struct Broken;

/// See the module. Clients are known by the token of their bell in the poller; the next one is that of their socket.
#[derive(Default)]
pub(super) struct LockRoom {
    /// Made for the first client.
    locks: Option<Locks>,
    clients: BTreeMap<u64, Client>,
    request: Vec<u8>,
}

impl LockRoom {
    /// Whether a worker may have another connection.
    pub(super) fn has_room_for(&self, worker: Option<WorkerId>) -> bool {
        let open = self.clients.values().filter(|client| client.worker == worker).count();
        worker.is_none() || open < MAX_OPEN
    }

    /// Makes what a process needs to ask for locks, and sends it.
    pub(super) fn admit(
        &mut self,
        poller: &Poller,
        token: u64,
        socket: Descriptor,
        worker: Option<WorkerId>,
    ) -> Result<(), (Descriptor, SysError)> {
        match prepare(poller, token, &socket) {
            Ok((inbox, bell)) => {
                // Tokens rise from one primary to the next, too, as long as the system's clock does.
                let locks = self.locks.get_or_insert_with(|| Locks::new(microseconds_since_1970()));
                locks.join(ClientId(token));
                let outbox = VecDeque::new();
                let client = Client { inbox, bell, socket, worker, outbox, lists: false };
                self.clients.insert(token, client);
                Ok(())
            }
            Err(error) => Err((socket, error)),
        }
    }

    /// The thread is awake, and need not be woken.
    pub(super) fn wake(&self) {
        self.clients.values().for_each(|client| client.inbox.wake());
    }

    /// Everybody is told that the thread sleeps. False if somebody has asked for something meanwhile.
    pub(super) fn sleep(&self) -> bool {
        self.clients.values().fold(true, |asleep, client| client.inbox.sleep() & asleep)
    }

    /// Serves some requests. True if there may be more.
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

    /// There is room again in the socket of a client.
    pub(super) fn on_room(&mut self, poller: &Poller, token: u64) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.flush(poller, token);
        }
    }

    /// A client has hung up, or is dead.
    pub(super) fn remove(&mut self, poller: &Poller, token: u64) {
        // What a process has asked for before its end is done.
        for _ in 0..LAST_TURNS {
            if !matches!(self.serve(poller, token), Ok(true)) {
                break;
            }
        }
        self.drop_client(poller, token);
        self.tell(poller);
    }

    /// A worker is dead. Its socket has told so already, unless somebody else holds it as well.
    pub(super) fn on_exit(&mut self, poller: &Poller, worker: WorkerId) {
        let its = self.clients.iter().filter(|(_, client)| client.worker == Some(worker));
        let tokens: Vec<u64> = its.map(|(token, _)| *token).collect();
        for token in tokens {
            self.remove(poller, token);
        }
    }

    fn serve(&mut self, poller: &Poller, token: u64) -> Result<bool, Broken> {
        let (Some(client), Some(locks)) = (self.clients.get_mut(&token), &mut self.locks) else {
            return Ok(false);
        };
        let id = ClientId(token);
        let mut count = 0;
        let mut query = None;
        while count < TURN && client.inbox.next(&mut self.request).map_err(|_| Broken)? {
            count += 1;
            match decode(&self.request).ok_or(Broken)? {
                Ask::Request(request, what) => locks.request(id, request, &what).map_err(|_| Broken)?,
                Ask::End(request) => locks.end(id, request),
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
            client.inbox.answer(Outcome { status: Status::Done, revision: 0, number: 0.0 });
            if query.is_some() {
                break;
            }
        }
        if count > 0 && client.inbox.take_wanted(Wanted::Answers) {
            client.tell(poller, token, vec![0]);
        }
        if let Some(request) = query {
            self.tell(poller);
            self.list(poller, token, request);
            return Ok(true);
        }
        Ok(count == TURN)
    }

    /// Answers a query.
    fn list(&mut self, poller: &Poller, token: u64, request: RequestId) {
        let all = self.locks.as_ref().map(|locks| locks.snapshot(Space::Lock)).unwrap_or_default();
        let mut parts = vec![String::new()];
        for listed in all {
            let text = self.describe(&listed);
            let last = parts.last_mut().filter(|part| part.is_empty() || part.len() + text.len() < PART);
            match last {
                Some(part) if part.is_empty() => part.push_str(&text),
                Some(part) => part.extend([",", &text]),
                None => parts.push(text),
            }
        }
        let Some(client) = self.clients.get_mut(&token) else { return };
        let count = parts.len() as u64;
        for (part, number) in parts.iter().zip((0..count).rev()) {
            let text = format!("[{part}]");
            let message = Message { kind: Kind::Listed, request, number, text: text.as_bytes() };
            client.tell(poller, token, message.encode());
        }
        if client.outbox.is_empty() {
            client.lists = false;
        }
    }

    fn describe(&self, listed: &Listed) -> String {
        let worker = self.clients.get(&listed.client.0).and_then(|client| client.worker);
        json!({
            "name": String::from_utf8_lossy(&listed.name),
            "mode": if listed.mode == Mode::Shared { "shared" } else { "exclusive" },
            "worker": worker.map_or(0, |worker| worker.0),
            "token": listed.token,
        })
        .to_string()
    }

    /// Tells what has happened.
    fn tell(&mut self, poller: &Poller) {
        loop {
            let events = self.locks.as_mut().map(Locks::take_events).unwrap_or_default();
            if events.is_empty() {
                return;
            }
            let mut flooded = Vec::new();
            for Event { client: ClientId(token), request, news } in events {
                let Some(client) = self.clients.get_mut(&token) else { continue };
                client.tell(poller, token, Message::of(request, &news).encode());
                if client.outbox.len() > MAX_OUTBOX {
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
        // Both are registered; what the system says about their end is of no use.
        let _ = poller.remove(&client.bell);
        let _ = poller.remove(&client.socket);
        if let Some(locks) = &mut self.locks {
            locks.leave(ClientId(token));
        }
    }
}

impl Client {
    fn tell(&mut self, poller: &Poller, token: u64, message: Vec<u8>) {
        let waits = !self.outbox.is_empty();
        self.outbox.push_back(message);
        if !waits {
            self.flush(poller, token);
        }
    }

    fn flush(&mut self, poller: &Poller, token: u64) {
        let waited = self.outbox.len() > 1;
        while let Some(message) = self.outbox.front() {
            match send(self.socket.as_fd(), message, &[]) {
                Ok(Sent::Full | Sent::TooManyOnTheirWay) => {
                    // Its end is told whatever comes of this; a process that is not told of room is cut off when it
                    // has too many messages.
                    let _ = poller.change(&self.socket, token + 1, Interest::NewsAndRoom);
                    return;
                }
                // Gone: its end is told by its socket.
                Ok(Sent::Done) | Err(_) => {}
            }
            self.outbox.pop_front();
        }
        self.lists = false;
        if waited {
            let _ = poller.change(&self.socket, token + 1, Interest::News);
        }
    }
}

fn microseconds_since_1970() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or_default()
}

fn prepare(poller: &Poller, token: u64, socket: &Descriptor) -> Result<(Inbox<Segment>, Waker), SysError> {
    let (page, page_fd) = Segment::create_shared(NAME, page_words(LONGEST))?;
    let inbox = Inbox::new(page).ok_or(SysError::invalid("making a page for requests"))?;
    let bell = Waker::new()?;
    let fds = [page_fd, duplicate(&bell)?];
    poller.watch(&bell, token, Interest::News)?;
    if let Err(error) = poller.watch(socket, token + 1, Interest::News) {
        let _ = poller.remove(&bell);
        return Err(error);
    }
    // It is told that this thread sleeps before it can ask for anything.
    let _nothing_there = inbox.sleep();
    let sent = send(socket.as_fd(), b"{}", &fds);
    if let Err(error) = sent {
        let _ = poller.remove(&bell);
        let _ = poller.remove(socket);
        return Err(error);
    }
    Ok((inbox, bell))
}
