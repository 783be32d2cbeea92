//! The inputs and outputs of a [`Link`](super::link::Link).

use super::failure::Failure;
use super::status::Status;
use crate::store::ops::Outcome;

/// The server's answer to the greeting. See `greet.lua`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The incarnation of the store.
    pub epoch: Vec<u8>,
    /// The revision that the store had reached. The next write gets a much greater one.
    pub revision: u64,
    /// The time in ms since 1970.
    pub time: u64,
    /// Whether the stream still contains the changes after this machine's position.
    pub goes_on: bool,
    /// The last batch of this machine, and the answer to it.
    pub last: Option<(u64, Vec<u8>)>,
}

/// The whole content of the store. The values are in the format of [`read_kept`](super::payload::read_kept).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The incarnation of the store.
    pub epoch: Vec<u8>,
    /// The revision of the store.
    pub revision: u64,
    /// The last entry of the stream; empty if there is none.
    pub place: String,
    /// Keys and values.
    pub values: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An input of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A process sent a request. It is queued, and the next input of another kind sends it.
    Request {
        /// The process.
        peer: u64,
        /// The request, as it was received.
        request: Vec<u8>,
    },
    /// A value has expired here.
    Expired,
    /// The answer to [`Output::Open`].
    Greeted {
        /// The server's greeting.
        greeting: Greeting,
        /// When the greeting was sent.
        asked_at: u64,
    },
    /// The answer to [`Output::Load`].
    Loaded(Loaded),
    /// The answer to [`Output::Write`].
    Answered(Vec<u8>),
    /// The answer to [`Output::Follow`]: entries of the stream, each with its payload.
    Entries(Vec<(String, Vec<u8>)>),
    /// The answer to [`Output::Beat`].
    Beat {
        /// The incarnation of the store; `None` if the store no longer exists.
        epoch: Option<Vec<u8>>,
        /// The revision of the store.
        revision: u64,
        /// The time in ms since 1970.
        time: u64,
        /// When the request was sent.
        asked_at: u64,
    },
    /// Any output except `Write` has failed.
    Failed(Failure),
    /// [`Output::Write`] has failed.
    WriteFailed(Failure),
    /// The memory is equal to what was loaded: the number of [`Output::Reload`].
    Reloaded(u64),
    /// What was loaded, or a change, does not fit into the memory of this machine.
    Overflow,
    /// Only time has passed.
    Tick,
}

/// An output of the link.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Connect, and greet the server.
    Open {
        /// A name that no other connection of this machine has.
        connection: String,
        /// The epoch to use if the server has none.
        new_epoch: Vec<u8>,
        /// The epoch known here; empty if none.
        epoch: Vec<u8>,
        /// The last revision applied here.
        revision: u64,
        /// The last entry of the stream applied here; empty if none.
        place: String,
    },
    /// Drop the connections, and the pending requests on them.
    Close,
    /// Load the whole store.
    Load,
    /// Request the changes after an entry of the stream.
    Follow {
        /// The entry.
        place: String,
        /// The maximum number of entries in the answer.
        entries: usize,
    },
    /// Request the revision and the time.
    Beat,
    /// Run the script with these arguments.
    Write {
        /// The connection, as it was greeted.
        connection: String,
        /// The number of the batch.
        number: u64,
        /// How many bytes of changes, and how many changes, the server keeps.
        history: (u64, u64),
        /// Whether the script also removes expired keys.
        expire: bool,
        /// The arguments of the batch.
        arguments: Vec<Vec<u8>>,
    },
    /// Apply an entry of the stream to the memory.
    Apply {
        /// The entry.
        payload: Vec<u8>,
        /// The most that this machine's clock may be ahead of the server's, in ms.
        ahead: i64,
    },
    /// Make the memory equal to this.
    Reload {
        /// The number of the load.
        number: u64,
        /// The content.
        loaded: Loaded,
        /// The most that this machine's clock may be ahead of the server's, in ms.
        ahead: i64,
    },
    /// Answer a request.
    Answer {
        /// The process that sent it. A process gets its answers in the order of its requests.
        peer: u64,
        /// The answer.
        outcome: Outcome,
    },
    /// Publish the status.
    Tell(Status),
}
