//! When the connection to the server is opened, checked and given up.

use crate::random::Random;

/// The shortest and the longest delay between attempts to connect, in ms.
const FIRST_BACKOFF: u64 = 25;
pub(super) const LAST_BACKOFF: u64 = 500;

/// The interval between beats, and how long a beat may take to come back, in ms.
pub(super) const BEAT: u64 = 1000;
pub(super) const BEAT_LIMIT: u64 = 3000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No connection has been needed so far.
    Unused,
    /// The next attempt is at this time.
    None {
        next: u64,
    },
    Opening,
    Open {
        /// When the next beat is due; or, while one is on its way, when it must have come back.
        beat: u64,
        is_beating: bool,
    },
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// An attempt to connect.
    Open,
    /// A beat with this number.
    Beat(u64),
    /// The end of the connection: the last beat has not come back in time.
    End,
}

/// The connection: see the module.
#[derive(Debug)]
pub(super) struct Connection {
    state: State,
    /// Failed attempts since the server last answered.
    attempts: u32,
    beats: u64,
    /// How often a connection has been opened.
    session: u32,
    random: Random,
}

impl Connection {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: State::Unused, attempts: 0, beats: 0, session: 0, random: Random::new(seed) }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// The number of the current connection.
    pub(super) fn session(&self) -> u32 {
        self.session
    }

    /// A connection is needed.
    pub(super) fn need(&mut self, now: u64) {
        if self.state == State::Unused {
            self.state = State::None { next: now };
        }
    }

    pub(super) fn on_opened(&mut self, now: u64) {
        if self.state == State::Opening {
            self.state = State::Open { beat: now + BEAT, is_beating: false };
            self.session = self.session.saturating_add(1);
        }
    }

    /// The server has answered.
    pub(super) fn on_answered(&mut self) {
        self.attempts = 0;
    }

    /// A beat has come back. Returns whether it is the latest one.
    pub(super) fn on_beat(&mut self, number: u64, now: u64) -> bool {
        match &mut self.state {
            State::Open { beat, is_beating: is_beating @ true } if number == self.beats => {
                (*beat, *is_beating) = (now + BEAT, false);
                true
            }
            _ => false,
        }
    }

    /// The connection could not be opened, or has ended. Returns false if there was none.
    pub(super) fn on_failed(&mut self, now: u64) -> bool {
        if matches!(self.state, State::None { .. } | State::Unused) {
            return false;
        }
        let limit = (FIRST_BACKOFF << self.attempts.min(5)).min(LAST_BACKOFF);
        self.attempts += 1;
        let wait = self.random.ms(u32::try_from(limit / 2).unwrap_or(0), u32::try_from(limit).unwrap_or(0));
        self.state = State::None { next: now + u64::try_from(wait.as_millis()).unwrap_or(0) };
        true
    }

    /// Takes what is due now.
    pub(super) fn take_due(&mut self, now: u64) -> Option<Due> {
        match self.state {
            State::None { next } if next <= now => {
                self.state = State::Opening;
                Some(Due::Open)
            }
            State::Open { beat, is_beating: true } if beat <= now => Some(Due::End),
            State::Open { beat, is_beating: false } if beat <= now => {
                self.beats += 1;
                self.state = State::Open { beat: now + BEAT_LIMIT, is_beating: true };
                Some(Due::Beat(self.beats))
            }
            _ => None,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        match self.state {
            State::None { next } => Some(next),
            State::Open { beat, .. } => Some(beat),
            State::Unused | State::Opening => None,
        }
    }
}
