//! The inputs and outputs of [`Control`](super::Control).

use super::listeners::{ListenerSpec, Opened};
use super::supervise::{self, Event, ExitKind, Failure, KillSignal, Options};
use crate::ids::{ListenerId, Request, Slot, Ticket, WorkerId};
use crate::wire::{Drain, FromWorker, Reply, ToWorker};

/// What has happened to the control thread.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Input {
    /// The app has forked a worker. Nobody but the app replaces it.
    Forked {
        worker: WorkerId,
        /// It is a program that knows nothing of its link to the primary, and may close it.
        external: bool,
    },
    /// The answer to [`Output::Spawn`]. Everything that the worker does comes after it.
    Spawned {
        ticket: Ticket,
        /// The process it became.
        worker: WorkerId,
        /// As it was ordered; None for a standby.
        slot: Option<Slot>,
        /// It is a program that knows nothing of its link to the primary: it drains at SIGTERM.
        external: bool,
    },
    /// The other answer.
    SpawnFailed {
        ticket: Ticket,
        /// What could not be done, and the system's error.
        cause: String,
    },
    /// A worker has written this on its control socket.
    Said(WorkerId, FromWorker),
    /// A worker has closed its control socket. Mostly its process is about to end.
    HungUp(WorkerId),
    /// A worker broke the rules of its link, or its link cannot be had or used.
    Broke {
        /// The worker.
        worker: WorkerId,
        /// What happened, for a warning.
        why: String,
    },
    /// A worker's process has ended and has been reaped. What it had written before comes before this.
    Exited {
        /// The worker.
        worker: WorkerId,
        /// How it ended.
        exit: ExitKind,
    },
    /// The app has called `disconnect()` for a worker.
    Leave(WorkerId),
    /// The app has called `drain()` for a worker.
    Drain(WorkerId, Drain),
    /// The app knows that a worker has ended, and has forked another if it wants one.
    ExitReported(WorkerId),
    /// The answer to [`Output::Open`].
    Opened {
        /// Which listener.
        listener: ListenerId,
        /// How it went; a negative error number if it did not.
        result: Result<Opened, i32>,
    },
    /// The descriptor that goes with an [`Output::Reply`] cannot be had.
    ReplyFailed {
        /// The worker that waits for the reply.
        worker: WorkerId,
        /// The reply that it has not got.
        reply: Reply,
        /// A negative error number.
        errno: i32,
    },
    /// Begin to supervise. Once only.
    Begin {
        /// What the operator has chosen.
        options: Box<Options>,
        /// Chance, for waits and limits.
        seed: u64,
    },
    /// Something for supervision only: what is asked of it, and what workers have shown.
    Supervise(supervise::Input),
    /// [`Control::next_deadline`](super::Control::next_deadline) has passed.
    Tick,
}

/// What the control thread is to do.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Output {
    /// Start a supervised worker; answer with [`Input::Spawned`] or [`Input::SpawnFailed`] before anything else happens.
    Spawn {
        /// Comes back with the answer.
        ticket: Ticket,
        /// Its slot; None for a standby, which gets no connection before it is promoted.
        slot: Option<Slot>,
        /// The last one in its place did not get ready. If it fails as well, it need not say everything again.
        retry: bool,
    },
    /// A standby has a slot from now on, and may get connections.
    Promote {
        /// The standby.
        worker: WorkerId,
        slot: Slot,
    },
    /// Open a socket; answer with [`Input::Opened`] before anything else happens.
    Open {
        /// Its name from now on.
        listener: ListenerId,
        /// What to open.
        spec: ListenerSpec,
    },
    /// Close a socket: nobody needs it any more.
    CloseListener(ListenerId),
    /// Answer a worker's query, together with the listener's descriptor if it is shared. If there is none to be had
    /// answer with [`Input::ReplyFailed`].
    Reply(WorkerId, Reply),
    /// Write this to a worker's control socket. If that fails answer with [`Input::Broke`].
    Send(WorkerId, ToWorker),
    /// A worker takes connections of a listener from now on.
    Join(WorkerId, ListenerId),
    /// A worker that joined takes no more of them.
    Leave(WorkerId, ListenerId),
    /// A worker leaves by agreement: its end is no failure of the app's.
    Agree(WorkerId),
    /// The forwarder gives the worker no more connections. It must be so before the next output.
    StopForwarding(WorkerId),
    /// Nobody gives a worker any connection from now on. What it has not received goes to others, and its slot is free.
    Withdraw(WorkerId),
    /// All workers drain: what waits for one goes to one first, then this one gets its order.
    LastCall(WorkerId, Drain),
    /// Hang up on a worker: close its control socket and its lifeline. Not an error if that has been done.
    Unlink(WorkerId),
    /// Send a signal to a worker.
    Kill(WorkerId, KillSignal),
    /// Find out where a worker is blocked; answer with [`supervise::Input::Stack`].
    CaptureStack(WorkerId),
    /// A worker's process is gone: what it has not received goes to others, and its slot is free.
    Forget(WorkerId),
    /// Tell the app that a worker has ended, behind what was done before.
    TellExit(WorkerId, ExitKind),
    /// Warn that a worker broke the rules of its link.
    TellBroken(WorkerId, String),
    /// Tell the app, and the service manager, what supervision has decided.
    Tell(Event),
    /// Answer a request to supervision.
    Answer {
        request: Request,
        /// How it went.
        result: Result<(), Failure>,
    },
    /// Have the primary exit.
    StopPrimary {
        /// Its exit code.
        code: i32,
    },
}
