//! Which member of a listener gets its next connection: one file per policy.
//!
//! A policy only ranks. Who may be chosen at all (room in its window, not stalled, not refusing) is the
//! dispatcher's business: a policy asks [`Members::is_ready`] and chooses among those.

mod round_robin;

pub use round_robin::RoundRobin;

use super::ids::WorkerId;

/// The members of one listener, by seat: 0, 1, 2 … without gaps.
///
/// Methods instead of a list, so that a policy pays only for what it looks at: round robin usually
/// asks about one seat, whatever the number of workers.
pub trait Members {
    /// How many seats there are.
    fn count(&self) -> usize;
    /// Who sits there.
    fn worker(&self, seat: usize) -> WorkerId;
    /// Whether this member may be given a connection now.
    fn is_ready(&mut self, seat: usize) -> bool;
    /// How many connections it has been sent and not yet received. Reads the worker's counter.
    fn in_flight(&mut self, seat: usize) -> u32;
}

/// The policies by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Strictly in turn.
    #[default]
    RoundRobin,
}

/// A policy at work for one listener, with whatever it has to remember.
#[derive(Debug)]
pub enum Schedule {
    /// Strictly in turn.
    RoundRobin(RoundRobin),
}

impl Schedule {
    /// A schedule for a listener that has no members yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        match policy {
            Policy::RoundRobin => Self::RoundRobin(RoundRobin::default()),
        }
    }

    /// Somebody joins the `count` members there are. Answers the seat for it; from there on all move up by one.
    pub fn seat(&mut self, count: usize) -> usize {
        match self {
            Self::RoundRobin(turns) => turns.seat(count),
        }
    }

    /// The member in this seat has left; those behind it have moved down by one.
    pub fn vacate(&mut self, seat: usize) {
        match self {
            Self::RoundRobin(turns) => turns.vacate(seat),
        }
    }

    /// The seat of the member that gets the next connection; none when nobody is ready.
    pub fn choose(&mut self, members: &mut impl Members) -> Option<usize> {
        match self {
            Self::RoundRobin(turns) => turns.choose(members),
        }
    }
}
