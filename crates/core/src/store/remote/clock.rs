//! The server's clock, compared with that of this machine. Times are in ms.

/// From this shift on, one of the clocks was set, or the server is another one.
const STEP: u64 = 1_000;

/// After this time, a new measurement replaces the old one even if its round trip was longer.
const MAX_AGE: u64 = 60_000;

/// How far this machine's clock is ahead of the server's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// If the server has read its clock in the middle of the round trip.
    ahead: i64,
    /// The round-trip time of the measurement, and when it was made.
    took: u64,
    at: u64,
}

impl Clock {
    /// The most that it may be ahead; 0 before the first measurement. With the most, no value expires here before it
    /// expires on the server, where a write would still meet it.
    pub(super) fn most(&self) -> i64 {
        if self.at == 0 {
            return 0;
        }
        // Both times are cut to whole ms.
        self.ahead.saturating_add_unsigned(self.took - self.took / 2 + 1)
    }

    /// The server has answered with its time, since 1970. The shorter a round trip, the more exact is what it measures.
    /// Returns whether the clock has shifted so far that expiry times that were converted before are wrong.
    pub(super) fn on_time(&mut self, time: u64, asked_at: u64, now: u64) -> bool {
        let took = now.saturating_sub(asked_at);
        let middle = i64::try_from(asked_at + took / 2).unwrap_or(i64::MAX);
        let ahead = middle.saturating_sub(i64::try_from(time).unwrap_or(i64::MAX));
        let (is_first, shift) = (self.at == 0, ahead.abs_diff(self.ahead));
        // If both cannot be true, the clock was set since, and the earlier measurement is worthless however exact it was.
        let contradicts = shift > took.saturating_add(self.took);
        let is_old = now.saturating_sub(self.at) > MAX_AGE;
        if is_first || contradicts || took <= self.took || is_old {
            *self = Self { ahead, took, at: now };
        }
        !is_first && contradicts && shift >= STEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_has_read_its_clock_in_the_middle_of_the_round_trip() {
        let mut clock = Clock::default();
        assert_eq!((clock.ahead, clock.most()), (0, 0));
        clock.on_time(1_000, 2_000, 2_010);
        assert_eq!(clock.ahead, 1_005);
        assert!(clock.on_time(9_000, 2_020, 2_030));
        assert_eq!(clock.ahead, 2_025 - 9_000, "the server may be ahead");
    }

    #[test]
    fn a_value_does_not_expire_here_before_it_expires_there() {
        for took in [0, 1, 10, 11] {
            let mut clock = Clock::default();
            clock.on_time(1_000, 2_000, 2_000 + took);
            // The server's clock shows up to 1,000.99 and read it, at the latest, when this machine's showed up to 0.99 more
            // than at the end of the round trip.
            assert_eq!(clock.most(), i64::try_from(2_000 + took + 1).unwrap() - 1_000, "{took}");
        }
    }

    #[test]
    fn a_longer_round_trip_counts_only_if_the_shorter_one_is_old() {
        let mut clock = Clock::default();
        clock.on_time(1_000, 2_000, 2_010);
        assert!(!clock.on_time(1_950, 3_000, 3_100));
        assert_eq!(clock.ahead, 1_005);
        let later = 2_000 + MAX_AGE;
        assert!(!clock.on_time(980 + MAX_AGE, later, later + 11));
        assert_eq!(clock.ahead, 1_025);
    }

    #[test]
    fn a_measurement_that_contradicts_an_exact_one_replaces_it() {
        let mut clock = Clock::default();
        assert!(!clock.on_time(1_000_000, 2_000_000, 2_000_001), "the first one");
        assert!(!clock.on_time(1_000_910, 2_001_000, 2_001_020));
        assert_eq!(clock.ahead, 1_000_100, "by more than both round trips");
        assert!(clock.on_time(401_000, 2_002_000, 2_002_020), "set back by ten minutes");
        assert_eq!(clock.ahead, 1_601_010);
        assert!(clock.on_time(1_003_000, 2_003_000, 2_003_020), "and forward");
        // After a pause, the time of the measurement is not known to a second.
        assert!(!clock.on_time(1_004_000, 2_004_000, 2_009_000));
        assert_eq!(clock.ahead, 1_000_010);
    }
}
