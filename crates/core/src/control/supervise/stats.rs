//! How the cluster stands.

use std::time::Duration;

use super::member::Place;
use super::post::Standing;
use super::{Run, Supervise, Time};
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

impl Supervise {
    /// Whether a slot has no ready worker, and will have one.
    #[must_use]
    pub fn is_expecting(&self) -> bool {
        self.slot_states().any(|state| matches!(state, SlotState::Filling | SlotState::BackingOff { .. }))
    }

    /// Whether a slot has a ready worker, or will have one.
    #[must_use]
    pub fn has_worker_or_will(&self) -> bool {
        self.is_expecting() || self.slot_states().any(|state| state == SlotState::Serving)
    }

    /// All whose processes have not ended as far as is known.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.members.iter().filter_map(|member| member.id)
    }

    fn slot_states(&self) -> impl Iterator<Item = SlotState> {
        let slots = (0..).map(Slot).zip(&self.posts);
        slots.map(|(slot, post)| self.slot_state(slot, post.standing, self.now))
    }

    /// How it stands.
    #[must_use]
    pub fn stats(&self, now: Time) -> Stats {
        let count = |which: &dyn Fn(&&super::Member) -> bool| {
            u32::try_from(self.members.iter().filter(which).count()).unwrap_or(u32::MAX)
        };
        let ready = self.slots().filter(|slot| self.has_ready(*slot)).count();
        Stats {
            workers: self.wanted,
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
            processes: count(&|_| true),
            draining: count(&|member| member.is_former()),
            standbys_ready: count(&|member| member.place == Place::Standby && member.is_ready()),
            standbys_starting: count(&|member| member.place == Place::Standby && !member.is_ready()),
            restarts: self.restarts,
            reloading: self.reload.is_some(),
            stopping: self.is_stopping() || matches!(self.run, Run::Ending(_)),
            shutting_down: matches!(self.run, Run::Ending(_)),
            slots: (0..).map(Slot).zip(&self.posts).map(|(slot, _)| self.slot_stats(slot, now)).collect(),
        }
    }

    fn slot_stats(&self, slot: Slot, now: Time) -> SlotStats {
        let post = &self.posts[slot.0 as usize];
        let worker = |index: Option<usize>| index.and_then(|index| self.members[index].id);
        SlotStats {
            slot,
            state: self.slot_state(slot, post.standing, now),
            worker: worker(self.current(slot)),
            successor: worker(self.successor(slot)),
            uptime: self.current(slot).map(|index| now.saturating_sub(self.members[index].ordered)),
            rss: None,
            busy: None,
            restarts: post.restarts,
            failures: post.failures.count(),
        }
    }

    fn slot_state(&self, slot: Slot, standing: Standing, now: Time) -> SlotState {
        if slot.0 >= self.wanted || matches!(self.run, Run::Ending(_)) {
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
