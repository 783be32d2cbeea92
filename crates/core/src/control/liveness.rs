//! Decides when to notify the service manager that the process is alive: only after every native thread has
//! answered.

use std::time::Duration;

/// What to do at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Wait,
    /// Notify the service manager that the process is alive, and poll all threads again.
    Feed,
    /// The notification is due, but a thread has not answered. Returned once per interruption.
    Withhold,
}

/// Notifies a watchdog as long as all threads answer.
#[derive(Debug)]
pub struct Liveness {
    interval: Duration,
    next: Duration,
    withheld: bool,
}

impl Liveness {
    /// `period` is the time after which the service manager ends a process that does not notify it.
    #[must_use]
    pub fn new(now: Duration, period: Duration) -> Self {
        // Twice as often as required, as the manual of sd_watchdog_enabled(3) advises.
        Self { interval: period / 2, next: now, withheld: false }
    }

    /// When to call [`Self::on_tick`].
    #[must_use]
    pub fn next_deadline(&self) -> Duration {
        self.next
    }

    /// Time has passed. `answered` is whether all threads have answered since the last [`Verdict::Feed`].
    pub fn on_tick(&mut self, now: Duration, answered: bool) -> Verdict {
        if now < self.next {
            return Verdict::Wait;
        }
        if answered {
            self.withheld = false;
            self.next = now + self.interval;
            return Verdict::Feed;
        }
        // Check a late thread often: half of the period has already passed.
        self.next = now + (self.interval / 10).max(Duration::from_millis(1));
        if std::mem::replace(&mut self.withheld, true) { Verdict::Wait } else { Verdict::Withhold }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_a_period_while_all_threads_answer() {
        let mut liveness = Liveness::new(at(0), PERIOD);
        assert_eq!(liveness.on_tick(at(0), true), Verdict::Feed);
        assert_eq!(liveness.next_deadline(), at(5_000));
        assert_eq!(liveness.on_tick(at(4_999), true), Verdict::Wait);
        assert_eq!(liveness.on_tick(at(5_000), true), Verdict::Feed);
    }

    #[test]
    fn a_blocked_thread_withholds_it_and_a_late_answer_counts_at_once() {
        let mut liveness = Liveness::new(at(0), PERIOD);
        liveness.on_tick(at(0), true);
        assert_eq!(liveness.on_tick(at(5_000), false), Verdict::Withhold);
        assert_eq!(liveness.next_deadline(), at(5_500), "well before the period is over");
        assert_eq!(liveness.on_tick(at(5_500), false), Verdict::Wait, "told once");
        assert_eq!(liveness.on_tick(at(6_000), true), Verdict::Feed);
        assert_eq!(liveness.next_deadline(), at(11_000));
        assert_eq!(liveness.on_tick(at(11_000), false), Verdict::Withhold, "told again");
    }

    #[test]
    fn a_period_of_zero_does_not_spin() {
        let mut liveness = Liveness::new(at(0), Duration::from_micros(1));
        liveness.on_tick(at(0), true);
        liveness.on_tick(at(1), false);
        assert_eq!(liveness.next_deadline(), at(2));
    }
}
