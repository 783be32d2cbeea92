//! The inputs and outputs of the dispatcher's state machine.

use std::time::Duration;

use crate::ids::{ListenerId, Slot, WorkerId};
use crate::schedule::{Home, Plan};
use crate::shortage::PAUSE;

/// A time since an arbitrary start. It must never go backwards.
pub type Time = Duration;

/// The tunable settings.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The largest number of connections in flight to one worker; at least 1. The channel's buffer must hold
    /// them.
    pub window: u32,
    /// How long a worker may leave a connection unreceived while other workers could take it.
    pub blocked_after: Duration,
    /// How long a worker gets no connections of a listener after it reported that it does not listen.
    pub retry_after: Duration,
    /// When connections are reclaimed for which there were no descriptors.
    pub reclaim_again_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: 64,
            blocked_after: Duration::from_millis(20),
            retry_after: Duration::from_millis(20),
            reclaim_again_after: PAUSE,
        }
    }
}

/// The dispatcher's information about a connection.
pub trait Connection {
    /// Where it belongs, on a sticky listener or one with a hook. It stays the same while the connection is
    /// in transit, also when it is returned; except that the app's choice may be forgotten.
    fn home(&self) -> Option<Home>;

    /// Whether a draining worker has handed it over: then its client is not new.
    fn is_kept(&self) -> bool {
        false
    }
}

/// The counters that workers write. They are not trusted.
pub trait Board {
    /// How many connections this worker has received from its channel in total, including those that it
    /// refuses and those whose descriptor was lost. Probes do not count.
    fn received(&self, worker: WorkerId) -> u64;
    /// The number of its open connections.
    fn open(&self, worker: WorkerId) -> u32;
    /// How long its event loop has been busy in total, as of its last turn.
    fn busy(&self, worker: WorkerId) -> Duration;
}

/// Why a worker sent a connection back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not listen on the listener, or no longer.
    NotListening,
    /// It has reached `maxConnections`. It gets no more of this listener before [`Input::Room`].
    Full,
    /// It has served the connection, does not listen any more, and hands it over.
    HandedOver,
}

/// An input of the dispatcher.
#[derive(Debug)]
pub enum Input<C> {
    /// A worker's channel is open and its page is on the board.
    WorkerAdded {
        /// The worker.
        worker: WorkerId,
        /// Its slot, which it may share with the worker that it is to replace.
        slot: Slot,
    },
    /// A socket listens. It counts as paused until the first [`Output::Resume`].
    ListenerAdded {
        /// The listener.
        listener: ListenerId,
        /// How its connections are distributed.
        plan: Plan,
    },
    /// The listener is closed for good, and so are all connections that still wait for it.
    ListenerRemoved {
        /// The listener.
        listener: ListenerId,
    },
    /// A worker listens on a listener, for the first time or again.
    Joined {
        /// The worker.
        worker: WorkerId,
        /// The listener.
        listener: ListenerId,
    },
    /// A worker no longer listens on a listener.
    Left {
        /// The worker.
        worker: WorkerId,
        /// The listener.
        listener: ListenerId,
    },
    /// A worker is about to end: it leaves all its listeners and gets nothing more. It may still return
    /// connections.
    WorkerLeaving {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker is dead. Connections that it returned have been reported before; those that it had not
    /// received come with this input, so that they cannot be given to it again in between.
    WorkerExited {
        /// The worker.
        worker: WorkerId,
        /// The contents of its channel, oldest first.
        conns: Vec<(ListenerId, C)>,
    },
    /// A client was accepted. Or the app has chosen a worker for a connection that is handed over: the answer
    /// to [`Output::Ask`].
    Accepted {
        /// The listener.
        listener: ListenerId,
        /// The connection.
        conn: C,
    },
    /// A worker sent a connection back.
    Returned {
        /// The worker.
        worker: WorkerId,
        /// The listener, as the worker reports it.
        listener: ListenerId,
        /// The connection.
        conn: C,
        /// The reason.
        why: Refusal,
    },
    /// A worker that was full takes connections again. This and [`Input::Returned`] must arrive in the order
    /// in which the worker sent them. A worker sends it also whenever it begins to listen: the report that an
    /// earlier server of it was full may still be under way, and nothing else would correct that.
    Room {
        /// The worker.
        worker: WorkerId,
        /// The listener.
        listener: ListenerId,
    },
    /// A worker that accepts by itself is full, and accepts nothing more until [`Input::Room`]. The two must
    /// arrive in the order in which the worker sent them.
    Full {
        /// The worker.
        worker: WorkerId,
        /// The listener.
        listener: ListenerId,
    },
    /// Clients wait on the socket of this worker's slot, and it has not accepted any for a while.
    Unattended {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker's loop has turned after a request to report that.
    Woke {
        /// The worker.
        worker: WorkerId,
    },
    /// The answer to [`Output::Reclaim`], even if the channel was empty.
    Reclaimed {
        /// The worker.
        worker: WorkerId,
        /// The connections that it had not received, oldest first.
        conns: Vec<(ListenerId, C)>,
        /// Whether these are all. The others stay in the channel, for lack of descriptors.
        all: bool,
    },
    /// These connections could not be sent.
    Unsent {
        /// The worker.
        worker: WorkerId,
        /// The connections, oldest first.
        conns: Vec<(ListenerId, C)>,
    },
    /// Only time has passed, or a counter may have changed.
    Tick,
}

/// An output of the dispatcher. Carry out all outputs in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<C> {
    /// Send this connection, now or together with others before the shell next sleeps. Connections that do
    /// not fit into the channel come back with [`Input::Unsent`].
    Send {
        /// The receiver.
        worker: WorkerId,
        /// The listener that accepted it.
        listener: ListenerId,
        /// The connection.
        conn: C,
    },
    /// Close this connection: its listener is gone, or a worker sent it without having had it.
    Close {
        /// The connection.
        conn: C,
    },
    /// The app must choose a worker again: the connection is handed over, and its listener has a hook. Always
    /// answered by [`Input::Accepted`], in limited time.
    Ask {
        /// The listener that accepted it.
        listener: ListenerId,
        /// The connection.
        conn: C,
    },
    /// Shed this connection as its listener's plan says: no worker is ready.
    Shed {
        /// The listener that accepted it.
        listener: ListenerId,
        /// The connection.
        conn: C,
    },
    /// Accept nothing more here.
    Pause {
        /// The listener.
        listener: ListenerId,
    },
    /// Accept again.
    Resume {
        /// The listener.
        listener: ListenerId,
    },
    /// Empty the worker's channel and the messages about to be sent on it, discard the probes, and answer
    /// with [`Input::Reclaimed`]. Connections for which there are no descriptors stay in the channel.
    Reclaim {
        /// The worker.
        worker: WorkerId,
    },
    /// Set the flag on its page that makes its loop send [`Input::Woke`] after a turn. The last turn may have
    /// been just before: so after all outputs have been carried out, give [`Input::Tick`], which reads its
    /// counter once more.
    WantWake {
        /// The worker.
        worker: WorkerId,
    },
    /// Accept from the socket of this worker's slot, and have the kernel send no more connections there: the
    /// worker cannot accept now. Only for listeners whose workers accept by themselves.
    AcceptOnBehalf {
        /// The worker.
        worker: WorkerId,
        /// The listener.
        listener: ListenerId,
    },
    /// The worker accepts by itself again.
    StopAcceptingOnBehalf {
        /// The worker.
        worker: WorkerId,
        /// The listener.
        listener: ListenerId,
    },
    /// Send an empty message, which the worker does not count, so that its loop turns. It can be left out if
    /// the channel is full.
    Probe {
        /// The worker.
        worker: WorkerId,
    },
}
