//! What the forwarder's brain is told, and what it says.

use std::time::Duration;

use crate::ids::{Slot, WorkerId};
use crate::schedule::Key;

/// Time since some moment in the past.
pub type Time = Duration;

/// A client's connection. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// How a forwarder works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long all workers together may take until one has a client's connection.
    pub connect_timeout: Duration,
    /// How long one worker may take, before the next one is asked.
    pub attempt_timeout: Duration,
    /// How long a connection may go without a byte; for ever if there is none.
    pub idle_timeout: Option<Duration>,
    /// The same for one of which one direction has ended.
    pub half_open_timeout: Option<Duration>,
    /// How many connections there may be; the other clients wait in the backlog.
    pub max_connections: Option<usize>,
    /// How many clients that no worker has taken may wait here rather than in the backlog.
    pub waiting_limit: usize,
    /// How long a worker that refused is left alone at first. Doubled with each refusal.
    pub rest: Duration,
    /// And at the most.
    pub longest_rest: Duration,
    /// How long everything is left alone when there are no descriptors.
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

/// Why a worker did not take a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody listens there: it is dead, or not up yet; or it has reset the connection at once.
    Absent,
    /// Its backlog is full.
    Saturated,
    /// We have no descriptor for the connection.
    Exhausted,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// There is a new worker.
    WorkerAdded {
        /// Its number.
        worker: WorkerId,
        /// Its slot, which it may share with the one that it is to replace.
        slot: Slot,
    },
    /// It is to get no more connections. Those that it has go on.
    WorkerLeaving {
        /// Which.
        worker: WorkerId,
    },
    /// It is dead.
    WorkerExited {
        /// Which.
        worker: WorkerId,
    },
    /// A client has connected.
    Accepted {
        /// Its connection.
        conn: ConnId,
        /// What the client is recognised by, where that counts.
        key: Option<Key>,
    },
    /// There was no descriptor for a client.
    Exhausted,
    /// The worker has taken the connection.
    Connected {
        /// Which connection.
        conn: ConnId,
    },
    /// The worker has not taken it, or has reset it before any byte was passed on.
    Refused {
        /// Which connection.
        conn: ConnId,
        /// Why.
        why: Refusal,
    },
    /// One of the two sides has ended.
    HalfClosed {
        /// Which connection.
        conn: ConnId,
    },
    /// The connection is over.
    Ended {
        /// Which.
        conn: ConnId,
    },
    /// Time has passed.
    Tick,
}

/// Why a client is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No worker has taken the connection in time.
    NoWorker,
    /// No byte has moved for too long.
    Idle,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Connect to this worker for that client. Answer with [`Input::Connected`] or [`Input::Refused`].
    Connect {
        /// For whom.
        conn: ConnId,
        /// To whom.
        worker: WorkerId,
    },
    /// Give up connecting for this client; another order follows.
    GiveUp {
        /// For whom.
        conn: ConnId,
    },
    /// Reset what there is of the connection. It is forgotten here.
    Abort {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: Reason,
    },
    /// Accept nothing.
    Pause,
    /// Accept.
    Resume,
}

/// What the shell knows of its connections.
pub trait Activity {
    /// When a byte was last moved.
    fn last_moved(&self, conn: ConnId) -> Time;
}
