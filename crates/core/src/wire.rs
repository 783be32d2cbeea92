//! The frames on a worker's control socket.
//!
//! The socket keeps packets apart, so one frame is one packet is one JSON text of at most
//! [`MAX_FRAME`] bytes. What a worker writes is read here into types; whatever does not fit is a
//! [`FrameError`] that says what was wrong, never a panic: a worker runs other people's code and
//! may write anything.

mod answers;
mod data;
mod share;
mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use thiserror::Error;

pub use self::answers::{Drain, Family, Kind, Reply, Settings, Sockname, ToWorker};
pub use self::data::Data;
pub use self::share::{EvictionName, Share, StoreOptions};
use super::ids::ListenerId;

/// The version of these frames. Both sides come from the same package, so it differs only when
/// an app mixes two installations, and that deserves a clear word instead of odd behaviour.
pub const VERSION: u32 = 1;

/// A time in whole milliseconds, as it travels.
#[must_use]
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The longest frame in bytes.
pub const MAX_FRAME: usize = 64 * 1024;

/// The longest custom data of a server, in bytes of JSON. Less than a frame, because the data
/// that came in a query must fit into every reply together with all the rest.
pub const MAX_DATA: usize = 60 * 1024;

/// The longest reason that a worker can give for its retirement, in bytes.
pub const MAX_REASON: usize = 64;

/// The longest explanation of it, in bytes.
pub const MAX_DETAIL: usize = 4096;

/// The most kinds of resources that a worker can name, and the longest name in bytes.
pub const MAX_RESOURCES: usize = 32;
/// See [`MAX_RESOURCES`].
pub const MAX_RESOURCE: usize = 64;

/// `EINVAL` as Node gives it. `core` may not ask the system's headers, and Linux has the same
/// number on every architecture we run on; so it is with the next two.
pub const EINVAL: i32 = -22;
/// `EMFILE` as Node gives it.
pub const EMFILE: i32 = -24;
/// `EMSGSIZE` as Node gives it.
pub const EMSGSIZE: i32 = -90;
/// `ENOBUFS` as Node gives it.
pub const ENOBUFS: i32 = -105;

/// What a worker says.
#[derive(Clone, Debug, PartialEq)]
pub enum FromWorker {
    /// The worker's side of the link is up, and speaks our version.
    Hello,
    /// A server or socket asks where to listen. Boxed: it is far larger than the others.
    Query(Box<Query>),
    /// The server that listens there has told its app so.
    Listening {
        /// Where.
        listener: ListenerId,
    },
    /// A server listens at an address that is the worker's own.
    ListensAlone,
    /// The server that listened there is closed.
    Close {
        /// Where.
        listener: ListenerId,
    },
    /// The worker wants to use a shared store.
    Share(Box<Share>),
    /// The worker wants to use locks. The socket for the answer comes with the frame.
    Locks,
    /// The worker disconnects by agreement: its end is no accident.
    Leaving,
    /// The app in the worker says that it is ready.
    Ready,
    /// The worker wants to go, and goes on serving until it is told to drain.
    Retire {
        /// Why, in a word. At most [`MAX_REASON`] bytes; the rest is cut off.
        reason: String,
        /// Why, at length: a stack, for instance. At most [`MAX_DETAIL`] bytes; the rest is cut off.
        detail: String,
    },
    /// What keeps a worker that drains.
    Held {
        /// All connections have ended, and the app has done what it does about that.
        drained: bool,
        /// What keeps its event loop, by Node's names, and how many there are of each. At most [`MAX_RESOURCES`].
        resources: BTreeMap<String, u32>,
    },
}

/// What Node calls the type of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub enum AddressType {
    /// TCP over IPv4, also for a server that named no host.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// A socket in the file system, or an abstract one.
    Path,
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
}

/// A server's question, as `net` and `dgram` put it. Fields that we do not know are ignored:
/// Node's versions differ in what they add.
///
/// Only the shape is checked here. Whether it makes sense, a port beyond 65535 for instance, is
/// for [`super::listeners`] to say, which has an answer for the worker.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    /// The number the reply has to carry.
    pub seq: u32,
    /// Which one of this worker's open servers with the same address it is, counted from 0.
    pub index: u32,
    /// An IP address, a path, or nothing: anywhere.
    #[serde(default)]
    pub address: Option<String>,
    /// The port. `dgram` passes on what the app gave it: nothing at all, or text.
    #[serde(default, deserialize_with = "port")]
    pub port: Option<i64>,
    /// Missing when a descriptor is given to a `net.Server`.
    #[serde(default)]
    pub address_type: Option<AddressType>,
    /// A descriptor of the primary. `dgram` says -1 for none.
    #[serde(default)]
    pub fd: Option<i64>,
    /// libuv's flags for binding.
    #[serde(default)]
    pub flags: Option<i64>,
    /// How many connections may wait.
    #[serde(default)]
    pub backlog: Option<i64>,
    /// Everybody may read the path.
    #[serde(default)]
    pub readable_all: Option<bool>,
    /// Everybody may write to the path.
    #[serde(default)]
    pub writable_all: Option<bool>,
    /// What the server wants to share with its like in other workers: TLS ticket keys.
    #[serde(default)]
    pub data: Data,
}

/// A frame that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// More than [`MAX_FRAME`].
    #[error("a control frame of {length} bytes, where {MAX_FRAME} are allowed")]
    TooLong {
        /// Its bytes.
        length: usize,
    },
    /// Not JSON, or not an object with an act.
    #[error("a control frame that is no JSON object with an act: {reason}")]
    Json {
        /// The parser's complaint.
        reason: String,
    },
    /// An act of some other version.
    #[error("a control frame with the unknown act {act:?}")]
    UnknownAct {
        /// Its beginning.
        act: String,
    },
    /// The fields of the act are missing, or of another type.
    #[error("a control frame {act:?} with a wrong field: {reason}")]
    Fields {
        /// The act.
        act: &'static str,
        /// The number of the query, if it was one and if that much could be read.
        seq: Option<u32>,
        /// The parser's complaint.
        reason: String,
    },
    /// Custom data beyond [`MAX_DATA`].
    #[error("a query with custom data of {length} bytes, where {MAX_DATA} are allowed")]
    Data {
        /// The number of the query.
        seq: u32,
        /// The data's bytes.
        length: usize,
    },
    /// The two sides come from different installations.
    #[error("the worker's rcluster speaks version {theirs} of the control frames, this one {VERSION}")]
    Version {
        /// The worker's version.
        theirs: u32,
    },
}

impl FrameError {
    /// The answer to a query that could not be followed, so that the server which asked gets an
    /// 'error' event instead of silence. `None` if it was no query: then there is nobody to
    /// answer, and no reason to believe the worker's next frame.
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
    /// Reads a frame.
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
            "query" => Query::parse(frame, original).map(|query| Self::Query(Box::new(query))),
            "listening" => fields("listening", frame).map(|About { listener }| Self::Listening { listener }),
            "close" => fields("close", frame).map(|About { listener }| Self::Close { listener }),
            "listensAlone" => Ok(Self::ListensAlone),
            "share" => fields("share", frame).map(|share| Self::Share(Box::new(share))),
            "locks" => Ok(Self::Locks),
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

/// Reads the fields of an act whose name is known.
fn fields<'a, T: Deserialize<'a>>(act: &'static str, frame: &'a [u8]) -> Result<T, FrameError> {
    serde_json::from_slice(frame).map_err(|error| FrameError::Fields {
        act,
        seq: None,
        reason: complaint(&error),
    })
}

/// The parser's complaint, which may quote the worker.
fn complaint(error: &serde_json::Error) -> String {
    beginning(&error.to_string(), 200)
}

/// Enough of a worker's text for a warning, where a name helps and a novel does not.
fn beginning(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// The beginning of a text that has to fit somewhere, in whole characters.
fn shortened(mut text: String, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

impl Query {
    /// `original` is the frame as the worker wrote it. Custom data is a text of its own, and is kept as it is there.
    fn parse(frame: &[u8], original: &[u8]) -> Result<Self, FrameError> {
        #[derive(Deserialize)]
        struct Seq {
            seq: u32,
        }
        #[derive(Deserialize)]
        struct Custom {
            data: Data,
        }

        let mut query: Self = serde_json::from_slice(frame).map_err(|error| FrameError::Fields {
            act: "query",
            seq: serde_json::from_slice(frame).ok().map(|Seq { seq }| seq),
            reason: complaint(&error),
        })?;
        if frame != original && !query.data.is_none() {
            query.data = fields("query", original).map(|Custom { data }| data)?;
        }
        let length = query.data.len();
        if length > MAX_DATA {
            return Err(FrameError::Data { seq: query.seq, length });
        }
        Ok(query)
    }
}

/// What Node's fields of more than one type hold.
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

/// A port that may be text: `socket.bind(process.env.PORT)` works, and so it has to here.
fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    match Option::deserialize(deserializer)? {
        None => Ok(None),
        Some(NumberOrText::Number(port)) => Ok(Some(port)),
        Some(NumberOrText::Text(text)) => text.trim().parse().map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests;
