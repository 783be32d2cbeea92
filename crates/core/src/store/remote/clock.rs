//! The server's clock, compared with that of this machine. Times are in ms.

/// After this time, a new measurement replaces the old one even if its round trip was longer.
const MAX_AGE: u64 = 60_000;

/// How far this machine's clock is ahead of the server's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    ahead: i64,
    /// The round-trip time of the measurement, and when it was made.
    took: u64,
    at: u64,
}

impl Clock {
    /// The difference; 0 before the first measurement.
    pub(super) fn ahead(&self) -> i64 {
        self.ahead
    }

    /// The server has answered with its time, since 1970. The shorter a round trip, the more exact is what it measures.
    pub(super) fn on_time(&mut self, time: u64, asked_at: u64, now: u64) {
        let took = now.saturating_sub(asked_at);
        if self.at == 0 || took <= self.took || now.saturating_sub(self.at) > MAX_AGE {
            let middle = i64::try_from(asked_at + took / 2).unwrap_or(i64::MAX);
            let time = i64::try_from(time).unwrap_or(i64::MAX);
            *self = Self { ahead: middle.saturating_sub(time), took, at: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_has_read_its_clock_in_the_middle_of_the_round_trip() {
        let mut clock = Clock::default();
        assert_eq!(clock.ahead(), 0);
        clock.on_time(1_000, 2_000, 2_010);
        assert_eq!(clock.ahead(), 1_005);
        clock.on_time(9_000, 2_020, 2_030);
        assert_eq!(clock.ahead(), 2_025 - 9_000, "the server may be ahead");
    }

    #[test]
    fn a_longer_round_trip_counts_only_if_the_shorter_one_is_old() {
        let mut clock = Clock::default();
        clock.on_time(1_000, 2_000, 2_010);
        clock.on_time(1_000, 3_000, 3_100);
        assert_eq!(clock.ahead(), 1_005);
        clock.on_time(1_000, 2_000 + MAX_AGE, 2_010 + MAX_AGE + 1);
        assert_eq!(clock.ahead(), 1_005 + i64::try_from(MAX_AGE).unwrap());
    }
}
