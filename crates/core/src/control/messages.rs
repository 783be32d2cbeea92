//! The inputs and outputs of [`Control`](super::Control).

use super::listeners::{ListenerSpec, Opened};
use super::operator;
use super::supervise::{self, Event, ExitKind, Failure, KillSignal, Options};
use crate::frames::{Drain, FromWorker, Reply, ToWorker};
use crate::ids::{ListenerId, Request, Slot, Ticket, WorkerId};

/// An input of the control thread.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Input {
    /// The app has forked a worker. Only the app replaces it.
    Forked {
        worker: WorkerId,
        /// Whether it is an external program, which does not know its link to the primary and may close it.
        external: bool,
    },
    /// The answer to [`Output::Spawn`]. All inputs about the worker come after it.
    Spawned {
        ticket: Ticket,
        /// The new worker.
        worker: WorkerId,
        /// The slot of the order; `None` for a standby.
        slot: Option<Slot>,
        /// Whether it is an external program, which does not know its link to the primary: it drains on
        /// SIGTERM.
        external: bool,
    },
    /// The other answer to [`Output::Spawn`].
    SpawnFailed {
        ticket: Ticket,
        /// What failed, with the system's error.
        cause: String,
    },
    /// A worker wrote this on its control socket.
    Frame(WorkerId, FromWorker),
    /// A worker has closed its control socket. Usually its process is about to end.
    HungUp(WorkerId),
    /// A worker violated the protocol of its link, or its link cannot be created or used.
    Broke {
        /// The worker.
        worker: WorkerId,
        /// The violation, for a warning.
        why: String,
    },
    /// A worker's process has ended and has been reaped. Everything that it wrote comes before this input.
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
    /// [`Output::LastCall`] has been carried out.
    LastCalled(WorkerId, Drain),
    /// The app knows that a worker has ended, and has already forked a replacement if it wants one.
    ExitReported(WorkerId),
    /// The answer to [`Output::Open`].
    Opened {
        /// The listener.
        listener: ListenerId,
        /// The result, or a negative error number.
        result: Result<Opened, i32>,
    },
    /// The descriptor for an [`Output::Reply`] could not be obtained.
    ReplyFailed {
        /// The worker that waits for the reply.
        worker: WorkerId,
        /// The reply that was not sent.
        reply: Reply,
        /// A negative error number.
        errno: i32,
    },
    /// Begin supervision. Once only.
    Begin {
        /// The options of supervision.
        options: Box<Options>,
        /// The seed of the random waits and limits.
        seed: u64,
    },
    /// An input for supervision only: a request, or a sample of a worker.
    Supervise(supervise::Input),
    /// An event at the control socket of the operators.
    Operator(operator::Input),
    /// [`Control::next_deadline`](super::Control::next_deadline) has passed.
    Tick,
}

/// An output of the control thread.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Output {
    /// Start a supervised worker; answer with [`Input::Spawned`] or [`Input::SpawnFailed`] before any other
    /// input.
    Spawn(supervise::SpawnOrder),
    /// A standby gets a slot, and may get connections from now on.
    Promote {
        /// The standby.
        worker: WorkerId,
        slot: Slot,
    },
    /// Open a socket; answer with [`Input::Opened`] before any other input.
    Open {
        /// The number of the new listener.
        listener: ListenerId,
        /// What to open.
        spec: ListenerSpec,
    },
    /// Close a socket.
    CloseListener(ListenerId),
    /// Answer a worker's listen request, together with the listener's descriptor if it is shared. If the
    /// descriptor cannot be obtained, answer with [`Input::ReplyFailed`].
    Reply(WorkerId, Reply),
    /// Write this to a worker's control socket. If that fails, answer with [`Input::Broke`].
    Send(WorkerId, ToWorker),
    /// Give a worker connections of a listener from now on.
    Join(WorkerId, ListenerId),
    /// Give a worker that joined no more connections of the listener.
    Leave(WorkerId, ListenerId),
    /// A worker leaves by agreement: its end is not the app's failure.
    Agree(WorkerId),
    /// Have the forwarder give the worker no more connections. Must take effect before the next output.
    StopForwarding(WorkerId),
    /// Pass no more connections to a worker. Those that it has not received go to others, and its slot is
    /// free.
    Withdraw(WorkerId),
    /// All workers drain: pass this one the connections that wait for it, then no more, and answer with
    /// [`Input::LastCalled`] and the same order, less the time that this took.
    LastCall(WorkerId, Drain),
    /// Close a worker's control socket and lifeline. No error if they are already closed.
    Unlink(WorkerId),
    /// Send a signal to a worker.
    Kill(WorkerId, KillSignal),
    /// Find out where a worker is blocked; answer with [`supervise::Input::Stack`].
    CaptureStack(WorkerId),
    /// A worker's process is gone: connections that it has not received go to others, and its slot is free.
    Forget(WorkerId),
    /// Tell the app that a worker has ended, after everything before in the queue.
    TellExit(WorkerId, ExitKind),
    /// Warn that a worker violated the protocol of its link.
    TellBroken(WorkerId, String),
    /// Report a decision of supervision to the app and the service manager.
    Tell(Event),
    /// Answer a request to supervision.
    Answer {
        request: Request,
        /// The result.
        result: Result<(), Failure>,
    },
    /// Carry this out at the control socket of the operators.
    Operator(operator::Output),
    /// Have the primary exit.
    StopPrimary {
        /// Its exit code.
        code: i32,
    },
}
