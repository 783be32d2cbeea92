//! Which member of a listener gets its next connection: one file per policy.
//!
//! A policy only ranks. Who may be chosen at all (room in its window, not blocked, not refusing) is the
//! dispatcher's business: a policy asks [`Members::is_ready`] and chooses among those.

mod hook;
mod key;
mod least_connections;
mod least_loaded;
mod plan;
mod preread;
mod round_robin;
mod sticky;
mod weighted;

pub use hook::Hook;
pub use key::{Address, Home, Key};
pub use least_connections::LeastConnections;
pub use least_loaded::LeastLoaded;
pub use plan::{Action, Overload, Plan, Policy, Scheduling};
pub use preread::{By, LIMIT, LONGEST_NAME, PrereadRule, Verdict};
pub use round_robin::RoundRobin;
pub use sticky::Sticky;

use super::ids::{Slot, WorkerId};

/// The weight of a member that has been there for a while; a newcomer's is less, see [`Plan::slow_start`].
pub const FULL_WEIGHT: u32 = 1000;

/// The utilisation of a member whose event loop never waits, in thousandths.
pub const ALWAYS_BUSY: u32 = 1000;

/// The utilisation of a member whose event loop stands still although something waits for it: it may take
/// any time, so it has to look far worse than one that is merely busy.
pub const BLOCKED: u32 = 10 * ALWAYS_BUSY;

/// The members of one listener, by seat: 0, 1, 2 … without gaps.
///
/// Methods instead of a list, so that a policy pays only for what it looks at: round robin usually
/// asks about one seat, whatever the number of workers.
pub trait Members {
    /// How many seats there are.
    fn count(&self) -> usize;
    /// Who sits there.
    fn worker(&self, seat: usize) -> WorkerId;
    /// The slot of who sits there.
    fn slot(&self, seat: usize) -> Slot;
    /// Whether this member may be given a connection now.
    fn is_ready(&mut self, seat: usize) -> bool;
    /// How many connections it has open or on their way. Reads the worker's page.
    fn load(&mut self, seat: usize) -> u32;
    /// How much of its time its event loop is at work, in thousandths of [`ALWAYS_BUSY`], or
    /// [`BLOCKED`]. Reads the worker's page.
    fn utilisation(&mut self, seat: usize) -> u32;
    /// Whether any member is so new that its weight is not yet full.
    fn any_warming(&self) -> bool;
    /// From 1 to [`FULL_WEIGHT`].
    fn weight(&self, seat: usize) -> u32;
}

/// A policy at work for one listener, with whatever it has to remember.
#[derive(Debug)]
pub enum Schedule {
    /// Strictly in turn.
    RoundRobin(RoundRobin),
    /// The one with the fewest connections.
    LeastConnections(LeastConnections),
    /// The one whose event loop has the least to do.
    LeastLoaded(LeastLoaded),
    /// The same one for the same client.
    Sticky(Sticky),
    /// The one that the app chooses.
    Hook(Hook),
}

impl Schedule {
    /// A schedule for a listener that has no members yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        match policy {
            // Where workers accept by themselves the dispatcher has only what would be left over.
            Policy::RoundRobin | Policy::Kernel | Policy::None => Self::RoundRobin(RoundRobin::default()),
            Policy::LeastConnections => Self::LeastConnections(LeastConnections::default()),
            Policy::LeastLoaded => Self::LeastLoaded(LeastLoaded::default()),
            Policy::Sticky => Self::Sticky(Sticky::default()),
            Policy::Hook => Self::Hook(Hook::default()),
        }
    }

    /// Somebody joins the `count` members there are. Answers the seat for it; from there on all move up by one.
    pub fn seat(&mut self, count: usize) -> usize {
        self.turns().seat(count)
    }

    /// The member in this seat has left; those behind it have moved down by one.
    pub fn vacate(&mut self, seat: usize) {
        self.turns().vacate(seat);
    }

    /// The seat of the member that gets the next connection; none when it has to wait. With `patient` it
    /// may wait for a certain member although others are ready.
    pub fn choose(&mut self, members: &mut impl Members, home: Option<Home>, patient: bool) -> Option<usize> {
        match self {
            Self::RoundRobin(turns) => turns.choose(members),
            Self::LeastConnections(least) => least.choose(members),
            Self::LeastLoaded(least) => least.choose(members),
            Self::Sticky(sticky) => {
                let key = home.and_then(|home| if let Home::Client(key) = home { Some(key) } else { None });
                sticky.choose(members, key, patient)
            }
            Self::Hook(hook) => {
                let chosen =
                    home.and_then(|home| if let Home::Worker(chosen) = home { Some(chosen) } else { None });
                hook.choose(members, chosen, patient)
            }
        }
    }

    /// Every policy has an order in which to serve those who are equal.
    fn turns(&mut self) -> &mut RoundRobin {
        match self {
            Self::RoundRobin(turns) => turns,
            Self::LeastConnections(least) => &mut least.turns,
            Self::LeastLoaded(least) => &mut least.turns,
            Self::Sticky(sticky) => &mut sticky.turns,
            Self::Hook(hook) => &mut hook.turns,
        }
    }
}

/// Members by name, for the tests of the policies.
#[cfg(test)]
pub(super) mod names;
