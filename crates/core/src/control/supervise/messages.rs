//! The inputs and outputs of [`Supervise`](super::Supervise).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::event::Event;
use super::terms::{By, Cause, ExitKind, Failure, KillSignal, Reason, Time, Vitals};
use crate::ids::{Request, Slot, Ticket, WorkerId};

/// An input of supervision.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Input {
    /// Begin: fill all slots and the bench of standbys.
    Start,
    /// The answer to [`Output::Spawn`], given before any other input if possible.
    Spawned {
        ticket: Ticket,
        /// The new worker.
        worker: WorkerId,
    },
    /// The other answer to [`Output::Spawn`].
    SpawnFailed {
        ticket: Ticket,
        /// What failed, with the system's error.
        cause: String,
    },
    /// A worker's link is up.
    Online { worker: WorkerId },
    /// A server of a worker is up. Repeated inputs are allowed.
    Listening { worker: WorkerId },
    /// A worker reports that it is ready.
    Ready { worker: WorkerId },
    /// A worker is to be replaced and to drain.
    RetireAsked {
        worker: WorkerId,
        /// The reason, as one word.
        reason: Reason,
        /// The reason at length; may be empty.
        detail: String,
        by: By,
    },
    /// A worker takes no more connections: on our order to drain, or because the app called `disconnect()`.
    Leaving { worker: WorkerId },
    /// A draining worker reports what keeps it alive.
    Held {
        worker: WorkerId,
        /// Whether it has nothing left to serve.
        drained: bool,
        /// The resources that keep its event loop alive, with the number of each.
        resources: BTreeMap<String, u32>,
    },
    /// The number of listeners that only this worker serves. Give this input whenever it changes.
    ServesAlone { worker: WorkerId, listeners: usize },
    /// The worker was cut off: it broke the protocol, or closed its end of the link and keeps running.
    CutOff { worker: WorkerId },
    /// The last lines that a worker wrote to stderr. Give this input right before the worker fails: before
    /// [`Input::Exited`], before [`Input::CutOff`], and before [`Input::Tick`] for
    /// [`Supervise::late`](super::Supervise::late).
    Stderr {
        worker: WorkerId,
        /// The lines.
        lines: Arc<[String]>,
    },
    /// A worker's process has ended.
    Exited { worker: WorkerId, exit: ExitKind },
    /// A sample of a worker. Give one for every supervised worker before the [`Input::Tick`] that
    /// [`Supervise::samples_at`](super::Supervise::samples_at) requires.
    Vitals {
        worker: WorkerId,
        /// The sample.
        vitals: Vitals,
    },
    /// The answer to [`Output::CaptureStack`]. It is optional: supervision waits only a short time for it.
    Stack {
        /// The worker.
        worker: WorkerId,
        /// The stack at which it is blocked. `None` if it could not be captured.
        text: Option<String>,
    },
    /// An operator examines a worker, which may block its event loop: until then it does not count as
    /// unresponsive. The last such input counts.
    Excuse {
        worker: WorkerId,
        /// `None`: it can count as unresponsive again from now on.
        until: Option<Time>,
    },
    /// Change the number of slots.
    Scale {
        /// The number of slots; 1 to [`MAX_WORKERS`](super::MAX_WORKERS).
        workers: u32,
        /// The request that [`Output::Done`] answers.
        request: Request,
    },
    /// The available resources, read again.
    Limits {
        /// The number of CPUs.
        cpus: u32,
        /// The memory in bytes; `None` if it is unknown.
        memory: Option<u64>,
    },
    /// Keep the number of slots equal to the number of CPUs, until [`Input::Scale`].
    FollowCpus,
    /// Replace the worker of this slot.
    Restart {
        slot: Slot,
        /// The request that [`Output::Done`] answers.
        request: Request,
    },
    /// Drain the worker of this slot, and keep the slot empty until it is restarted or reloaded.
    DrainSlot {
        slot: Slot,
        /// The request that [`Output::Done`] answers once the worker has ended.
        request: Request,
    },
    /// Replace all workers by new ones.
    Reload {
        /// How many at a time, at least 1. Ignored if it joins a running reload.
        concurrency: u32,
        /// The request that [`Output::Done`] answers.
        request: Request,
    },
    /// Drain all workers and end. A second shutdown can only shorten the first.
    Shutdown {
        /// How long to keep running after the announcement.
        delay: Duration,
        /// How long the drain may take before it is forced.
        timeout: Duration,
        /// The request that [`Output::Done`] answers.
        request: Request,
    },
    /// End now: SIGKILL for all workers. Nothing is started any more, as after a shutdown.
    Force,
    /// [`Supervise::next_deadline`](super::Supervise::next_deadline) has passed.
    Tick,
}

/// An order to start a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnOrder {
    /// The number that the answer must carry.
    pub ticket: Ticket,
    /// Its slot; `None` for a standby, which gets no connections before its promotion.
    pub slot: Option<Slot>,
    /// The cause.
    pub cause: Cause,
    /// Whether the previous worker in its place did not get ready. If this one fails too, the error need not
    /// be reported in full again.
    pub retry: bool,
}

/// An output of supervision. Carry out all outputs, in order, before the next input.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Output {
    /// Start a process. Answer with [`Input::Spawned`] or [`Input::SpawnFailed`] once all outputs are carried
    /// out.
    Spawn(SpawnOrder),
    /// A standby takes over a slot: pass it connections, and notify it.
    Promote { worker: WorkerId, slot: Slot },
    /// Order a worker to take no more connections, to finish and to exit.
    Drain {
        worker: WorkerId,
        reason: Reason,
        /// The time after which it will be forced to end.
        timeout: Duration,
    },
    /// Order a worker that requested its retirement to serve until it gets a drain order.
    Keep { worker: WorkerId },
    /// Send a signal. The process may already be gone.
    Kill { worker: WorkerId, signal: KillSignal },
    /// Pass the connections in an unresponsive worker's channel to others, and pass it no more.
    Reclaim { worker: WorkerId },
    /// Give a worker's event loop something to do, so that a loop that is only idle turns.
    Probe { worker: WorkerId },
    /// Capture the stack of a blocked worker; answer with [`Input::Stack`].
    CaptureStack { worker: WorkerId },
    /// Send the app an event.
    Tell(Event),
    /// Answer a request. Each is answered once.
    Done {
        request: Request,
        /// The result.
        result: Result<(), Failure>,
    },
    /// All workers have exited, and the primary must exit too.
    StopPrimary {
        /// Its exit code.
        code: i32,
    },
}
