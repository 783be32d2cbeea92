//! How the cluster stands.

use std::time::Duration;

use crate::core::ids::{Slot, WorkerId};

/// How the cluster stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// How many workers there are to be.
    pub workers: u32,
    /// How many slots have a ready worker.
    pub ready: u32,
    /// How many processes there are, of any kind, and such as are about to be spawned.
    pub processes: u32,
    /// How many of them have been replaced, drain, or are being killed.
    pub draining: u32,
    /// How many standbys are ready.
    pub standbys_ready: u32,
    /// How many standbys are starting.
    pub standbys_starting: u32,
    /// How many restarts there have been in all.
    pub restarts: u64,
    /// A reload is running.
    pub reloading: bool,
    /// Everything ends, or has ended.
    pub shutting_down: bool,
    /// All slots, also those that are being given up.
    pub slots: Vec<SlotStats>,
}

/// How a slot stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotStats {
    /// Which.
    pub slot: Slot,
    /// Its state.
    pub state: SlotState,
    /// Its worker, starting or ready.
    pub worker: Option<WorkerId>,
    /// The one that is starting to take its place.
    pub successor: Option<WorkerId>,
    /// How many restarts it has had in all.
    pub restarts: u64,
    /// Failures without a healthy time in between.
    pub failures: u32,
}

/// What state a slot is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Its worker is starting.
    Filling,
    /// Its worker is ready.
    Serving,
    /// It waits before the next worker.
    BackingOff {
        /// How much longer.
        remaining: Duration,
    },
    /// There have been too many restarts.
    GivenUp,
    /// Its worker has ended, or is about to, and by the policy there is no other.
    Stopped,
    /// It is not wanted any more, and its last worker drains.
    Emptying,
}
