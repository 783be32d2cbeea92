//! How the cluster stands.

use std::time::Duration;

use super::Time;
use super::cluster::Cluster;
use super::slot_record::{SlotRecord, Standing};
use super::worker::{Role, Worker};
use crate::ids::{Slot, WorkerId};

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
    /// The end has been announced, or everything ends or has ended.
    pub stopping: bool,
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
    /// How long ago its worker was started.
    pub uptime: Option<Duration>,
    /// Resident bytes of its worker. Filled in by the shell, as is the next one.
    pub rss: Option<u64>,
    /// How long the event loop of its worker has been at work.
    pub busy: Option<Duration>,
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

impl Cluster {
    /// Whether a slot has no ready worker, and will have one.
    pub(super) fn is_expecting(&self, is_ending: bool) -> bool {
        self.slot_states(is_ending)
            .any(|state| matches!(state, SlotState::Filling | SlotState::BackingOff { .. }))
    }

    /// Whether a slot has a ready worker.
    pub(super) fn is_serving(&self, is_ending: bool) -> bool {
        self.slot_states(is_ending).any(|state| state == SlotState::Serving)
    }

    fn slot_states(&self, is_ending: bool) -> impl Iterator<Item = SlotState> {
        let records = self.slots().records();
        records.map(move |(slot, record)| self.slot_state(slot, record.standing(), self.now(), is_ending))
    }

    pub(super) fn count_workers(&self, which: impl Fn(&Worker) -> bool) -> u32 {
        let count = self.workers().iter().filter(|it| which(it)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    pub(super) fn count_standbys(&self, is_ready: bool) -> u32 {
        self.count_workers(|it| it.role() == Role::Standby && it.is_ready() == is_ready)
    }

    pub(super) fn count_ready_slots(&self) -> u32 {
        let ready = self.all_slots().filter(|slot| self.has_ready(*slot)).count();
        u32::try_from(ready).unwrap_or(u32::MAX)
    }

    /// How each slot stands.
    pub(super) fn slot_stats(&self, now: Time, is_ending: bool) -> Vec<SlotStats> {
        let slots = self.slots().records();
        slots.map(|(slot, record)| self.stats_of(slot, record, now, is_ending)).collect()
    }

    fn stats_of(&self, slot: Slot, record: &SlotRecord, now: Time, is_ending: bool) -> SlotStats {
        let current = self.current(slot).map(|index| self.worker(index));
        let successor = self.successor(slot).map(|index| self.worker(index));
        SlotStats {
            slot,
            state: self.slot_state(slot, record.standing(), now, is_ending),
            worker: current.and_then(Worker::id),
            successor: successor.and_then(Worker::id),
            uptime: current.map(|it| it.uptime(now)),
            rss: None,
            busy: None,
            restarts: record.restarts(),
            failures: record.failures(),
        }
    }

    fn slot_state(&self, slot: Slot, standing: Standing, now: Time, is_ending: bool) -> SlotState {
        if slot.0 >= self.slots().wanted() || is_ending {
            return SlotState::Emptying;
        }
        if self.has_ready(slot) {
            return SlotState::Serving;
        }
        match standing {
            Standing::Held => SlotState::Filling,
            Standing::Due { at, .. } => SlotState::BackingOff { remaining: at.saturating_sub(now) },
            Standing::GivenUp => SlotState::GivenUp,
            Standing::Stopped | Standing::Ending(_) => SlotState::Stopped,
        }
    }
}
