//! One worker, from its order until its process has exited.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::health::{Health, Surplus};
use super::{Cause, Event, Options, Reason, StderrTail, Time, Vitals};
use crate::ids::{Slot, Ticket, WorkerId};
use crate::random::Random;

/// The role of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The worker of a slot.
    Current(Slot),
    /// Takes the place of the current worker once it is ready.
    Successor(Slot),
    Standby,
    /// It was replaced or given up, and only has to end.
    Former(Option<Slot>),
}

impl Role {
    pub(super) fn slot(self) -> Option<Slot> {
        match self {
            Self::Current(slot) | Self::Successor(slot) => Some(slot),
            Self::Standby => None,
            Self::Former(slot) => slot,
        }
    }
}

/// The stage of a worker's life. All but the first two are for a [`Role::Former`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Starting {
        ready_by: Time,
    },
    Ready {
        /// When it became ready, or was promoted if it was a standby.
        since: Time,
    },
    Draining {
        until: Time,
    },
    /// It is unresponsive. It is killed once its stack is captured or `until` has passed.
    Capturing {
        until: Time,
        blocked_for: Duration,
    },
    /// It must end by `until`: SIGTERM was sent, or its link was cut. If its process id is not known yet,
    /// SIGKILL is sent as soon as it is; `until` limits the wait.
    Terminating {
        until: Time,
    },
    /// SIGKILL was sent.
    Killed,
}

/// When the current worker of a slot leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Going {
    /// Once its successor is ready; if the successor fails, it stays.
    WhenReplaced(Reason),
    /// As soon as the others can do without it, and not later than `until`; without `until`, once a successor
    /// is ready, however many attempts that takes.
    Soon { reason: Reason, until: Option<Time> },
}

impl Going {
    pub(super) fn reason(&self) -> &Reason {
        let (Self::WhenReplaced(reason) | Self::Soon { reason, .. }) = self;
        reason
    }

    pub(super) fn is_soon(&self) -> bool {
        matches!(self, Self::Soon { .. })
    }
}

/// One worker: see the module. Its methods decide only about its stage and its deadline.
#[derive(Debug)]
pub(super) struct Worker {
    ticket: Ticket,
    /// `None` until the shell has answered.
    id: Option<WorkerId>,
    role: Role,
    stage: Stage,
    going: Option<Going>,
    /// The reload in which it was started.
    generation: u32,
    ordered: Time,
    /// The time from its order until it was ready.
    boot: Option<Duration>,
    /// Events to report once its stack has been captured.
    held_back: Vec<Event>,
    /// It has reached the required stage. If it is still starting, it waits to take over its slot.
    able: bool,
    /// The number of listeners that only this worker serves.
    sole: usize,
    /// It requested its retirement and waits for the answer.
    asks_to_go: bool,
    health: Health,
    /// It has reported that it has nothing left to serve.
    drained: bool,
    /// The resources that keep its event loop alive, as it reported them.
    resources: BTreeMap<String, u32>,
    stderr: StderrTail,
}

impl Worker {
    pub(super) fn new(
        ticket: Ticket,
        (role, generation, cause): (Role, u32, Cause),
        now: Time,
        options: &Options,
        random: &mut Random,
    ) -> Self {
        Self {
            ticket,
            id: None,
            role,
            stage: Stage::Starting { ready_by: now.saturating_add(options.ready_timeout) },
            going: None,
            generation,
            ordered: now,
            boot: None,
            held_back: Vec::new(),
            able: false,
            sole: 0,
            asks_to_go: false,
            health: Health::new(cause, &options.recycle, random),
            drained: false,
            resources: BTreeMap::new(),
            stderr: None,
        }
    }

    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// `None` until the shell has reported its process.
    pub(super) fn id(&self) -> Option<WorkerId> {
        self.id
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn slot(&self) -> Option<Slot> {
        self.role.slot()
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) fn going(&self) -> Option<&Going> {
        self.going.as_ref()
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    pub(super) fn health_mut(&mut self) -> &mut Health {
        &mut self.health
    }

    pub(super) fn resources(&self) -> &BTreeMap<String, u32> {
        &self.resources
    }

    /// The last lines of its stderr.
    pub(super) fn stderr(&self) -> StderrTail {
        self.stderr.clone()
    }

    pub(super) fn on_stderr(&mut self, lines: Arc<[String]>) {
        self.stderr = Some(lines);
    }

    /// Whether it was not ready in time.
    pub(super) fn is_late(&self, now: Time) -> bool {
        matches!(self.stage, Stage::Starting { ready_by } if ready_by <= now)
    }

    pub(super) fn surplus(&self) -> Option<Surplus> {
        self.health.surplus()
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.stage, Stage::Starting { .. })
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready { .. })
    }

    pub(super) fn is_former(&self) -> bool {
        matches!(self.role, Role::Former(_))
    }

    /// Whether it is unresponsive and its stack is being captured.
    pub(super) fn is_capturing(&self) -> bool {
        matches!(self.stage, Stage::Capturing { .. })
    }

    /// Whether it has reached the required stage. It may still have to wait for its slot.
    pub(super) fn is_able(&self) -> bool {
        self.able
    }

    /// Whether it will leave soon, with or without a successor.
    pub(super) fn is_going_soon(&self) -> bool {
        self.going.as_ref().is_some_and(Going::is_soon)
    }

    /// Whether it is the only one that serves some listener.
    pub(super) fn serves_alone(&self) -> bool {
        self.sole > 0
    }

    /// The time since its order.
    pub(super) fn uptime(&self, now: Time) -> Duration {
        now.saturating_sub(self.ordered)
    }

    /// The time from its order until it was ready; `None` before that.
    pub(super) fn boot(&self) -> Option<Duration> {
        self.boot
    }

    /// When its next timer expires.
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

    pub(super) fn on_spawned(&mut self, id: WorkerId) {
        self.id = Some(id);
    }

    pub(super) fn on_vitals(&mut self, vitals: Vitals) {
        self.health.show(vitals);
    }

    pub(super) fn on_serves_alone(&mut self, listeners: usize) {
        self.sole = listeners;
    }

    /// It has reached the required stage, and waits for its slot until `ready_by` if there is one.
    pub(super) fn on_able(&mut self, ready_by: Option<Time>) {
        self.able = true;
        if let Some(ready_by) = ready_by {
            self.stage = Stage::Starting { ready_by };
        }
    }

    pub(super) fn on_ready(&mut self, now: Time) {
        self.boot = Some(self.uptime(now));
        self.stage = Stage::Ready { since: now };
    }

    /// A standby gets a slot. Its time in service begins now.
    pub(super) fn on_promoted(&mut self, slot: Slot, now: Time) {
        self.role = Role::Current(slot);
        self.stage = Stage::Ready { since: now };
        self.health.forget_surplus();
    }

    /// A successor takes its slot.
    pub(super) fn take_slot(&mut self, slot: Slot) {
        self.role = Role::Current(slot);
    }

    /// A draining worker reports what keeps it alive. True the first time that it has nothing left to serve.
    pub(super) fn on_held(&mut self, drained: bool, resources: BTreeMap<String, u32>) -> bool {
        if !matches!(self.stage, Stage::Draining { .. }) {
            return false;
        }
        self.resources = resources;
        drained && !std::mem::replace(&mut self.drained, drained)
    }

    pub(super) fn go(&mut self, going: Going) {
        self.going = Some(going);
    }

    /// It leaves once its successor is ready, unless it leaves for another reason.
    pub(super) fn go_when_replaced(&mut self, reason: Reason) {
        self.going.get_or_insert(Going::WhenReplaced(reason));
    }

    /// It leaves at once if it was to leave soon. False if it was not.
    pub(super) fn go_now(&mut self, now: Time) -> bool {
        match &mut self.going {
            Some(Going::Soon { until, .. }) => {
                *until = Some(now);
                true
            }
            _ => false,
        }
    }

    pub(super) fn stay(&mut self) {
        self.going = None;
    }

    pub(super) fn ask_to_go(&mut self) {
        self.asks_to_go = true;
    }

    /// Whether it has requested its retirement since the last call.
    pub(super) fn take_request_to_go(&mut self) -> bool {
        std::mem::take(&mut self.asks_to_go)
    }

    /// Makes it a former worker. A process that does not exist yet is killed when it does; the wait is
    /// limited by `appears_by`. Returns its process.
    pub(super) fn dismiss(&mut self, stage: Stage, appears_by: Time) -> Option<WorkerId> {
        self.role = Role::Former(self.role.slot());
        self.going = None;
        self.stage = if self.id.is_some() { stage } else { Stage::Terminating { until: appears_by } };
        self.id
    }

    pub(super) fn shorten_drain(&mut self, limit: Time) {
        if let Stage::Draining { until } = &mut self.stage {
            *until = limit.min(*until);
        }
    }

    /// Holds back events until its stack has been captured.
    pub(super) fn hold_back(&mut self, events: Vec<Event>) {
        self.held_back = events;
    }

    pub(super) fn take_held_back(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.held_back)
    }
}

#[cfg(test)]
mod tests;
