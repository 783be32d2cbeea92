//! One worker, from the order to spawn it until its process is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::health::Health;
use super::{Event, Reason, Time};
use crate::ids::{Slot, Ticket, WorkerId};

/// What a worker is to the cluster. Each is one of these, and a slot is what its members say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The worker of a slot.
    Current(Slot),
    /// It takes the current one's place once it is ready.
    Successor(Slot),
    /// It waits on the bench.
    Standby,
    /// It has been replaced or given up, and only has to end.
    Former(Option<Slot>),
}

impl Place {
    pub(super) fn slot(self) -> Option<Slot> {
        match self {
            Self::Current(slot) | Self::Successor(slot) => Some(slot),
            Self::Standby => None,
            Self::Former(slot) => slot,
        }
    }
}

/// How far a worker has got. All but the first two are for a [`Place::Former`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Starting {
        /// When we run out of patience.
        ready_by: Time,
    },
    Ready {
        /// Since when it has been ready, or in service if it was a standby before.
        since: Time,
    },
    Draining {
        until: Time,
    },
    /// It hangs. We wait for its stack before we kill it.
    Capturing {
        until: Time,
        silent_for: Duration,
    },
    /// It has got SIGTERM. Or it will get SIGKILL as soon as we know its process, and has so long to appear.
    Terminating {
        until: Time,
    },
    /// It has got SIGKILL.
    Killed,
}

/// When the current worker of a slot goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Going {
    /// Once its successor is ready; if that fails, it stays.
    WhenReplaced(Reason),
    /// As soon as the others can do without it, and not later than `until`; without that, once its
    /// successor is ready, however many it takes.
    Soon { reason: Reason, until: Option<Time> },
}

impl Going {
    pub(super) fn reason(&self) -> &Reason {
        let (Self::WhenReplaced(reason) | Self::Soon { reason, .. }) = self;
        reason
    }
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) ticket: Ticket,
    /// None until the shell has answered.
    pub(super) id: Option<WorkerId>,
    pub(super) place: Place,
    pub(super) stage: Stage,
    pub(super) going: Option<Going>,
    /// Which reload it comes from.
    pub(super) generation: u32,
    pub(super) ordered: Time,
    /// What is told of it once it is known where it is blocked.
    pub(super) untold: Vec<Event>,
    /// It has come as far as is asked for. If it is still starting, it waits to take over.
    pub(super) able: bool,
    /// On how many listeners nobody else serves.
    pub(super) sole: usize,
    pub(super) health: Health,
    /// What it has said of its drain.
    pub(super) held: Held,
}

/// What a worker that drains has said of what keeps it.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) drained: bool,
    pub(super) resources: BTreeMap<String, u32>,
}

impl Member {
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready { .. })
    }

    pub(super) fn is_former(&self) -> bool {
        matches!(self.place, Place::Former(_))
    }

    /// What happens next if nothing else does.
    pub(super) fn deadline(&self) -> Option<Time> {
        let stage = match self.stage {
            Stage::Starting { ready_by: until }
            | Stage::Draining { until }
            | Stage::Capturing { until, .. }
            | Stage::Terminating { until } => Some(until),
            Stage::Ready { since } => self.health.old_at(since),
            Stage::Killed => None,
        };
        let going = match self.going {
            Some(Going::Soon { until, .. }) => until,
            _ => None,
        };
        stage.into_iter().chain(going).min()
    }
}
