//! The events of supervision.

use std::collections::BTreeMap;
use std::time::Duration;

use super::terms::{By, Cause, Excess, Failure, Phase, Reason, Scope, StderrTail, Why};
use crate::ids::{Slot, WorkerId};

/// Why the primary exits by itself: a slot was given up and `onGiveUp` ends the cluster, or no slot can serve
/// any more.
#[derive(Clone, Debug, PartialEq)]
pub struct GivingUp {
    /// The primary's exit code.
    pub exit_code: i32,
    /// The last failure.
    pub why: Why,
}

/// An event for the app: every decision of supervision, with its cause and figures.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Event {
    /// A worker has been spawned.
    Spawn {
        worker: WorkerId,
        /// The slot; `None` for a standby.
        slot: Option<Slot>,
        cause: Cause,
    },
    /// A worker is ready.
    Ready {
        worker: WorkerId,
        /// The slot; `None` for a standby.
        slot: Option<Slot>,
        /// The time since its order.
        boot: Duration,
    },
    /// A worker has failed, and another takes its place.
    Restart {
        /// The slot; `None` for a standby.
        slot: Option<Slot>,
        /// The worker that failed; `None` if it could not be spawned.
        worker: Option<WorkerId>,
        why: Why,
        /// Whether the worker had been ready.
        phase: Phase,
        /// The time until the next one is started. Also 0 if a standby is promoted, or if a successor is
        /// already starting.
        delay: Duration,
        /// The number of restarts in the last period of the slot's intensity, including this one.
        restarts: u32,
        /// The last lines of its stderr.
        stderr: StderrTail,
    },
    /// A slot waits before its next worker. Follows a [`Event::Restart`] or [`Event::Retire`].
    Backoff {
        /// The slot; `None` for the standbys.
        slot: Option<Slot>,
        /// The wait.
        delay: Duration,
        /// Consecutive failures without a healthy time in between.
        failures: u32,
    },
    /// The budget of restarts is used up: there will be no more here.
    GaveUp {
        /// The slot that stays empty; `None` for the standbys.
        slot: Option<Slot>,
        /// The worker that failed last; `None` if it could not be spawned.
        worker: Option<WorkerId>,
        /// The exceeded limit.
        scope: Scope,
        /// The number of restarts in the period.
        restarts: u32,
        /// The period.
        period: Duration,
        /// The last failure.
        why: Why,
        /// Whether that worker had been ready.
        phase: Phase,
        /// The last lines of its stderr.
        stderr: StderrTail,
    },
    /// A worker is to drain on request.
    Retire {
        worker: WorkerId,
        /// Its slot; `None` for a standby.
        slot: Option<Slot>,
        reason: Reason,
        /// The reason at length.
        detail: String,
        by: By,
    },
    /// A drain has taken too long and is forced.
    DrainTimeout {
        worker: WorkerId,
        /// Its slot; `None` for a standby.
        slot: Option<Slot>,
        /// Open connections in the last sample; `None` if there was none.
        connections: Option<u32>,
        /// The resources that keep its event loop alive, as it reported them; empty if it did not.
        resources: BTreeMap<String, u32>,
    },
    /// A draining worker has nothing left to serve, and is about to end.
    Drained {
        worker: WorkerId,
        /// Its slot; `None` for a standby.
        slot: Option<Slot>,
        /// The resources that still keep its event loop alive.
        resources: BTreeMap<String, u32>,
    },
    /// A worker is unresponsive; it has been replaced and is being killed.
    Unresponsive {
        worker: WorkerId,
        /// Its slot; `None` for a standby.
        slot: Option<Slot>,
        /// How long it has been blocked.
        blocked_for: Duration,
        /// The stack at which it is blocked, if it could be captured.
        stack: Option<String>,
    },
    /// A worker is to be replaced because it has reached a limit of memory, age or connections.
    Recycle {
        worker: WorkerId,
        slot: Slot,
        /// The limit, which gives the unit of the next two fields.
        excess: Excess,
        /// The value of the worker.
        value: u64,
        /// The limit of this worker.
        limit: u64,
    },
    /// A reload begins.
    ReloadStarted {
        /// The number of slots to reload.
        slots: u32,
        /// How many at a time.
        concurrency: u32,
    },
    /// All workers are new, and the old ones drain.
    ReloadDone {
        /// How long it took.
        took: Duration,
    },
    /// A new worker did not get ready; the old workers that are left stay.
    ReloadFailed {
        /// The failure.
        failure: Failure,
        /// The number of slots reloaded so far.
        reloaded: u32,
    },
    /// The number of slots follows the number of CPUs: one slot was added or removed.
    Follow {
        /// The number of usable CPUs.
        cpus: u32,
        /// The new number of slots.
        workers: u32,
    },
    /// A standby takes over a slot.
    Promote {
        worker: WorkerId,
        slot: Slot,
        /// How long it had been ready.
        standby_for: Duration,
    },
    /// A worker has ended, and the policy allows no replacement.
    Stopped {
        /// The worker; `None` if it could not be spawned.
        worker: Option<WorkerId>,
        /// Its slot; `None` for a standby.
        slot: Option<Slot>,
        why: Why,
        /// Whether it had been ready.
        phase: Phase,
        /// The last lines of its stderr.
        stderr: StderrTail,
    },
    /// A shutdown is announced; the cluster keeps running until it begins.
    Stopping {
        /// The time until it begins.
        delay: Duration,
    },
    /// The shutdown begins.
    Shutdown {
        /// Why the primary exits by itself. `None` if the shutdown was requested.
        gave_up: Option<GivingUp>,
        /// How long the drains may take.
        timeout: Duration,
    },
}
