//! The inputs and outputs of the forwarder's state machine.

use std::time::Duration;

use crate::ids::{Slot, WorkerId};
use crate::schedule::Key;

/// A time since an arbitrary moment in the past.
pub type Time = Duration;

/// A client's connection. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// The settings of a front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long all attempts together may take until a worker has accepted a client's connection.
    pub connect_timeout: Duration,
    /// How long one worker may take before the next one is tried.
    pub attempt_timeout: Duration,
    /// How long a connection may be idle; `None` for no limit.
    pub idle_timeout: Option<Duration>,
    /// The same for a connection with one ended direction.
    pub half_open_timeout: Option<Duration>,
    /// The largest number of connections; further clients wait in the backlog.
    pub max_connections: Option<usize>,
    /// How many clients without a worker may wait here and not in the backlog.
    pub waiting_limit: usize,
    /// The first rest of a worker that refused. Doubled with each refusal.
    pub rest: Duration,
    /// The longest rest.
    pub longest_rest: Duration,
    /// How long everything pauses when there are no descriptors.
    pub exhausted_pause: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(1),
            idle_timeout: None,
            half_open_timeout: Some(Duration::from_secs(120)),
            max_connections: None,
            waiting_limit: 64,
            rest: Duration::from_millis(5),
            longest_rest: Duration::from_millis(100),
            exhausted_pause: Duration::from_millis(100),
        }
    }
}

/// Why a worker did not accept a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing listens on its address, because it is dead or not up yet; or it reset the connection at once.
    Absent,
    /// Its backlog is full.
    Saturated,
    /// The primary has no descriptor for the connection.
    Exhausted,
}

/// An input of the forwarder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A worker was added.
    WorkerAdded {
        /// The worker.
        worker: WorkerId,
        /// Its slot, which it may share with the worker that it is to replace.
        slot: Slot,
    },
    /// The worker gets no more connections. Those that it has continue.
    WorkerLeaving {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker is dead.
    WorkerExited {
        /// The worker.
        worker: WorkerId,
    },
    /// A client has connected.
    Accepted {
        /// The connection.
        conn: ConnId,
        /// What identifies the client, if that counts.
        key: Option<Key>,
    },
    /// There was no descriptor for a client.
    Exhausted,
    /// The worker has accepted the connection.
    Connected {
        /// The connection.
        conn: ConnId,
    },
    /// The worker has not accepted it, or has reset it before any byte was forwarded.
    Refused {
        /// The connection.
        conn: ConnId,
        /// The reason.
        why: Refusal,
    },
    /// One direction has ended.
    HalfClosed {
        /// The connection.
        conn: ConnId,
    },
    /// The connection has ended.
    Ended {
        /// The connection.
        conn: ConnId,
    },
    /// Time has passed.
    Tick,
}

/// Why a connection is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No worker has accepted the connection in time.
    NoWorker,
    /// It was idle for too long.
    Idle,
}

/// An output of the forwarder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Connect to this worker for a client. Answer with [`Input::Connected`] or [`Input::Refused`].
    Connect {
        /// The client's connection.
        conn: ConnId,
        /// The worker.
        worker: WorkerId,
    },
    /// Cancel the attempt to connect for this client; another output follows.
    GiveUp {
        /// The client's connection.
        conn: ConnId,
    },
    /// Reset the connection. Its number is not used any more.
    Abort {
        /// The connection.
        conn: ConnId,
        /// The reason.
        reason: Reason,
    },
    /// Stop accepting clients.
    Pause,
    /// Accept clients again.
    Resume,
}

/// The shell's information about its connections.
pub trait Activity {
    /// When a byte was last moved.
    fn last_moved(&self, conn: ConnId) -> Time;
}
