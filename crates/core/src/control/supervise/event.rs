//! What the app is told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::terms::{By, Cause, Excess, Failure, Phase, Reason, Scope, Why};
use crate::ids::{Slot, WorkerId};

/// The primary exits by itself: a slot has been given up and that is to be the end, or none can serve any more.
#[derive(Clone, Debug, PartialEq)]
pub struct GivingUp {
    /// The primary's exit code.
    pub exit_code: i32,
    /// The last failure.
    pub why: Why,
}

/// What is told to the app: every decision, with its cause and figures.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of these fields say what they are")]
pub enum Event {
    /// A worker has been spawned.
    Spawn {
        worker: WorkerId,
        /// In which slot; None for a standby.
        slot: Option<Slot>,
        cause: Cause,
    },
    /// A worker is ready.
    Ready {
        worker: WorkerId,
        /// In which slot; None for a standby.
        slot: Option<Slot>,
        /// Since it was to be spawned.
        boot: Duration,
    },
    /// A worker has failed, and another takes its place.
    Restart {
        /// In which slot; None for a standby.
        slot: Option<Slot>,
        /// The one that failed; None if it could not even be spawned.
        worker: Option<WorkerId>,
        why: Why,
        /// When.
        phase: Phase,
        /// How long until the next one is started. 0 also when a standby is promoted, or a successor was on its way.
        delay: Duration,
        /// How many restarts that makes in the last period of the slot's intensity.
        restarts: u32,
    },
    /// A slot waits before its next worker. Follows a [`Event::Restart`] or [`Event::Retire`].
    Backoff {
        /// Which; None for the standbys.
        slot: Option<Slot>,
        /// How long.
        delay: Duration,
        /// Failures without a healthy time in between.
        failures: u32,
    },
    /// Too many restarts: there will be no more here.
    GaveUp {
        /// Which slot stays empty; None for the standbys.
        slot: Option<Slot>,
        /// The worker that failed last; None if it could not even be spawned.
        worker: Option<WorkerId>,
        /// Which limit it was.
        scope: Scope,
        /// How many restarts there had been.
        restarts: u32,
        /// In how much time.
        period: Duration,
        /// The last failure.
        why: Why,
    },
    /// A worker is to drain because it was asked for.
    Retire {
        worker: WorkerId,
        /// Its slot; None for a standby.
        slot: Option<Slot>,
        reason: Reason,
        /// Why, at length.
        detail: String,
        by: By,
    },
    /// A drain has taken too long and is forced.
    DrainTimeout {
        worker: WorkerId,
        /// Its slot; None for a standby.
        slot: Option<Slot>,
        /// Connections it had open when it was last looked at; None if it never was.
        connections: Option<u32>,
        /// What kept its event loop, as it has said itself; empty if it has not.
        resources: BTreeMap<String, u32>,
    },
    /// A worker that drains has nothing left to serve, and is about to end.
    Drained {
        worker: WorkerId,
        /// Its slot; None for a standby.
        slot: Option<Slot>,
        /// What still keeps its event loop.
        resources: BTreeMap<String, u32>,
    },
    /// A worker's event loop has stopped; it is killed, and has been replaced.
    Unresponsive {
        worker: WorkerId,
        /// Its slot; None for a standby.
        slot: Option<Slot>,
        /// For how long.
        blocked_for: Duration,
        /// Where it is blocked, if that could be found out.
        stack: Option<String>,
    },
    /// A worker is to be replaced because it has become too big, too old, or has served enough.
    Recycle {
        worker: WorkerId,
        slot: Slot,
        /// What there was too much of. It gives the unit of the next two.
        excess: Excess,
        /// How much.
        value: u64,
        /// How much this worker might have had.
        limit: u64,
    },
    /// A reload begins.
    ReloadStarted {
        /// Slots to go through.
        slots: u32,
        /// At a time.
        concurrency: u32,
    },
    /// All workers are new, and the old ones drain.
    ReloadDone {
        /// How long it took.
        took: Duration,
    },
    /// A new worker did not get ready; the old ones that are left stay.
    ReloadFailed {
        /// Which one, and how.
        failure: Failure,
        /// Slots that had been reloaded by then.
        reloaded: u32,
    },
    /// A standby takes over a slot.
    Promote {
        worker: WorkerId,
        slot: Slot,
        /// How long it had been ready.
        standby_for: Duration,
    },
    /// A worker has ended, and by the policy there is no other.
    Stopped {
        /// Which; None if it could not even be spawned.
        worker: Option<WorkerId>,
        /// Its slot; None for a standby.
        slot: Option<Slot>,
        why: Why,
    },
    /// Everything is about to end, and goes on as before until then.
    Stopping {
        /// How long.
        delay: Duration,
    },
    /// Everything ends.
    Shutdown {
        /// Why the primary exits by itself. None if somebody said so.
        gave_up: Option<GivingUp>,
        /// How long the drains may take.
        timeout: Duration,
    },
}
