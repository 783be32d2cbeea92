//! The listeners, their workers, and how long they stay open.
//!
//! Workers send listen requests; the first request for an address opens it, the next ones join. A listener
//! closes when its last server is closed or the last worker leaves on purpose. When the last worker *dies*,
//! clients may wait in the backlog for a replacement: see [`Input::ExitReported`].

mod registry;
mod request;

use std::time::Duration;

use crate::frames::{Kind, ListenRequest, Reply, Sockname};
use crate::ids::{ListenerId, WorkerId};
pub use registry::Listeners;
pub use request::{ListenAddress, ListenerSpec, Sharing, shorter};

/// How long a listener without workers waits for a worker that is starting.
pub const LINGER: Duration = Duration::from_secs(10);

/// The largest number of listeners of one worker. Each costs the primary a descriptor, so a faulty worker
/// must reach its own limit before it exhausts the primary's.
pub const MAX_LISTENERS: usize = 4096;

/// The largest number of bytes of addresses and custom data kept for one worker. A server with TLS needs
/// about a hundred bytes. Requests beyond the limit get `ENOBUFS`.
pub const MAX_BYTES: usize = 1024 * 1024;

/// An input of the registry.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Input {
    /// A worker has been spawned.
    WorkerStarted { worker: WorkerId },
    /// A worker sends a listen request.
    Listen {
        worker: WorkerId,
        /// The request.
        request: ListenRequest,
    },
    /// The answer to [`Output::Open`].
    Opened {
        /// The listener.
        listener: ListenerId,
        /// The result, or a negative error number.
        result: Result<Opened, i32>,
    },
    /// A worker has closed its server.
    Close {
        /// The worker.
        worker: WorkerId,
        listener: ListenerId,
    },
    /// A worker's server is up, and its 'listening' event has been emitted.
    Listening {
        /// The worker.
        worker: WorkerId,
        listener: ListenerId,
    },
    /// A worker leaves on purpose: by `worker.disconnect()`, or because it reported so.
    WorkerLeaving { worker: WorkerId },
    /// Like `WorkerLeaving`, and a replacement takes its place: the replacement may reopen listeners that
    /// have no worker, for as long as a listener lingers.
    WorkerReplaced { worker: WorkerId },
    /// A worker's process has ended. Every frame of the worker comes before this input.
    WorkerDied { worker: WorkerId },
    /// The app has been notified that a worker ended, and has already forked a replacement if its 'exit'
    /// listener does so. A listener whose last worker this was closes, unless a starting worker may want it.
    ExitReported { worker: WorkerId },
    /// Whether supervision will start workers, whatever the app does; they may want any listener. While it
    /// will, no listener closes because its last worker left or died.
    Expecting(bool),
    /// [`Listeners::next_deadline`] has passed.
    Tick,
}

/// The properties of an opened socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The kind of socket.
    pub kind: Kind,
    /// Its actual address; `None` for a pipe.
    pub sockname: Option<Sockname>,
}

/// An output of the registry.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Output {
    /// Open a socket, and answer with [`Input::Opened`] before anything else happens if possible.
    Open {
        /// The number of the new listener.
        listener: ListenerId,
        /// What to open.
        spec: ListenerSpec,
    },
    /// Answer a worker's listen request, together with the listener's descriptor if it is shared.
    Reply {
        /// The worker that has sent the listen request.
        worker: WorkerId,
        /// The reply, which has the request's number.
        reply: Reply,
    },
    /// Give a worker connections of a listener from now on: its server is up. Never for a shared listener,
    /// and never twice.
    Join {
        /// The worker.
        worker: WorkerId,
        /// The listener.
        listener: ListenerId,
    },
    /// Give a worker that joined no more connections of the listener.
    Leave {
        /// The worker.
        worker: WorkerId,
        /// The listener.
        listener: ListenerId,
    },
    /// Close a listener.
    CloseListener { listener: ListenerId },
}
