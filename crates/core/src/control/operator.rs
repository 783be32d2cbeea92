//! The clients of the control socket: their requests, the answers and events, and the limits.
//!
//! Everything sent is a line of JSON. A line with `ok` answers a request, a line with `event` is an event
//! that belongs to one; both carry the `id` that the client gave. docs/control.md describes them.
//!
//! Clients run as the primary's user or as root, and are not trusted further: this module limits lines,
//! clients and unanswered requests; the shell limits the bytes that wait to be written.

mod exits;
mod lines;
mod place;
mod reply;
mod request;
mod status;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

pub use self::exits::{ExitReason, Exits};
pub use self::lines::{Lines, MAX_LINE, TooLong};
pub use self::place::{Place, Surroundings};
pub use self::reply::MAX_ANSWER;
use self::reply::{Done, Shown, Told, text};
pub use self::request::{Id, Refusal, Request, Target, VERBS, VERSION, Verb, Wanted, Workers};
pub use self::status::{
    BackendStatus, CgroupStatus, Cluster, DrainingStatus, LastExit, ListenerStatus, PrimaryStatus,
    ProcessFigures, RecentTurns, SCHEMA, SlotStatus, Status, StoreStatus, Versions,
};
use super::supervise::{Event, ExitKind, Failure, describe};
use crate::base64;
use crate::examine::Examination;
use crate::ids::{self, Slot, WorkerId};

/// The name of the primary's thread that serves the clients. The command recognizes a primary by it that does not answer.
pub const THREAD: &str = "rcluster-ctl";

/// The largest number of clients at a time.
pub const MAX_CLIENTS: usize = 64;

/// The largest number of unanswered requests of one client.
pub const MAX_UNANSWERED: usize = 32;

/// The first number of an operator's request to supervision. The app's requests have lower numbers.
const FIRST: u64 = 1 << 32;

/// A connection to the control socket. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// An event at the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A client with permission has connected.
    Connected(ClientId),
    /// A client sent a line.
    Line {
        /// The client.
        client: ClientId,
        /// The line, without its end.
        line: Vec<u8>,
        /// Facts on which the answer may depend.
        facts: Facts,
    },
    /// A client sent a line that is too long.
    TooLong(ClientId),
    /// A client has shut down writing, and may wait for answers.
    Ended(ClientId),
    /// A client has disconnected.
    Gone(ClientId),
    /// A part of the result of [`Output::Examine`]. [`Input::Found`] ends it.
    Piece {
        /// The client.
        client: ClientId,
        /// Its request.
        id: Id,
        /// The part.
        bytes: Vec<u8>,
    },
    /// An [`Output::Examine`] has finished or failed. [`Input::Found`] follows.
    Examined {
        /// The examined worker; `None` for the primary.
        worker: Option<WorkerId>,
        /// The examination.
        what: Examination,
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// The answer to [`Output::Status`], [`Output::Metrics`], [`Output::Stack`], [`Output::Logs`] or
    /// [`Output::Examine`].
    Found {
        /// The client.
        client: ClientId,
        /// Its request.
        id: Id,
        /// The answer, or the reason why there is none.
        result: Result<Value, Unavailable>,
    },
}

/// Facts about the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The primary's process.
    pub pid: u32,
    /// The number of usable CPUs.
    pub cpus: u32,
}

/// The requested data is not available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The error code.
    pub code: &'static str,
    /// The reason, for people.
    pub message: String,
}

/// An output for the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a line, without its end. Report a client that does not read as [`Input::Gone`].
    Line(ClientId, String),
    /// Close the connection once everything has been sent.
    HangUp(ClientId),
    /// Gather the status document; answer with [`Input::Found`].
    Status(ClientId, Id),
    /// Gather the metrics; answer with [`Input::Found`].
    Metrics(ClientId, Id),
    /// Capture the JavaScript stack of a worker, or of the primary; answer with [`Input::Found`].
    Stack(ClientId, Id, Option<WorkerId>),
    /// Gather lines that workers have written; answer with [`Input::Found`], and then send new lines if
    /// requested. It replaces what the client has followed before.
    Logs(ClientId, Id, Wanted),
    /// Examine a worker or the primary; answer with [`Input::Piece`] and [`Input::Found`].
    Examine {
        /// The client.
        client: ClientId,
        /// Its request.
        id: Id,
        /// The worker; `None` for the primary.
        worker: Option<WorkerId>,
        /// The examination.
        what: Examination,
    },
}

#[derive(Debug, Default)]
struct Client {
    /// The request with which it watches.
    watch: Option<Id>,
    unanswered: usize,
    /// It has shut down writing.
    ended: bool,
    heard: Duration,
}

/// A request to supervision.
#[derive(Debug)]
struct Pending {
    client: ClientId,
    id: Id,
    /// The slot of the request; `None` for all.
    slot: Option<Slot>,
    /// Whether the primary exits when it is done.
    stops: bool,
}

/// The clients and their requests: see the module.
#[derive(Debug, Default)]
pub(super) struct Operators {
    clients: BTreeMap<ClientId, Client>,
    pending: BTreeMap<ids::Request, Pending>,
    requests: u64,
    outbox: Vec<Output>,
}

impl Operators {
    pub(super) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outbox)
    }

    /// Accepts a client. If there are too many, it replaces the one that has been idle for longest.
    pub(super) fn on_connected(&mut self, now: Duration, id: ClientId) {
        if self.clients.len() >= MAX_CLIENTS {
            let idle = self.clients.iter().filter(|(_, it)| it.watch.is_none() && it.unanswered == 0);
            match idle.min_by_key(|(_, it)| it.heard).map(|(id, _)| *id) {
                Some(idle) => self.hang_up(idle, "ERR_RCLUSTER_BUSY", "another client needs the place"),
                None => {
                    return self.hang_up(id, "ERR_RCLUSTER_BUSY", "all places for clients are taken");
                }
            }
        }
        self.clients.insert(id, Client { heard: now, ..Client::default() });
    }

    /// Reads a request. Invalid ones are refused here.
    pub(super) fn on_line(&mut self, now: Duration, client: ClientId, line: &[u8]) -> Option<Request> {
        let known = self.clients.get_mut(&client)?;
        known.heard = now;
        let is_full = known.unanswered >= MAX_UNANSWERED;
        let refusal = match Request::parse(line) {
            Ok(request) if !is_full => {
                self.count(client, 1);
                return Some(request);
            }
            Ok(Request { id, .. }) => {
                let message = format!("{MAX_UNANSWERED} requests are unanswered already");
                Refusal { id, code: "ERR_RCLUSTER_BUSY", message }
            }
            Err(refusal) => refusal,
        };
        self.refuse(client, &refusal.id, refusal.code, &refusal.message);
        None
    }

    pub(super) fn on_too_long(&mut self, client: ClientId) {
        let message = format!("a line is longer than {MAX_LINE} bytes");
        self.hang_up(client, "ERR_RCLUSTER_REQUEST", &message);
    }

    /// A client that has shut down writing gets its pending answers, and then no more events.
    pub(super) fn on_ended(&mut self, client: ClientId) {
        if let Some(it) = self.clients.get_mut(&client) {
            it.ended = true;
        }
        self.release(client);
    }

    /// Its requests are carried out nevertheless.
    pub(super) fn on_gone(&mut self, client: ClientId) {
        self.clients.remove(&client);
    }

    pub(super) fn watch(&mut self, client: ClientId, id: &Id, watches: bool) {
        if let Some(it) = self.clients.get_mut(&client) {
            it.watch = watches.then(|| id.clone());
        }
        self.succeed(client, id, None);
    }

    /// Assigns the number under which a request goes to supervision.
    pub(super) fn begin(
        &mut self,
        client: ClientId,
        id: Id,
        slot: Option<Slot>,
        stops: bool,
    ) -> ids::Request {
        let request = ids::Request(FIRST + self.requests);
        self.requests += 1;
        self.pending.insert(request, Pending { client, id, slot, stops });
        request
    }

    /// Supervision has answered. `None` if the request is not an operator's; else whether the primary is to
    /// exit.
    pub(super) fn on_done(&mut self, request: ids::Request, result: &Result<(), Failure>) -> Option<bool> {
        let Pending { client, id, stops, .. } = self.pending.remove(&request)?;
        match result {
            Ok(()) => self.succeed(client, &id, None),
            Err(failure) => {
                let (code, message) = (failure.code(), &failure.to_string());
                self.answer_error(client, &id, Shown { code, message, stderr_tail: failure.stderr() });
            }
        }
        Some(stops && result.is_ok())
    }

    pub(super) fn on_event(&mut self, event: &Event) {
        if self.has_audience() {
            let (name, facts) = describe(event);
            self.publish(name, &facts);
        }
    }

    pub(super) fn on_exit(&mut self, worker: WorkerId, exit: ExitKind) {
        if self.has_audience() {
            let (code, signal) = exit.code_and_signal();
            self.publish("exit", &serde_json::json!({ "worker": worker, "code": code, "signal": signal }));
        }
    }

    fn has_audience(&self) -> bool {
        !self.pending.is_empty() || self.clients.values().any(|it| it.watch.is_some())
    }

    fn publish(&mut self, event: &str, facts: &Value) {
        let concerns = |slot: Option<Slot>| slot.is_none_or(|slot| facts["slot"] == slot.0);
        let asking = self.pending.values().filter(|it| concerns(it.slot)).map(|it| (it.client, &it.id));
        let watching = self.clients.iter().filter_map(|(client, it)| Some((*client, it.watch.as_ref()?)));
        let told = asking.chain(watching).filter(|(client, _)| self.clients.contains_key(client));
        let lines: Vec<Output> =
            told.map(|(client, id)| Output::Line(client, text(&Told { id, event, facts }))).collect();
        self.outbox.extend(lines);
    }

    /// Answers a request that succeeded.
    pub(super) fn succeed(&mut self, client: ClientId, id: &Id, result: Option<Value>) {
        self.answer(client, &Done { id, ok: true, result, error: None });
    }

    /// Answers a request that failed.
    pub(super) fn fail(&mut self, client: ClientId, id: &Id, code: &str, message: &str) {
        self.answer_error(client, id, Shown { code, message, stderr_tail: None });
    }

    fn answer_error(&mut self, client: ClientId, id: &Id, error: Shown<'_>) {
        self.answer(client, &Done { id, ok: false, result: None, error: Some(error) });
    }

    pub(super) fn on_piece(&mut self, client: ClientId, id: &Id, bytes: &[u8]) {
        if self.clients.contains_key(&client) {
            let facts = serde_json::json!({ "base64": base64::encode(bytes) });
            self.outbox.push(Output::Line(client, text(&Told { id, event: "data", facts: &facts })));
        }
    }

    pub(super) fn on_found(&mut self, client: ClientId, id: &Id, result: Result<Value, Unavailable>) {
        match result {
            Ok(value) => self.succeed(client, id, Some(value)),
            Err(Unavailable { code, message }) => self.fail(client, id, code, &message),
        }
    }

    pub(super) fn ask(&mut self, output: Output) {
        self.outbox.push(output);
    }

    fn answer(&mut self, client: ClientId, done: &Done<'_>) {
        if self.clients.contains_key(&client) {
            self.outbox.push(Output::Line(client, done.line()));
            self.count(client, -1);
            self.release(client);
        }
    }

    fn refuse(&mut self, client: ClientId, id: &Id, code: &str, message: &str) {
        let error = Some(Shown { code, message, stderr_tail: None });
        self.outbox.push(Output::Line(client, text(&Done { id, ok: false, result: None, error })));
    }

    fn hang_up(&mut self, client: ClientId, code: &str, message: &str) {
        self.refuse(client, &Id::default(), code, message);
        self.clients.remove(&client);
        self.outbox.push(Output::HangUp(client));
    }

    fn count(&mut self, client: ClientId, by: isize) {
        if let Some(it) = self.clients.get_mut(&client) {
            it.unanswered = it.unanswered.saturating_add_signed(by);
        }
    }

    /// Hangs up on a client that has shut down writing and has no pending request.
    fn release(&mut self, client: ClientId) {
        if self.clients.get(&client).is_some_and(|it| it.ended && it.unanswered == 0) {
            self.clients.remove(&client);
            self.outbox.push(Output::HangUp(client));
        }
    }
}

#[cfg(test)]
mod tests;
