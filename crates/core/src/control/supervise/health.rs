//! What one worker has shown of its health: does its event loop turn, has it too much of something?

use std::time::Duration;

use super::backoff::times;
use super::options::Recycle;
use super::{Cause, Excess, Options, Time, Vitals};
use crate::random::Random;
use crate::wire::milliseconds;

/// From here on a look came so late that the machine slept, or we did: that says nothing about workers.
const LATE_LOOK: u32 = 4;

/// Something of which a worker has too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Surplus {
    pub(super) excess: Excess,
    pub(super) value: u64,
    pub(super) limit: u64,
    /// It cannot wait for its turn.
    pub(super) urgent: bool,
}

/// What is known of one worker's health.
#[derive(Debug)]
pub(super) struct Health {
    cause: Cause,
    shown: Option<Vitals>,
    connections: Option<u32>,
    pulse: Option<Pulse>,
    memory_limit: Option<u64>,
    age_limit: Option<Duration>,
    connection_limit: Option<u64>,
    /// Looks in a row at which there was too much memory.
    too_big: u32,
    surplus: Option<Surplus>,
}

/// What two looks at a worker say of its event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    /// It turns, or has not turned for less than it may.
    Turns,
    /// It has not turned since the last look. It may have had no reason to: it is to be given one.
    Blocked,
    /// It has not turned for longer than it may, although it had a reason to.
    Unresponsive { blocked_for: Duration },
}

#[derive(Clone, Copy, Debug)]
struct Pulse {
    turns: u64,
    at: Time,
    /// Since it was given a reason to turn.
    blocked_for: Option<Duration>,
    /// Its loop has turned at all.
    turned: bool,
}

impl Health {
    pub(super) fn new(cause: Cause, recycle: &Recycle, random: &mut Random) -> Self {
        let jitter = recycle.jitter.clamp(0.0, 1.0);
        Self {
            cause,
            shown: None,
            connections: None,
            pulse: None,
            memory_limit: recycle.memory.map(|limit| part(limit, 1.0 - jitter * random.fraction())),
            age_limit: recycle.age.map(|limit| times(limit, random.around_one(jitter))),
            connection_limit: recycle.connections.map(|limit| part(limit, random.around_one(jitter)).max(1)),
            too_big: 0,
            surplus: None,
        }
    }

    pub(super) fn cause(&self) -> Cause {
        self.cause
    }

    /// Connections it had open when it was last looked at.
    pub(super) fn connections(&self) -> Option<u32> {
        self.connections
    }

    /// What it has too much of.
    pub(super) fn surplus(&self) -> Option<Surplus> {
        self.surplus
    }

    pub(super) fn forget_surplus(&mut self) {
        self.surplus = None;
    }

    pub(super) fn show(&mut self, vitals: Vitals) {
        self.connections = Some(vitals.connections);
        self.shown = Some(vitals);
    }

    /// When it will be too old, unless it has too much of something already.
    pub(super) fn old_at(&self, since: Time) -> Option<Time> {
        self.age_limit.filter(|_| self.surplus.is_none()).map(|limit| since.saturating_add(limit))
    }

    pub(super) fn age(&mut self, age: Duration) {
        let limit = self.age_limit.unwrap_or_default();
        self.surplus = Some(Surplus {
            excess: Excess::Age,
            value: milliseconds(age),
            limit: milliseconds(limit),
            urgent: false,
        });
    }

    /// What it has shown since this was asked last.
    pub(super) fn take_shown(&mut self) -> Option<Vitals> {
        self.shown.take()
    }

    /// So often its event loop has turned by now.
    pub(super) fn on_turns(&mut self, turns: u64, now: Time, options: &Options) -> Loop {
        let Some(allowed) = options.unresponsive_after else { return Loop::Turns };
        let Some(pulse) = &mut self.pulse else {
            self.pulse = Some(Pulse { turns, at: now, blocked_for: None, turned: turns > 0 });
            return Loop::Turns;
        };
        let blocked_for = pulse.on_turns(turns, now, options.sample_period);
        // An app that is still being loaded has not begun to turn; it has as long as for getting ready.
        let allowed = if pulse.turned { allowed } else { allowed.max(options.ready_timeout) };
        match blocked_for {
            Some(blocked_for) if blocked_for >= allowed => Loop::Unresponsive { blocked_for },
            Some(blocked_for) if blocked_for.is_zero() => Loop::Blocked,
            _ => Loop::Turns,
        }
    }

    /// Compares what it has with what it may have.
    pub(super) fn weigh(&mut self, vitals: Vitals, recycle: &Recycle) {
        if let (Some(rss), Some(limit), Some(of_all)) = (vitals.rss, self.memory_limit, recycle.memory) {
            let excess = Excess::Memory;
            if rss > limit {
                self.too_big = self.too_big.saturating_add(1);
            } else {
                self.too_big = 0;
                self.surplus.take_if(|surplus| surplus.excess == excess);
            }
            // One look may fall into the moment before a garbage collection.
            if self.too_big >= 2 {
                // More by 15 %.
                let urgent = rss > of_all.saturating_add(of_all / 20 * 3);
                self.surplus = Some(Surplus { excess, value: rss, limit, urgent });
            }
        }
        if let Some(limit) = self.connection_limit.filter(|limit| vitals.clients >= *limit) {
            let value = vitals.clients;
            self.surplus.get_or_insert(Surplus { excess: Excess::Connections, value, limit, urgent: false });
        }
    }
}

impl Pulse {
    /// For how long it has been blocked by now. Looks that came late count as if they had not.
    fn on_turns(&mut self, turns: u64, now: Time, period: Duration) -> Option<Duration> {
        let gap = now.saturating_sub(self.at);
        let gap = if gap > period.saturating_mul(LATE_LOOK) { period } else { gap };
        self.at = now;
        if turns == self.turns {
            // An idle loop does not turn, with good reason: the clock runs from when it was given another one.
            self.blocked_for =
                Some(self.blocked_for.map_or(Duration::ZERO, |before| before.saturating_add(gap)));
        } else {
            self.turns = turns;
            self.turned = true;
            self.blocked_for = None;
        }
        self.blocked_for
    }
}

/// Counts and bytes are far below the 2^53 up to which this is exact.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn part(of: u64, factor: f64) -> u64 {
    (of as f64 * factor) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Duration::from_millis(milliseconds)
    }

    fn options() -> Options {
        Options { unresponsive_after: Some(at(200)), ready_timeout: at(500), ..Options::default() }
    }

    fn health(options: &Options) -> Health {
        Health::new(Cause::Start, &options.recycle, &mut Random::new(1))
    }

    #[test]
    fn a_loop_that_does_not_turn_is_given_a_reason_to_turn_before_it_counts_as_unresponsive() {
        let options = options();
        let mut health = health(&options);
        assert_eq!(health.on_turns(7, at(0), &options), Loop::Turns);
        assert_eq!(health.on_turns(7, at(50), &options), Loop::Blocked);
        assert_eq!(health.on_turns(7, at(200), &options), Loop::Turns);
        assert_eq!(health.on_turns(8, at(250), &options), Loop::Turns);
        assert_eq!(health.on_turns(8, at(300), &options), Loop::Blocked);
        assert_eq!(health.on_turns(8, at(450), &options), Loop::Turns);
        assert_eq!(health.on_turns(8, at(500), &options), Loop::Unresponsive { blocked_for: at(200) });
    }

    #[test]
    fn an_app_that_is_being_loaded_has_as_long_as_for_getting_ready() {
        let options = options();
        let mut health = health(&options);
        let states = [0, 50, 250, 450, 550].map(|now| health.on_turns(0, at(now), &options));
        assert_eq!(states[..4], [Loop::Turns, Loop::Blocked, Loop::Turns, Loop::Turns]);
        assert_eq!(states[4], Loop::Unresponsive { blocked_for: at(500) });
    }

    #[test]
    fn a_look_that_comes_late_counts_as_if_it_had_not() {
        let options = options();
        let mut health = health(&options);
        health.on_turns(1, at(0), &options);
        assert_eq!(health.on_turns(1, at(50), &options), Loop::Blocked);
        assert_eq!(health.on_turns(1, at(60_000), &options), Loop::Turns, "the machine was suspended");
    }

    #[test]
    fn memory_has_to_be_too_much_twice_and_is_forgiven_when_it_shrinks() {
        let options = Options {
            recycle: Recycle { memory: Some(100), jitter: 0.0, ..Recycle::default() },
            ..Options::default()
        };
        let mut health = health(&options);
        let mut weigh = |rss| {
            let vitals = Vitals { turns: 0, rss: Some(rss), clients: 0, connections: 0 };
            health.weigh(vitals, &options.recycle);
            health.surplus.map(|surplus| surplus.urgent)
        };
        assert_eq!([weigh(101), weigh(101), weigh(100)], [None, Some(false), None]);
        assert_eq!([weigh(101), weigh(116)], [None, Some(true)]);
    }
}
