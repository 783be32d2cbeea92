//! The frames that the primary writes.

use serde::Serialize;

use super::{Data, FrameError, MAX_FRAME, complaint};
use crate::examine::Examination;
use crate::ids::{ListenerId, Slot};
use crate::schedule::By;

/// [`ToWorker::Ping`] as it is sent. The worker's link drops it: if it ran JavaScript in an idle worker, V8 would carry out a
/// pending request for the stack there, and the stack of an idle worker would be that of the ping.
pub const PING: &str = r#"{"act":"ping"}"#;

/// A message of the primary.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "act", rename_all = "camelCase")]
pub enum ToWorker {
    /// The reply to a listen request.
    Reply(Reply),
    /// The order to drain: take no more connections, finish, and exit.
    Drain(Drain),
    /// The order to keep serving until a drain order comes: the answer to `retire` if the worker cannot be
    /// replaced at once.
    Keep,
    /// The standby takes over a slot, and gets connections from now on.
    Promote {
        /// Its slot.
        slot: Slot,
    },
    /// The time for draining or starting is over: SIGTERM is sent too.
    Terminate,
    /// Makes the event loop turn. Needs no answer, and does not reach JavaScript: see [`PING`].
    Ping,
    /// Examine the process, and answer through the stream socket that comes with the frame.
    Examine(Examination),
}

/// The order to drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// The reason, as one word.
    pub reason: String,
    /// The time in ms after which the worker is forced to end.
    pub timeout_ms: u64,
}

/// The settings of supervision that a worker needs from its first line on. They come in its environment,
/// because an exception may be thrown before the first frame is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The slot; `None` for a standby.
    pub slot: Option<Slot>,
    /// Whether it waits without connections until it is promoted.
    pub standby: bool,
    /// The longest drain, in ms.
    pub drain_timeout_ms: u64,
    /// Whether an uncaught exception or unhandled rejection retires it.
    pub retire_on_exception: bool,
    /// The environment variable that a standby sets to its slot when it is promoted.
    pub instance_var: Option<String>,
    /// Whether the previous worker in its place did not get ready. If this one fails too, one line is
    /// written, not a stack.
    pub retry: bool,
}

/// The kind of a listener's socket, and so of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A TCP socket.
    Tcp,
    /// A Unix socket, which Node calls a pipe.
    Pipe,
    /// A UDP socket.
    Udp,
}

/// An IP version, with Node's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Family {
    /// IP version 4.
    IPv4,
    /// IP version 6.
    IPv6,
}

/// The actual address of a socket, as in `server.address()`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sockname {
    /// The IP address.
    pub address: String,
    /// The IP version.
    pub family: Family,
    /// The actual port, even if port 0 was requested.
    pub port: u16,
}

/// The reply to a listen request. If it succeeded and is shared, the descriptor comes with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reply {
    /// The number of the request.
    pub seq: u32,
    /// 0, or a negative error number.
    pub errno: i32,
    /// The number of the listener for all further frames. Missing after an error, like the next field.
    pub listener: Option<ListenerId>,
    /// The kind of socket.
    pub kind: Option<Kind>,
    /// Whether the worker accepts by itself, from the descriptor that came with the reply.
    pub shared: bool,
    /// Whether the descriptor belongs to the worker's slot, and no other worker has it.
    #[serde(rename = "perSlot")]
    pub per_slot: bool,
    /// What identifies a client when a drain hands its connection over to another worker. Missing if
    /// connections are not handed over.
    #[serde(rename = "handOver")]
    pub hand_over: Option<By>,
    /// The actual address; missing for a pipe.
    pub sockname: Option<Sockname>,
    /// The custom data of the first worker that had any.
    pub data: Data,
}

impl Reply {
    /// The reply that refuses a listen request.
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
    /// Encodes the frame.
    pub fn encode(&self) -> Result<String, FrameError> {
        encode(self)
    }
}

impl Settings {
    /// Encodes the settings as the worker reads them.
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
