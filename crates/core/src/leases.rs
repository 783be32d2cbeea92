//! Leases: locks across machines, which a Redis or Valkey server grants for a limited time.
//!
//! # Design
//! Processes of one machine queue for a name in [`locks`](crate::locks). Only the one whose turn it is sends
//! requests to the server, with an owner id of its own: so each grant has its own lease and its own token.
//!
//! - **A lease is valid for less time here than on the server.** Its time begins when the request is sent,
//!   and ends [`margin`] early: its holder learns that it is lost before the server can grant it to another
//!   one. The holder also gets the time itself, so that it does not depend on being notified.
//! - **It is renewed** after a third of its time, and requested again after each new connection.
//! - **A server that was restarted or replaced** may not know the last lease. The script grants no new lease
//!   for as long as the old one may be valid, and lets its holder keep it.
//! - **Tokens increase** with each grant. They start from the server's clock, so they increase even if the
//!   server has lost all data.
//! - **There is no polling.** A waiting request is sent again when the current lease would end, and when a
//!   release is published.
//!
//! Times are in ms, from a monotonic clock of this machine that includes the time in suspend.

mod lease;

use std::collections::{BTreeMap, BTreeSet};

use crate::locks::Otherwise;
use crate::random::Random;
use lease::{Answer as Decided, Lease};

/// The server's script: see its comments.
pub const SCRIPT: &str = include_str!("leases/script.lua");

/// The shortest and the longest time of a lease, in ms.
pub const MIN_TTL: u32 = 100;
/// See [`MIN_TTL`].
pub const MAX_TTL: u32 = 3_600_000;

/// The shortest and the longest backoff between attempts to connect, in ms.
const FIRST_BACKOFF: u64 = 25;
const LAST_BACKOFF: u64 = 500;

/// The interval at which the connection is checked, in ms, so that its loss is noticed.
const BEAT: u64 = 1000;

/// How many ms earlier a lease of `ttl` ms ends for its holder: for the difference between clocks, and for
/// the time until the holder is notified.
#[must_use]
pub fn margin(ttl: u32) -> u64 {
    (u64::from(ttl) / 10).clamp(20, 1000)
}

/// A request that has its machine's turn. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// A wanted lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The name, prefixed with its kind.
    pub name: Vec<u8>,
    /// The time without a renewal after which it ends, in ms.
    pub ttl: u32,
    /// What to do if it cannot be granted at once.
    pub otherwise: Otherwise,
}

/// An operation of the server for an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Grant a lease.
    Acquire,
    /// Grant it even if another owner has it.
    Steal,
    /// Extend it.
    Renew,
    /// End it.
    Release,
}

impl Operation {
    /// The name of the operation in the script.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Steal => "steal",
            Self::Renew => "renew",
            Self::Release => "release",
        }
    }
}

/// A request to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The lease.
    pub id: LeaseId,
    /// The number of the request, unique for the lease.
    pub number: u64,
    /// The operation.
    pub operation: Operation,
    /// The name of the lease.
    pub name: Vec<u8>,
    /// The time to live, in ms.
    pub ttl: u32,
    /// The token of the lease; 0 for none.
    pub token: u64,
}

/// An answer of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The lease is granted.
    Held {
        /// See the module.
        token: u64,
    },
    /// Another owner has it.
    Busy {
        /// It may be free after this many ms.
        wait: u64,
    },
    /// The lease is renewed.
    Renewed,
    /// The owner no longer has the lease.
    Lost,
    /// The lease is released.
    Released,
    /// The server refuses the operation to this machine. With its message.
    Refused(String),
    /// The server cannot execute it now. With its message.
    Unable(String),
}

/// An input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A request has its machine's turn.
    Want(LeaseId, Want),
    /// The turn is over, or the lease is no longer wanted.
    End(LeaseId),
    /// The connection is open.
    Opened,
    /// The connection failed or was lost. With the reason.
    Failed(String),
    /// The server answered.
    Answered {
        /// The lease of the request.
        id: LeaseId,
        /// See [`Ask::number`].
        number: u64,
        /// The answer.
        answer: Answer,
    },
    /// A release of this name was published.
    Released(Vec<u8>),
    /// The check of the connection succeeded.
    Beaten,
    /// Only time has passed.
    Tick,
}

/// An output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the server.
    Open,
    /// Drop the connection, and the pending requests on it.
    Close,
    /// Check the connection.
    Beat,
    /// Send a request to the server.
    Ask(Ask),
    /// Notify a request that it has the lease.
    Granted {
        /// The lease.
        id: LeaseId,
        /// See the module.
        token: u64,
        /// When it ends, unless it is renewed.
        until: u64,
    },
    /// The lease now ends at this time.
    Renewed {
        /// The lease.
        id: LeaseId,
        /// See [`Output::Granted`].
        until: u64,
    },
    /// Notify a request that the lease cannot be granted at once.
    Unavailable(LeaseId),
    /// Notify a request that the lease is lost.
    Lost(LeaseId),
    /// Notify a request that the server cannot be reached, with the reason.
    Disconnected(LeaseId, String),
    /// Nothing is kept for this lease any more. The last output about it.
    Over(LeaseId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// The next attempt is at this time.
    None {
        next: u64,
    },
    Opening,
    /// The connection is checked at this time; `None` while a check is under way.
    Open {
        beat: Option<u64>,
    },
}

/// All leases of this machine: see the module.
#[derive(Debug)]
pub struct Leases {
    connection: Connection,
    attempts: u32,
    random: Random,
    all: BTreeMap<LeaseId, Lease>,
    /// The timers of the leases.
    due: BTreeSet<(u64, LeaseId)>,
}

impl Leases {
    /// Creates the state without leases. The first input opens the connection.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            connection: Connection::None { next: 0 },
            attempts: 0,
            random: Random::new(seed),
            all: BTreeMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// Processes an input, and appends the outputs.
    pub fn input(&mut self, input: Input, now: u64, out: &mut Vec<Output>) {
        // Timers come first: an answer that arrives after a lease has ended does not extend it.
        self.tick(now, out);
        let is_open = self.is_open();
        match input {
            Input::Want(id, want) => {
                self.all.insert(id, Lease::new(want, now));
                self.change(id, out, |_| Decided::default());
            }
            Input::End(id) => self.change(id, out, |lease| lease.end(now, is_open)),
            Input::Opened => self.on_opened(now, out),
            Input::Failed(error) => self.on_failed(&error, now, out),
            Input::Answered { id, number, answer } => {
                let jitter = self.random.fraction();
                self.change(id, out, |lease| lease.on_answer(number, answer, now, jitter));
            }
            Input::Released(name) => {
                let waiting: Vec<LeaseId> =
                    self.all.iter().filter(|(_, it)| it.concerns(&name)).map(|(id, _)| *id).collect();
                for id in waiting {
                    self.change(id, out, |lease| lease.on_released(now, is_open));
                }
            }
            Input::Beaten => {
                // Until now, the server might have accepted each connection and refused each use of it.
                self.attempts = 0;
                if let Connection::Open { beat } = &mut self.connection {
                    *beat = Some(now + BEAT);
                }
            }
            Input::Tick => {}
        }
        self.tick(now, out);
    }

    /// When it needs an [`Input::Tick`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let connection = match self.connection {
            Connection::None { next } => Some(next),
            Connection::Opening => None,
            Connection::Open { beat } => beat,
        };
        let lease = self.due.first().map(|(at, _)| *at);
        connection.into_iter().chain(lease).min()
    }

    fn is_open(&self) -> bool {
        matches!(self.connection, Connection::Open { .. })
    }

    fn on_opened(&mut self, now: u64, out: &mut Vec<Output>) {
        if self.connection != Connection::Opening {
            return;
        }
        self.connection = Connection::Open { beat: Some(now + BEAT) };
        let all: Vec<LeaseId> = self.all.keys().copied().collect();
        for id in all {
            self.change(id, out, |lease| lease.on_opened(now));
        }
    }

    fn on_failed(&mut self, error: &str, now: u64, out: &mut Vec<Output>) {
        if matches!(self.connection, Connection::None { .. }) {
            return;
        }
        let limit = (FIRST_BACKOFF << self.attempts.min(5)).min(LAST_BACKOFF);
        self.attempts += 1;
        let wait = self.random.ms(u32::try_from(limit / 2).unwrap_or(0), u32::try_from(limit).unwrap_or(0));
        self.connection = Connection::None { next: now + u64::try_from(wait.as_millis()).unwrap_or(0) };
        out.push(Output::Close);
        let all: Vec<LeaseId> = self.all.keys().copied().collect();
        for id in all {
            self.change(id, out, |lease| lease.on_closed(now, error));
        }
    }

    /// Handles all timers that are due.
    fn tick(&mut self, now: u64, out: &mut Vec<Output>) {
        match self.connection {
            Connection::None { next } if next <= now => {
                self.connection = Connection::Opening;
                out.push(Output::Open);
            }
            Connection::Open { beat: Some(beat) } if beat <= now => {
                self.connection = Connection::Open { beat: None };
                out.push(Output::Beat);
            }
            _ => {}
        }
        let is_open = self.is_open();
        while let Some((_, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.change(id, out, |lease| lease.on_time(now, is_open));
        }
    }

    /// Lets a lease decide, and carries out the decision.
    fn change(&mut self, id: LeaseId, out: &mut Vec<Output>, decide: impl FnOnce(&mut Lease) -> Decided) {
        let is_open = self.is_open();
        let Some(lease) = self.all.get_mut(&id) else { return };
        let Decided { ask, tell, is_over } = decide(lease);
        if let Some(at) = lease.scheduled.take() {
            self.due.remove(&(at, id));
        }
        out.extend(ask.map(|operation| Output::Ask(lease.question(id, operation))));
        out.extend(tell.map(|tell| tell.of(id)));
        if is_over {
            self.all.remove(&id);
            out.push(Output::Over(id));
            return;
        }
        lease.scheduled = lease.due(is_open);
        self.due.extend(lease.scheduled.map(|at| (at, id)));
    }
}

#[cfg(test)]
mod tests;
