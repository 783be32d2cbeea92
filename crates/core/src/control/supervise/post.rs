//! What is remembered of a slot, or of the bench, beyond its workers.

use super::backoff::Failures;
use super::budget::Budget;
use super::options::Options;
use super::{Cause, Time, Why};
use crate::ids::Ticket;

/// What is to become of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has a current worker. For the bench: it is kept full.
    Held,
    /// It needs a worker, from that moment on.
    Due { at: Time, cause: Cause },
    /// There have been too many restarts.
    GivenUp,
    /// By the policy there is no other worker.
    Stopped,
    /// Its last worker, that one, drains. How it ends will say whether there is another.
    Ending(Ticket),
}

#[derive(Debug)]
pub(super) struct Post {
    pub(super) standing: Standing,
    pub(super) budget: Budget,
    pub(super) failures: Failures,
    /// All there have been.
    pub(super) restarts: u64,
    /// The last reload in which it got a worker that was ready.
    pub(super) reloaded: u32,
    /// Recycling is never urgent enough to use up what restarts need, so it has a budget of its own,
    /// and is put off where restarts would be given up.
    pub(super) recycles: Budget,
    pub(super) no_recycle_before: Time,
    /// If it has been given up or has stopped: the failure that led to it. None if its last worker ended well.
    pub(super) failure: Option<Why>,
}

impl Post {
    pub(super) fn new(standing: Standing, options: &Options) -> Self {
        let mut recycling = options.restart_intensity;
        recycling.max = recycling.max.max(1);
        Self {
            standing,
            budget: Budget::new(options.restart_intensity),
            failures: Failures::default(),
            restarts: 0,
            reloaded: 0,
            recycles: Budget::new(recycling),
            no_recycle_before: Time::ZERO,
            failure: None,
        }
    }

    /// Somebody has put things right: what was held against it is forgotten.
    pub(super) fn forgive(&mut self, options: &Options) {
        self.budget = Budget::new(options.restart_intensity);
        self.failures = Failures::default();
    }
}
