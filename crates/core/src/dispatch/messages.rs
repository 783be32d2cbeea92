//! The words between the dispatcher's brain and its shell.

use std::time::Duration;

use crate::ids::{ListenerId, Slot, WorkerId};
use crate::schedule::{Home, Plan};

/// A moment, as the time since an arbitrary start. It must never go backwards.
pub type Time = Duration;

/// What may be tuned.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The most connections in flight to one worker; at least 1. It has to fit into the channel's buffer.
    pub window: u32,
    /// How long a worker may leave a connection untouched while others could take it.
    pub blocked_after: Duration,
    /// How long a worker is spared connections of a listener after it answered that it does not listen.
    pub retry_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { window: 64, blocked_after: Duration::from_millis(20), retry_after: Duration::from_millis(20) }
    }
}

/// What there is to know of a connection.
pub trait Connection {
    /// Where it belongs, on a sticky listener or one with a hook. It stays the same for as long as the connection is
    /// on its way, also when it comes back; except that what the app has chosen may be forgotten.
    fn home(&self) -> Option<Home>;

    /// Whether it has been with a worker before, which has handed it over in a drain: its client is no new one.
    fn is_kept(&self) -> bool {
        false
    }
}

/// The counters the workers write. None of them can be trusted.
pub trait Board {
    /// How many connections this worker has received from its channel since it exists: also those it
    /// refuses, also those whose descriptor got lost on the way. Probes do not count.
    fn received(&self, worker: WorkerId) -> u64;
    /// How many connections it has open.
    fn open(&self, worker: WorkerId) -> u32;
    /// For how long its event loop has been at work since it began, as of its last turn.
    fn busy(&self, worker: WorkerId) -> Duration;
}

/// Why a worker sent a connection back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not listen there (any more).
    NotListening,
    /// It has as many as it wants. It gets no more of this listener before [`Input::Room`].
    Full,
    /// It has served the connection, does not listen there any more, and hands it over.
    HandedOver,
}

/// What happened.
#[derive(Debug)]
pub enum Input<C> {
    /// A worker's channel is open and its page is on the board.
    WorkerAdded {
        /// The worker.
        worker: WorkerId,
        /// Its slot, which it may share with the one that it is to replace.
        slot: Slot,
    },
    /// A socket listens. It counts as paused until the first [`Output::Resume`].
    ListenerAdded {
        /// The listener.
        listener: ListenerId,
        /// How its connections are distributed.
        plan: Plan,
    },
    /// The socket is closed for good, and so is everything that still waits for it.
    ListenerRemoved {
        /// The listener.
        listener: ListenerId,
    },
    /// A worker listens there, or does so anew.
    Joined {
        /// The worker.
        worker: WorkerId,
        /// Where it listens.
        listener: ListenerId,
    },
    /// A worker does not listen there any more.
    Left {
        /// The worker.
        worker: WorkerId,
        /// What it left.
        listener: ListenerId,
    },
    /// A worker is about to end: it leaves all its listeners and gets nothing more. It may still return connections.
    WorkerLeaving {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker is dead. What it had returned has been reported before this; what it had not received comes
    /// with it, so that there is no moment at which that could be given to it again.
    WorkerExited {
        /// The worker.
        worker: WorkerId,
        /// The contents of its channel, oldest first.
        conns: Vec<(ListenerId, C)>,
    },
    /// A client has been accepted. Or the app has said where a connection goes that is handed over, which is the answer
    /// to [`Output::Ask`].
    Accepted {
        /// Where.
        listener: ListenerId,
        /// The connection.
        conn: C,
    },
    /// A worker sent a connection back.
    Returned {
        /// The worker.
        worker: WorkerId,
        /// Where the connection was accepted, as the worker says.
        listener: ListenerId,
        /// The connection.
        conn: C,
        /// Why.
        why: Refusal,
    },
    /// A worker that was full takes connections again. This and [`Input::Returned`] have to reach us in the
    /// order in which the worker said them. A worker says it also whenever it begins to listen: the word that
    /// an earlier server of it was full may still be on its way, and nothing else would take that back.
    Room {
        /// The worker.
        worker: WorkerId,
        /// Of which listener.
        listener: ListenerId,
    },
    /// A worker that accepts by itself is full, and accepts nothing more until [`Input::Room`], which has to reach us in
    /// the order in which the worker said them.
    Full {
        /// The worker.
        worker: WorkerId,
        /// Of which listener.
        listener: ListenerId,
    },
    /// Clients wait at the socket of this worker's slot, and it has not accepted any for a while.
    Unattended {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker's loop has turned after it was asked to say so.
    Woke {
        /// The worker.
        worker: WorkerId,
    },
    /// The answer to [`Output::Reclaim`], also when there was nothing to take.
    Reclaimed {
        /// The worker.
        worker: WorkerId,
        /// What it had not received, oldest first.
        conns: Vec<(ListenerId, C)>,
    },
    /// These could not be sent.
    Unsent {
        /// The worker.
        worker: WorkerId,
        /// What it was to get, oldest first.
        conns: Vec<(ListenerId, C)>,
    },
    /// Nothing happened, but time has passed or a counter may have moved.
    Tick,
}

/// What the shell has to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<C> {
    /// Pass this on, now or together with others before the shell next sleeps. What does not fit into the
    /// channel is answered by [`Input::Unsent`].
    Send {
        /// To whom.
        worker: WorkerId,
        /// Where it was accepted.
        listener: ListenerId,
        /// The connection.
        conn: C,
    },
    /// Close this: its listener is gone, or a worker made it up.
    Close {
        /// The connection.
        conn: C,
    },
    /// The app has to say anew where this goes: it is handed over, of a listener with a hook. Answered by
    /// [`Input::Accepted`], in any case and in limited time.
    Ask {
        /// Where it was accepted.
        listener: ListenerId,
        /// The connection.
        conn: C,
    },
    /// Turn this away, in the way of its listener's plan: nobody is ready for it.
    Shed {
        /// Where it was accepted.
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
    /// Empty the worker's channel and what is about to be sent there, forget the probes, and answer by
    /// [`Input::Reclaimed`].
    Reclaim {
        /// The worker.
        worker: WorkerId,
    },
    /// Set the flag on its page that makes its loop say [`Input::Woke`] when it has turned. It may have
    /// turned for the last time just before: so when all outputs are carried out, give [`Input::Tick`],
    /// which reads its counter once more.
    WantWake {
        /// The worker.
        worker: WorkerId,
    },
    /// Accept what comes to the socket of this worker's slot, and have the kernel send nothing more there: it cannot
    /// accept by itself just now. Only of listeners whose workers do.
    AcceptOnBehalf {
        /// For whom.
        worker: WorkerId,
        /// Where.
        listener: ListenerId,
    },
    /// It accepts by itself again.
    StopAcceptingOnBehalf {
        /// Who.
        worker: WorkerId,
        /// Where.
        listener: ListenerId,
    },
    /// Send it an empty message, which it does not count, so that its loop has a reason to turn. If its
    /// channel is full there is reason enough, and this can be left out.
    Probe {
        /// The worker.
        worker: WorkerId,
    },
}
