//! The statistics of the cluster.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Time;
use super::cluster::Cluster;
use super::slot_record::{SlotRecord, Standing};
use super::worker::{Role, Worker};
use crate::frames::milliseconds;
use crate::ids::{Slot, WorkerId};

/// The statistics of the cluster. As JSON they are the result of `stats()` and part of the status document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// The wanted number of workers.
    pub workers: u32,
    /// The number of slots with a ready worker.
    pub ready: u32,
    /// The number of all processes, including those about to be spawned.
    pub processes: u32,
    /// The number of processes that have been replaced, drain, or are being killed.
    pub draining: u32,
    /// The standbys.
    pub standby: Standbys,
    /// The total number of restarts.
    pub restarts: u64,
    /// 1, plus one for each reload that has begun.
    #[serde(skip)]
    pub generation: u32,
    /// Whether a reload is running.
    pub reloading: bool,
    /// Whether the shutdown has been announced, is running or is complete.
    pub stopping: bool,
    /// Whether the shutdown is running or complete.
    pub shutting_down: bool,
    /// All slots, including those being removed.
    pub slots: Vec<SlotStats>,
    /// The workers that are about to end.
    #[serde(skip)]
    pub leaving: Vec<LeavingStats>,
}

/// The numbers of standbys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Standbys {
    /// The number of ready standbys.
    pub ready: u32,
    /// The number of starting standbys.
    pub starting: u32,
}

/// A worker that was replaced or is not needed, and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeavingStats {
    /// The worker; `None` if it has no process yet.
    pub worker: Option<WorkerId>,
    /// The slot that it had; `None` for a standby.
    pub slot: Option<Slot>,
    /// The time until it is forced to end; `None` once SIGKILL was sent.
    pub remaining: Option<Duration>,
}

/// The statistics of a slot. As JSON, times are in ms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotStats {
    /// The number of the slot.
    pub slot: Slot,
    /// Its state.
    pub state: SlotState,
    /// Its worker, starting or ready.
    pub worker: Option<WorkerId>,
    /// The worker that is starting to take its place.
    pub successor: Option<WorkerId>,
    /// The generation of its worker.
    #[serde(skip)]
    pub generation: Option<u32>,
    /// How long the event loop of its worker has been blocked; `None` unless that is watched.
    #[serde(skip)]
    pub blocked: Option<Duration>,
    /// How long ago its worker was started.
    #[serde(serialize_with = "whole_ms")]
    pub uptime: Option<Duration>,
    /// How long its worker took to get ready.
    #[serde(skip)]
    pub boot: Option<Duration>,
    /// Resident memory of its worker in bytes. The shell fills in this field and the next one.
    #[serde(rename = "memory")]
    pub rss: Option<u64>,
    /// How long the event loop of its worker has been busy in total.
    #[serde(serialize_with = "exact_ms")]
    pub busy: Option<Duration>,
    /// The total number of restarts.
    pub restarts: u64,
    /// Consecutive failures without a healthy time in between.
    pub failures: u32,
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn whole_ms<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(milliseconds).serialize(to)
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn exact_ms<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64() * 1000.0).serialize(to)
}

/// The state of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Its worker is starting.
    Filling,
    /// Its worker is ready.
    Serving,
    /// Its next worker waits for the backoff.
    BackingOff {
        /// The remaining time.
        remaining: Duration,
    },
    /// Its budget of restarts is used up.
    GivenUp,
    /// Its worker has ended or is about to, and the policy allows no replacement.
    Stopped,
    /// It is being removed, and its last worker drains.
    Emptying,
}

impl SlotState {
    /// The names of all states.
    pub const NAMES: [&str; 6] = ["filling", "serving", "backing-off", "given-up", "stopped", "emptying"];

    /// The name of the state, for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Serving => "serving",
            Self::BackingOff { .. } => "backing-off",
            Self::GivenUp => "given-up",
            Self::Stopped => "stopped",
            Self::Emptying => "emptying",
        }
    }
}

impl Serialize for SlotState {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// Statistics that are not part of the cluster's own state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) restarts: u64,
    /// The number of the last reload.
    pub(super) generation: u32,
    pub(super) is_reloading: bool,
    /// The shutdown has been announced.
    pub(super) is_announced: bool,
    /// The shutdown is running or complete.
    pub(super) is_ending: bool,
}

impl Cluster {
    /// All statistics.
    pub(super) fn stats(&self, now: Time, progress: Progress) -> Stats {
        let Progress { restarts, generation, is_reloading, is_announced, is_ending } = progress;
        Stats {
            workers: self.slots().wanted(),
            ready: self.count_ready_slots(),
            processes: self.count_workers(|_| true),
            draining: self.count_workers(Worker::is_former),
            standby: Standbys { ready: self.count_standbys(true), starting: self.count_standbys(false) },
            restarts,
            generation: generation + 1,
            reloading: is_reloading,
            stopping: is_announced || is_ending,
            shutting_down: is_ending,
            slots: self.slot_stats(now, is_ending),
            leaving: self.leaving(now),
        }
    }

    /// The workers that were replaced or are not needed.
    fn leaving(&self, now: Time) -> Vec<LeavingStats> {
        let leaving = self.workers().iter().filter(|it| it.is_former());
        let describe = |it: &Worker| LeavingStats {
            worker: it.id(),
            slot: it.slot(),
            remaining: it.deadline().map(|at| at.saturating_sub(now)),
        };
        leaving.map(describe).collect()
    }

    /// Whether a slot has no ready worker but will get one.
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

    fn count_workers(&self, which: impl Fn(&Worker) -> bool) -> u32 {
        let count = self.workers().iter().filter(|it| which(it)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn count_standbys(&self, is_ready: bool) -> u32 {
        self.count_workers(|it| it.role() == Role::Standby && it.is_ready() == is_ready)
    }

    fn count_ready_slots(&self) -> u32 {
        let ready = self.all_slots().filter(|slot| self.has_ready(*slot)).count();
        u32::try_from(ready).unwrap_or(u32::MAX)
    }

    /// The statistics of each slot.
    fn slot_stats(&self, now: Time, is_ending: bool) -> Vec<SlotStats> {
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
            generation: current.map(|it| it.generation() + 1),
            blocked: current.and_then(|it| it.health().blocked_for()),
            uptime: current.map(|it| it.uptime(now)),
            boot: current.and_then(Worker::boot),
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
