//! The health of one worker: whether its event loop turns, and whether it exceeds a limit.

use std::time::Duration;

use super::backoff::times;
use super::options::Recycle;
use super::{Cause, Excess, Options, Time, Vitals};
use crate::frames::milliseconds;
use crate::random::Random;

/// A gap of more than this many periods between two samples means that the machine or this thread slept. It
/// says nothing about workers.
const LATE_LOOK: u32 = 4;

/// A limit that a worker exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Surplus {
    pub(super) excess: Excess,
    pub(super) value: u64,
    pub(super) limit: u64,
    /// Whether the recycling cannot wait for its turn.
    pub(super) urgent: bool,
}

/// The known health of one worker.
#[derive(Debug)]
pub(super) struct Health {
    cause: Cause,
    shown: Option<Vitals>,
    connections: Option<u32>,
    pulse: Option<Pulse>,
    /// The fraction of the memory limit that applies to this worker.
    memory_part: f64,
    /// A blocked event loop is ignored until then.
    excused_until: Option<Time>,
    age_limit: Option<Duration>,
    connection_limit: Option<u64>,
    /// Consecutive samples with too much memory.
    too_big: u32,
    surplus: Option<Surplus>,
}

/// The state of the event loop, from two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    /// It turns, or has been blocked for less than the limit.
    Turns,
    /// It has not turned since the last sample. It may be idle: probe it.
    Blocked,
    /// It has not turned for longer than the limit, although it was probed.
    Unresponsive { blocked_for: Duration },
}

#[derive(Clone, Copy, Debug)]
struct Pulse {
    turns: u64,
    at: Time,
    /// The time since it was probed.
    blocked_for: Option<Duration>,
    /// Whether the loop has ever turned.
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
            memory_part: 1.0 - jitter * random.fraction(),
            excused_until: None,
            age_limit: recycle.age.map(|limit| times(limit, random.around_one(jitter))),
            connection_limit: recycle.connections.map(|limit| part(limit, random.around_one(jitter)).max(1)),
            too_big: 0,
            surplus: None,
        }
    }

    pub(super) fn cause(&self) -> Cause {
        self.cause
    }

    /// Open connections in the last sample.
    pub(super) fn connections(&self) -> Option<u32> {
        self.connections
    }

    /// How long its event loop has been blocked. `None` if that is not watched.
    pub(super) fn blocked_for(&self) -> Option<Duration> {
        self.pulse.map(|pulse| pulse.blocked_for.unwrap_or_default())
    }

    /// The limit that it exceeds, if any.
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

    /// When it reaches its age limit, unless it already exceeds a limit.
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

    /// The sample since the last call.
    pub(super) fn take_shown(&mut self) -> Option<Vitals> {
        self.shown.take()
    }

    /// See [`super::Input::Excuse`].
    pub(super) fn excuse(&mut self, until: Option<Time>) {
        self.excused_until = until;
        self.pulse = None;
    }

    /// A sample of the number of turns of its event loop.
    pub(super) fn on_turns(&mut self, turns: u64, now: Time, options: &Options) -> Loop {
        let Some(allowed) = options.unresponsive_after else { return Loop::Turns };
        if self.excused_until.is_some_and(|until| now < until) {
            // The measurement starts again afterwards.
            self.pulse = None;
            return Loop::Turns;
        }
        let Some(pulse) = &mut self.pulse else {
            self.pulse = Some(Pulse { turns, at: now, blocked_for: None, turned: turns > 0 });
            return Loop::Turns;
        };
        let blocked_for = pulse.on_turns(turns, now, options.sample_period);
        // An app that is still loading has not begun to turn its loop; its limit is at least the one for
        // getting ready.
        let allowed = if pulse.turned { allowed } else { allowed.max(options.ready_timeout) };
        match blocked_for {
            Some(blocked_for) if blocked_for >= allowed => Loop::Unresponsive { blocked_for },
            Some(blocked_for) if blocked_for.is_zero() => Loop::Blocked,
            _ => Loop::Turns,
        }
    }

    /// Compares a sample with the limits.
    pub(super) fn weigh(&mut self, vitals: Vitals, recycle: &Recycle) {
        if let (Some(rss), Some(of_all)) = (vitals.rss, recycle.memory) {
            let limit = part(of_all, self.memory_part);
            let excess = Excess::Memory;
            if rss > limit {
                self.too_big = self.too_big.saturating_add(1);
            } else {
                self.too_big = 0;
                self.surplus.take_if(|surplus| surplus.excess == excess);
            }
            // A single sample may come just before a garbage collection.
            if self.too_big >= 2 {
                // 15 % over the limit.
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
    /// How long it has been blocked. A late sample counts as one period.
    fn on_turns(&mut self, turns: u64, now: Time, period: Duration) -> Option<Duration> {
        let gap = now.saturating_sub(self.at);
        let gap = if gap > period.saturating_mul(LATE_LOOK) { period } else { gap };
        self.at = now;
        if turns == self.turns {
            // An idle loop does not turn, so the time runs from the probe.
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

/// Counts and bytes are far below 2^53, up to which this is exact.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn part(of: u64, factor: f64) -> u64 {
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
    fn a_loop_that_does_not_turn_is_probed_before_it_counts_as_unresponsive() {
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
    fn an_examined_worker_is_watched_again_after_the_examination() {
        let options = options();
        let mut health = health(&options);
        health.on_turns(7, at(0), &options);
        assert_eq!(health.on_turns(7, at(50), &options), Loop::Blocked);
        health.excuse(Some(at(10_000)));
        assert_eq!(
            [at(300), at(9_999)].map(|now| health.on_turns(7, now, &options)),
            [Loop::Turns, Loop::Turns]
        );
        assert_eq!(health.on_turns(7, at(10_000), &options), Loop::Turns, "from here on");
        assert_eq!(health.on_turns(7, at(10_050), &options), Loop::Blocked);
        assert!(matches!(health.on_turns(7, at(10_250), &options), Loop::Unresponsive { .. }));
        health.excuse(Some(at(90_000)));
        health.excuse(None);
        assert_eq!(health.on_turns(7, at(10_300), &options), Loop::Turns);
        assert_eq!(health.on_turns(7, at(10_350), &options), Loop::Blocked);
    }

    #[test]
    fn a_loading_app_has_the_time_limit_for_getting_ready() {
        let options = options();
        let mut health = health(&options);
        let states = [0, 50, 250, 450, 550].map(|now| health.on_turns(0, at(now), &options));
        assert_eq!(states[..4], [Loop::Turns, Loop::Blocked, Loop::Turns, Loop::Turns]);
        assert_eq!(states[4], Loop::Unresponsive { blocked_for: at(500) });
    }

    #[test]
    fn a_late_sample_counts_as_one_period() {
        let options = options();
        let mut health = health(&options);
        health.on_turns(1, at(0), &options);
        assert_eq!(health.on_turns(1, at(50), &options), Loop::Blocked);
        assert_eq!(health.on_turns(1, at(60_000), &options), Loop::Turns, "the machine was suspended");
    }

    #[test]
    fn memory_must_exceed_the_limit_twice_in_a_row() {
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
