//! The inputs and outputs of [`Supervise`](super::Supervise).

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::Event;
use super::terms::{By, Cause, ExitKind, Failure, KillSignal, Reason, Vitals};
use crate::ids::{Request, Slot, Ticket, WorkerId};

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Input {
    /// Begin: fill all slots and the bench of standbys.
    Start,
    /// The answer to [`Output::Spawn`], given before any other input if possible.
    Spawned {
        ticket: Ticket,
        /// The process it became.
        worker: WorkerId,
    },
    /// The other answer.
    SpawnFailed {
        ticket: Ticket,
        /// What could not be done, and the system's error.
        cause: String,
    },
    /// A worker's link is up.
    Online { worker: WorkerId },
    /// A server of a worker is up. Every time, or the first time only: as is convenient.
    Listening { worker: WorkerId },
    /// A worker says that it is ready.
    Ready { worker: WorkerId },
    /// A worker is to be replaced and to drain.
    RetireAsked {
        worker: WorkerId,
        /// Why, in a word.
        reason: Reason,
        /// Why, at length; may be empty.
        detail: String,
        by: By,
    },
    /// A worker takes no more connections: because we told it to drain, or because the app called `disconnect()`.
    Leaving { worker: WorkerId },
    /// A worker that drains says what keeps it.
    Held {
        worker: WorkerId,
        /// It has nothing left to serve.
        drained: bool,
        /// What keeps its event loop, and how many there are of each.
        resources: BTreeMap<String, u32>,
    },
    /// On how many listeners this worker is the only one that serves. To be given whenever that changes.
    ServesAlone { worker: WorkerId, listeners: usize },
    /// The link to a worker is cut: it has broken the rules, or has closed its end and lives on.
    CutOff { worker: WorkerId },
    /// A worker's process has ended.
    Exited { worker: WorkerId, exit: ExitKind },
    /// What a look at a worker says. To be given for every supervised worker before the [`Input::Tick`] that
    /// [`Supervise::samples_at`](super::Supervise::samples_at) asks for.
    Vitals {
        worker: WorkerId,
        /// What it shows.
        vitals: Vitals,
    },
    /// The answer to [`Output::CaptureStack`]. It need not come: we do not wait for it long.
    Stack {
        /// Which worker's.
        worker: WorkerId,
        /// Where it is blocked. None if that cannot be found out.
        text: Option<String>,
    },
    /// Have that many slots.
    Scale {
        /// How many; 1 to [`MAX_WORKERS`](super::MAX_WORKERS).
        workers: u32,
        /// What [`Output::Done`] answers.
        request: Request,
    },
    /// Replace all workers by new ones.
    Reload {
        /// How many at a time, at least 1. A reload that joins one that runs has no say in it.
        concurrency: u32,
        /// What [`Output::Done`] answers.
        request: Request,
    },
    /// Drain all and end. Given once more, it may only go faster.
    Shutdown {
        /// How long to go on as before, announced as about to end.
        delay: Duration,
        /// How long that may take before it is forced.
        timeout: Duration,
        /// What [`Output::Done`] answers.
        request: Request,
    },
    /// End now: SIGKILL for everybody. Nothing is started any more, as after a shutdown.
    Force,
    /// [`Supervise::next_deadline`](super::Supervise::next_deadline) has passed.
    Tick,
}

/// What the shell has to do, in this order, before the next input.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Output {
    /// Start a process. Answer with [`Input::Spawned`] or [`Input::SpawnFailed`] once all outputs are carried out.
    Spawn {
        /// What the answer has to name.
        ticket: Ticket,
        /// For which slot; None for a standby.
        slot: Option<Slot>,
        cause: Cause,
        /// The last one in this place did not get ready.
        retry: bool,
    },
    /// A standby takes over a slot: let it have connections, and tell it.
    Promote { worker: WorkerId, slot: Slot },
    /// Tell a worker to take no more connections, to finish and to exit.
    Drain {
        worker: WorkerId,
        reason: Reason,
        /// After what time it will be forced.
        timeout: Duration,
    },
    /// Tell a worker that wants to go that it is to serve until it is told to drain.
    Keep { worker: WorkerId },
    /// Send a signal. The process may be gone already.
    Kill { worker: WorkerId, signal: KillSignal },
    /// Give what waits in an unresponsive worker's channel to others, and nothing more to it.
    Reclaim { worker: WorkerId },
    /// Give a worker's event loop a reason to turn.
    Probe { worker: WorkerId },
    /// Find out where a worker is blocked; answer with [`Input::Stack`].
    CaptureStack { worker: WorkerId },
    /// Tell the app.
    Tell(Event),
    /// A request is answered. Each is, once.
    Done {
        request: Request,
        /// How it went.
        result: Result<(), Failure>,
    },
    /// All are gone, and the primary is to exit, too.
    StopPrimary {
        /// Its exit code.
        code: i32,
    },
}
