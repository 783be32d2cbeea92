//! The frames that the primary writes.

use serde::Serialize;

use super::{Data, FrameError, MAX_FRAME, complaint};
use crate::ids::{ListenerId, Slot};
use crate::schedule::By;

/// What the primary says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "act", rename_all = "camelCase")]
pub enum ToWorker {
    /// The answer to a query.
    Reply(Reply),
    /// Take no more connections, finish, and exit.
    Drain(Drain),
    /// Stay until you are told to drain: the answer to `retire` where nobody can take your place at once.
    Keep,
    /// The standby takes over a slot, and gets connections from now on.
    Promote {
        /// Which.
        slot: Slot,
    },
    /// The time for draining or starting is over: SIGTERM comes along.
    Terminate,
    /// A reason for the event loop to turn. Needs no answer.
    Ping,
}

/// The order to drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Why, in a word.
    pub reason: String,
    /// After how many milliseconds the worker is forced to end.
    pub timeout_ms: u64,
}

/// What a supervised worker has to know of the supervision from its first line on: it comes in its environment, since an
/// exception may be thrown before the first frame is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Its place; None for a standby.
    pub slot: Option<Slot>,
    /// It waits without connections until it is promoted.
    pub standby: bool,
    /// How many milliseconds a drain may take.
    pub drain_timeout_ms: u64,
    /// An uncaught exception or unhandled rejection retires it.
    pub retire_on_exception: bool,
    /// The variable that a standby sets to its slot when it is promoted.
    pub instance_var: Option<String>,
    /// The last worker in its place did not get ready. If this one fails as well, a line says so, not a stack.
    pub retry: bool,
}

/// What kind of socket a listener is, and so what its connections are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// TCP.
    Tcp,
    /// A unix socket, which Node calls a pipe.
    Pipe,
    /// UDP.
    Udp,
}

/// An IP version in Node's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Family {
    /// Version 4.
    IPv4,
    /// Version 6.
    IPv6,
}

/// Where a socket really is, as `server.address()` says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sockname {
    /// The IP address.
    pub address: String,
    /// Its version.
    pub family: Family,
    /// The port, also where 0 was asked for.
    pub port: u16,
}

/// The answer to a query. When it succeeded and is shared, the descriptor travels with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reply {
    /// The number of the query.
    pub seq: u32,
    /// 0, or a negative error number.
    pub errno: i32,
    /// The name for everything that follows about it. Missing after an error, like the next.
    pub listener: Option<ListenerId>,
    /// What it is.
    pub kind: Option<Kind>,
    /// Whether the worker accepts by itself, from the descriptor that came along.
    pub shared: bool,
    /// Whether no other worker has that descriptor: it is that of the worker's slot.
    #[serde(rename = "perSlot")]
    pub per_slot: bool,
    /// By what a client is recognised when a drain hands its connection over to another worker. Missing where
    /// connections are not handed over.
    #[serde(rename = "handOver")]
    pub hand_over: Option<By>,
    /// Where it is; missing for a pipe.
    pub sockname: Option<Sockname>,
    /// The custom data of the first worker that had any.
    pub data: Data,
}

impl Reply {
    /// The answer that it cannot be.
    #[must_use]
    pub fn refusal(seq: u32, errno: i32) -> Self {
        Self {
            seq,
            errno,
            listener: None,
            kind: None,
            shared: false,
            per_slot: false,
            hand_over: None,
            sockname: None,
            data: Data::default(),
        }
    }
}

impl ToWorker {
    /// Writes the frame.
    pub fn encode(&self) -> Result<String, FrameError> {
        encode(self)
    }
}

impl Settings {
    /// Writes them as the worker reads them.
    pub fn encode(&self) -> Result<String, FrameError> {
        encode(self)
    }
}

fn encode(said: &impl Serialize) -> Result<String, FrameError> {
    let text = serde_json::to_string(said).map_err(|error| FrameError::Json { reason: complaint(&error) })?;
    if text.len() > MAX_FRAME {
        return Err(FrameError::TooLong { length: text.len() });
    }
    Ok(text)
}
