//! Chooses the member of a listener that gets its next connection: one file per policy.
//!
//! A policy only ranks. The dispatcher decides which members may be chosen at all (room in the window, not
//! blocked, not refusing): a policy calls [`Members::is_ready`] and chooses among those.

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

/// The weight of a member after its slow start; before that it is less, see [`Plan::slow_start`].
pub const FULL_WEIGHT: u32 = 1000;

/// The utilisation of a member whose event loop is always busy, in thousandths.
pub const ALWAYS_BUSY: u32 = 1000;

/// The utilisation of a member whose event loop does not turn although something waits for it: its delay is
/// unknown, so it must look far worse than a member that is merely busy.
pub const BLOCKED: u32 = 10 * ALWAYS_BUSY;

/// The members of one listener, by seat: 0, 1, 2 … without gaps.
///
/// Methods instead of a list, so that a policy pays only for what it reads: round robin usually reads one
/// seat, whatever the number of workers.
pub trait Members {
    /// The number of seats.
    fn count(&self) -> usize;
    /// The worker in a seat.
    fn worker(&self, seat: usize) -> WorkerId;
    /// The slot of the worker in a seat.
    fn slot(&self, seat: usize) -> Slot;
    /// Whether this member may get a connection now.
    fn is_ready(&mut self, seat: usize) -> bool;
    /// The number of its connections, open or in flight. Reads the worker's page.
    fn load(&mut self, seat: usize) -> u32;
    /// How busy its event loop is, in thousandths of [`ALWAYS_BUSY`], or [`BLOCKED`]. Reads the worker's
    /// page.
    fn utilisation(&mut self, seat: usize) -> u32;
    /// Whether any member is in its slow start.
    fn any_warming(&self) -> bool;
    /// From 1 to [`FULL_WEIGHT`].
    fn weight(&self, seat: usize) -> u32;
}

/// A policy with its state for one listener.
#[derive(Debug)]
pub enum Schedule {
    /// Members strictly in turn.
    RoundRobin(RoundRobin),
    /// The member with the fewest connections.
    LeastConnections(LeastConnections),
    /// The member whose event loop is the least busy.
    LeastLoaded(LeastLoaded),
    /// The same member for the same client.
    Sticky(Sticky),
    /// The member that the app chooses.
    Hook(Hook),
}

impl Schedule {
    /// A schedule for a listener without members.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        match policy {
            // If workers accept by themselves, the dispatcher passes only what it accepts on their behalf.
            Policy::RoundRobin | Policy::Kernel | Policy::None => Self::RoundRobin(RoundRobin::default()),
            Policy::LeastConnections => Self::LeastConnections(LeastConnections::default()),
            Policy::LeastLoaded => Self::LeastLoaded(LeastLoaded::default()),
            Policy::Sticky => Self::Sticky(Sticky::default()),
            Policy::Hook => Self::Hook(Hook::default()),
        }
    }

    /// A worker joins the `count` members. Returns its seat; the members from there on move up by one.
    pub fn seat(&mut self, count: usize) -> usize {
        self.turns().seat(count)
    }

    /// The member in this seat has left; those behind it have moved down by one.
    pub fn vacate(&mut self, seat: usize) {
        self.turns().vacate(seat);
    }

    /// The seat of the member that gets the next connection; none if the connection has to wait. With
    /// `patient` it may wait for a certain member although others are ready.
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

    /// The order in which the policy serves equal members.
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
