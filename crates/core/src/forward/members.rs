//! The workers of a front, as far as new connections are concerned.

use super::messages::{Config, Refusal, Time};
use crate::ids::{Slot, WorkerId};
use crate::schedule::{FULL_WEIGHT, Members};

/// A worker that gets connections.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) worker: WorkerId,
    slot: Slot,
    /// Whether it accepted the last connection that it was offered. Otherwise it is offered only one at a
    /// time: one client that tries is enough.
    pub(super) proven: bool,
    /// Connections that it was offered and has not accepted yet.
    pub(super) connecting: u32,
    /// Its open connections.
    pub(super) open: u32,
    /// It is not tried before this time.
    pub(super) rests_until: Option<Time>,
    refusals: u32,
}

impl Member {
    pub(super) fn new(worker: WorkerId, slot: Slot) -> Self {
        Self { worker, slot, proven: false, connecting: 0, open: 0, rests_until: None, refusals: 0 }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.rests_until.is_none() && (self.proven || self.connecting == 0)
    }

    pub(super) fn on_time(&mut self, now: Time) {
        if self.rests_until.is_some_and(|until| until <= now) {
            self.rests_until = None;
        }
    }

    pub(super) fn took(&mut self) {
        self.proven = true;
        self.refusals = 0;
        self.rests_until = None;
    }

    pub(super) fn refused(&mut self, why: Refusal, now: Time, config: &Config) {
        match why {
            Refusal::Absent => self.proven = false,
            Refusal::Saturated => {}
            // Not the worker's fault.
            Refusal::Exhausted => return,
        }
        // Several simultaneous attempts count as one refusal.
        if self.rests_until.is_some_and(|until| until > now) {
            return;
        }
        let rest = config.rest.saturating_mul(1 << self.refusals.min(16)).min(config.longest_rest);
        self.refusals += 1;
        self.rests_until = Some(now.saturating_add(rest));
    }
}

/// The members as a policy sees them.
pub(super) struct Seats<'a>(pub(super) &'a [Member]);

impl Members for Seats<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn worker(&self, seat: usize) -> WorkerId {
        self.0[seat].worker
    }

    fn is_ready(&mut self, seat: usize) -> bool {
        self.0[seat].is_ready()
    }

    fn slot(&self, seat: usize) -> Slot {
        self.0[seat].slot
    }

    fn load(&mut self, seat: usize) -> u32 {
        let member = &self.0[seat];
        member.open + member.connecting
    }

    /// A worker may not have an event loop, so its utilisation is unknown.
    fn utilisation(&mut self, _seat: usize) -> u32 {
        0
    }

    fn any_warming(&self) -> bool {
        false
    }

    fn weight(&self, _seat: usize) -> u32 {
        FULL_WEIGHT
    }
}
