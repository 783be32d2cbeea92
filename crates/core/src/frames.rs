//! The frames on a worker's control socket.
//!
//! The socket preserves packets, so one frame is one packet with one JSON text of at most [`MAX_FRAME`]
//! bytes. What a worker writes is parsed here into types; anything else is a [`FrameError`] that says what is
//! wrong, never a panic: a worker runs an app's code and may write anything.

mod answers;
mod data;
mod share;
mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use thiserror::Error;

pub use self::answers::{Drain, Family, Kind, PING, Reply, Settings, Sockname, ToWorker};
pub use self::data::Data;
pub use self::share::{EvictionName, Share, StoreOptions};
use super::ids::ListenerId;

/// The version of these frames. Both sides come from the same package, so it differs only if an app mixes two
/// installations. Then a clear error is better than strange behaviour.
pub const VERSION: u32 = 1;

/// A time in whole milliseconds, as frames carry it.
#[must_use]
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The longest frame in bytes.
pub const MAX_FRAME: usize = 64 * 1024;

/// The longest custom data of a server, in bytes of JSON. Less than a frame, because the data of a listen
/// request must fit into every reply together with everything else.
pub const MAX_DATA: usize = 60 * 1024;

/// The longest reason of a retirement, in bytes.
pub const MAX_REASON: usize = 64;

/// The longest detail of a retirement, in bytes.
pub const MAX_DETAIL: usize = 4096;

/// The largest number of kinds of resources that a worker can report, and the longest name in bytes.
pub const MAX_RESOURCES: usize = 32;
/// See [`MAX_RESOURCES`].
pub const MAX_RESOURCE: usize = 64;

/// `EINVAL` as Node reports it. `core` does not use the system's headers, and Linux has the same number on
/// all supported architectures. The same is true of the next three.
pub const EINVAL: i32 = -22;
/// `EMFILE` as Node reports it.
pub const EMFILE: i32 = -24;
/// `EMSGSIZE` as Node reports it.
pub const EMSGSIZE: i32 = -90;
/// `ENOBUFS` as Node reports it.
pub const ENOBUFS: i32 = -105;

/// A message of a worker.
#[derive(Clone, Debug, PartialEq)]
pub enum FromWorker {
    /// The worker's side of the link is up, with the same version.
    Hello,
    /// A server or socket sends a listen request. Boxed, because it is far larger than the others.
    Listen(Box<ListenRequest>),
    /// The server of this listener is up, and its 'listening' event has been emitted.
    Listening {
        /// The listener's number from the reply to the listen request.
        listener: ListenerId,
    },
    /// A server listens on an address of the worker's own.
    ListensAlone,
    /// The server of this listener is closed.
    Close {
        /// The listener's number from the reply to the listen request.
        listener: ListenerId,
    },
    /// The worker opens a shared store.
    Share(Box<Share>),
    /// The worker wants to use locks. The socket for the answer comes with the frame.
    Locks,
    /// The worker wants to exchange messages with other processes. The socket for the answer comes with the
    /// frame.
    Exchange,
    /// The worker disconnects by agreement: its end is not a failure.
    Leaving,
    /// The app in the worker reports that it is ready.
    Ready,
    /// The worker asks to retire, and keeps serving until it gets a drain order.
    Retire {
        /// The reason, as one word. At most [`MAX_REASON`] bytes; the rest is cut off.
        reason: String,
        /// The reason at length, such as a stack. At most [`MAX_DETAIL`] bytes; the rest is cut off.
        detail: String,
    },
    /// What keeps a draining worker alive.
    Held {
        /// Whether all connections have ended, and the app has finished what it does then.
        drained: bool,
        /// The resources that keep its event loop alive, by Node's names, with the number of each. At most
        /// [`MAX_RESOURCES`].
        resources: BTreeMap<String, u32>,
    },
}

/// Node's type of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub enum AddressType {
    /// TCP over IPv4, also for a server without a host.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// A Unix socket with a path or an abstract name.
    Path,
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
}

/// A listen request, as `net` and `dgram` send it. Unknown fields are ignored, because Node's versions differ
/// in what they add.
///
/// Only the types are checked here. [`super::listeners`] checks the values, for example a port beyond 65535,
/// and can answer the worker.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenRequest {
    /// The number that the reply must carry.
    pub seq: u32,
    /// Its index among this worker's open servers with the same address, counted from 0.
    pub index: u32,
    /// An IP address, a path, or none for all addresses.
    #[serde(default)]
    pub address: Option<String>,
    /// The port. `dgram` sends what the app gave it: none, or text.
    #[serde(default, deserialize_with = "port")]
    pub port: Option<i64>,
    /// Missing if a descriptor is given to a `net.Server`.
    #[serde(default)]
    pub address_type: Option<AddressType>,
    /// A descriptor of the primary. `dgram` sends -1 for none.
    #[serde(default)]
    pub fd: Option<i64>,
    /// libuv's flags for binding.
    #[serde(default)]
    pub flags: Option<i64>,
    /// The backlog.
    #[serde(default)]
    pub backlog: Option<i64>,
    /// Whether all users may read the path.
    #[serde(default)]
    pub readable_all: Option<bool>,
    /// Whether all users may write to the path.
    #[serde(default)]
    pub writable_all: Option<bool>,
    /// Data that the server shares with the same server of other workers: TLS ticket keys.
    #[serde(default)]
    pub data: Data,
}

/// An invalid frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The frame is longer than [`MAX_FRAME`].
    #[error("a control frame of {length} bytes, where {MAX_FRAME} are allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It is not JSON, or not an object with an act.
    #[error("a control frame that is no JSON object with an act: {reason}")]
    Json {
        /// The parser's message.
        reason: String,
    },
    /// The act is unknown: it belongs to another version.
    #[error("a control frame with the unknown act {act:?}")]
    UnknownAct {
        /// The beginning of the act.
        act: String,
    },
    /// A field of the act is missing or has another type.
    #[error("a control frame {act:?} with a wrong field: {reason}")]
    Fields {
        /// The act.
        act: &'static str,
        /// The number of the request, if it was one and the number could be parsed.
        seq: Option<u32>,
        /// The parser's message.
        reason: String,
    },
    /// The custom data is longer than [`MAX_DATA`].
    #[error("a listen request with custom data of {length} bytes, where {MAX_DATA} are allowed")]
    Data {
        /// The number of the request.
        seq: u32,
        /// The length of the data in bytes.
        length: usize,
    },
    /// The two sides belong to different installations.
    #[error("the worker's rcluster speaks version {theirs} of the control frames, this one {VERSION}")]
    Version {
        /// The worker's version.
        theirs: u32,
    },
}

impl FrameError {
    /// The reply to an invalid listen request, so that the server gets an 'error' event instead of no answer.
    /// `None` if it was not a listen request: then nothing can be answered, and the worker's next frames
    /// cannot be trusted either.
    #[must_use]
    pub fn refusal(&self) -> Option<Reply> {
        match *self {
            Self::Fields { seq: Some(seq), .. } => Some(Reply::refusal(seq, EINVAL)),
            Self::Data { seq, .. } => Some(Reply::refusal(seq, EMSGSIZE)),
            _ => None,
        }
    }
}

impl FromWorker {
    /// Parses a frame.
    pub fn parse(frame: &[u8]) -> Result<Self, FrameError> {
        #[derive(Deserialize)]
        struct Envelope {
            act: String,
        }
        #[derive(Deserialize)]
        struct Hello {
            version: u32,
        }
        #[derive(Deserialize)]
        struct About {
            listener: ListenerId,
        }
        #[derive(Deserialize)]
        struct Retire {
            reason: String,
            #[serde(default)]
            detail: Option<String>,
        }
        #[derive(Deserialize)]
        struct Held {
            drained: bool,
            resources: BTreeMap<String, u32>,
        }

        if frame.len() > MAX_FRAME {
            return Err(FrameError::TooLong { length: frame.len() });
        }
        let original = frame;
        let frame = &*text::well_formed(original);
        let Envelope { act } =
            serde_json::from_slice(frame).map_err(|error| FrameError::Json { reason: complaint(&error) })?;
        match act.as_str() {
            "hello" => match fields("hello", frame)? {
                Hello { version: VERSION } => Ok(Self::Hello),
                Hello { version: theirs } => Err(FrameError::Version { theirs }),
            },
            "query" => ListenRequest::parse(frame, original).map(|request| Self::Listen(Box::new(request))),
            "listening" => fields("listening", frame).map(|About { listener }| Self::Listening { listener }),
            "close" => fields("close", frame).map(|About { listener }| Self::Close { listener }),
            "listensAlone" => Ok(Self::ListensAlone),
            "share" => fields("share", frame).map(|share| Self::Share(Box::new(share))),
            "locks" => Ok(Self::Locks),
            "exchange" => Ok(Self::Exchange),
            "leaving" => Ok(Self::Leaving),
            "ready" => Ok(Self::Ready),
            "retire" => fields("retire", frame).map(|Retire { reason, detail }| Self::Retire {
                reason: shortened(reason, MAX_REASON),
                detail: shortened(detail.unwrap_or_default(), MAX_DETAIL),
            }),
            "held" => fields("held", frame).map(|Held { drained, resources }| {
                let few = resources.into_iter().take(MAX_RESOURCES);
                let resources = few.map(|(name, count)| (shortened(name, MAX_RESOURCE), count)).collect();
                Self::Held { drained, resources }
            }),
            _ => Err(FrameError::UnknownAct { act: beginning(&act, 32) }),
        }
    }
}

/// Parses the fields of a known act.
fn fields<'a, T: Deserialize<'a>>(act: &'static str, frame: &'a [u8]) -> Result<T, FrameError> {
    serde_json::from_slice(frame).map_err(|error| FrameError::Fields {
        act,
        seq: None,
        reason: complaint(&error),
    })
}

/// The parser's message, which may quote the worker.
fn complaint(error: &serde_json::Error) -> String {
    beginning(&error.to_string(), 200)
}

/// The beginning of a worker's text, for a warning.
fn beginning(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// The beginning of a text, at most this many bytes, in whole characters.
#[must_use]
pub fn shortened(mut text: String, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

impl ListenRequest {
    /// `original` is the frame as the worker wrote it. Custom data is kept as its text in it.
    fn parse(frame: &[u8], original: &[u8]) -> Result<Self, FrameError> {
        #[derive(Deserialize)]
        struct Seq {
            seq: u32,
        }
        #[derive(Deserialize)]
        struct Custom {
            data: Data,
        }

        let mut request: Self = serde_json::from_slice(frame).map_err(|error| FrameError::Fields {
            act: "query",
            seq: serde_json::from_slice(frame).ok().map(|Seq { seq }| seq),
            reason: complaint(&error),
        })?;
        if frame != original && !request.data.is_none() {
            request.data = fields("query", original).map(|Custom { data }| data)?;
        }
        let length = request.data.len();
        if length > MAX_DATA {
            return Err(FrameError::Data { seq: request.seq, length });
        }
        Ok(request)
    }
}

/// The value of Node's fields that have more than one type.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(i64),
    Text(String),
}

impl TryFrom<NumberOrText> for AddressType {
    type Error = &'static str;

    fn try_from(written: NumberOrText) -> Result<Self, Self::Error> {
        match written {
            NumberOrText::Number(4) => Ok(Self::Tcp4),
            NumberOrText::Number(6) => Ok(Self::Tcp6),
            NumberOrText::Number(-1) => Ok(Self::Path),
            NumberOrText::Text(text) if text == "udp4" => Ok(Self::Udp4),
            NumberOrText::Text(text) if text == "udp6" => Ok(Self::Udp6),
            _ => Err("no such address type"),
        }
    }
}

/// A port that may be text: `socket.bind(process.env.PORT)` works in Node.
fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    match Option::deserialize(deserializer)? {
        None => Ok(None),
        Some(NumberOrText::Number(port)) => Ok(Some(port)),
        Some(NumberOrText::Text(text)) => text.trim().parse().map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests;
