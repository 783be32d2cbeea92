//! Which listeners there are, which workers listen on them, and how long they stay open.
//!
//! Workers ask where to listen; the first to ask for an address has it opened, the next ones join.
//! A listener closes when the last server on it is closed or its worker leaves on purpose. When
//! the last worker *dies*, its clients may wait in the backlog for a replacement: see
//! [`Input::ExitReported`].

mod registry;
mod request;

use std::time::Duration;

use crate::ids::{ListenerId, WorkerId};
use crate::wire::{Kind, Query, Reply, Sockname};
pub use registry::Listeners;
pub use request::{ListenAddress, ListenerSpec, Sharing, shorter};

/// How long a listener without workers waits for a worker that is starting.
pub const LINGER: Duration = Duration::from_secs(10);

/// The most listeners of one worker. Each costs the primary a descriptor, so a worker gone wild
/// must run into its own limit before it takes everybody's.
pub const MAX_LISTENERS: usize = 4096;

/// The most memory, in bytes, for addresses and custom data that one worker has brought. A server with TLS brings a
/// hundred bytes; whoever asks for more gets `ENOBUFS`.
pub const MAX_BYTES: usize = 1024 * 1024;

/// What happens.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Input {
    /// A worker has been spawned.
    WorkerStarted { worker: WorkerId },
    /// A worker asks where to listen.
    Query {
        worker: WorkerId,
        /// Its question.
        query: Query,
    },
    /// The answer to [`Output::Open`].
    Opened {
        /// Which listener.
        listener: ListenerId,
        /// How it went; a negative error number if it did not.
        result: Result<Opened, i32>,
    },
    /// A worker has closed its server.
    Close {
        /// Which worker.
        worker: WorkerId,
        listener: ListenerId,
    },
    /// A worker's server is up and has told its app so.
    Listening {
        /// Which worker.
        worker: WorkerId,
        listener: ListenerId,
    },
    /// A worker leaves on purpose: by `worker.disconnect()`, or because it said so itself.
    WorkerLeaving { worker: WorkerId },
    /// The same, and another one takes its place: it may open what nobody serves for the moment, for as long as a
    /// listener lingers.
    WorkerReplaced { worker: WorkerId },
    /// A worker's process has ended. All its frames come before this.
    WorkerDied { worker: WorkerId },
    /// The app has been told of a worker's end, and has forked a replacement by now if it forks
    /// one in its 'exit' listener. A listener whose last worker this was closes, unless a worker
    /// is starting that may want it.
    ExitReported { worker: WorkerId },
    /// Whether workers are expected: supervision will start some, whatever the app does, and they may want any
    /// listener. As long as they are, none closes because its last worker left or died.
    Expecting(bool),
    /// [`Listeners::next_deadline`] has passed.
    Tick,
}

/// What opening found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What kind of socket it is.
    pub kind: Kind,
    /// Where it really is; `None` for a pipe.
    pub sockname: Option<Sockname>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Output {
    /// Open a socket, and answer with [`Input::Opened`] before anything else happens if possible.
    Open {
        /// Its name from now on.
        listener: ListenerId,
        /// What to open.
        spec: ListenerSpec,
    },
    /// Answer a worker's query, together with the listener's descriptor if it is shared.
    Reply {
        /// Whom.
        worker: WorkerId,
        /// What.
        reply: Reply,
    },
    /// A worker takes connections of a listener from now on: its server is up. Never for a shared
    /// listener, and never twice.
    Join {
        /// Which worker.
        worker: WorkerId,
        /// Which listener.
        listener: ListenerId,
    },
    /// A worker that joined takes no more of them.
    Leave {
        /// Which worker.
        worker: WorkerId,
        /// Which listener.
        listener: ListenerId,
    },
    /// Nobody needs it any more.
    CloseListener { listener: ListenerId },
}
