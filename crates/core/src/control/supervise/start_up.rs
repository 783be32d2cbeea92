//! How long to try to start a cluster of which no worker has ever been ready.

use std::time::Duration;

use super::{Phase, Time};

/// The smallest number of failures of a slot. So a worker that used all its time to get ready gets a second
/// attempt.
const AT_LEAST: u32 = 3;

/// Whether the program has ever been ready.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StartUp {
    since: Time,
    succeeded: bool,
}

impl StartUp {
    /// Workers are started for the first time, or with code that may have changed.
    pub(super) fn begin(&mut self, now: Time) {
        self.since = now;
    }

    /// A worker is ready, so the program can start.
    pub(super) fn succeed(&mut self) {
        self.succeeded = true;
    }

    pub(super) fn tried_for(self, now: Time) -> Duration {
        now.saturating_sub(self.since)
    }

    /// Whether a next attempt at that time would exceed the limit.
    pub(super) fn is_over(self, next: Time, phase: Phase, failures: u32, limit: Option<Duration>) -> bool {
        let is_late = limit.is_some_and(|limit| self.tried_for(next) >= limit);
        is_late && !self.succeeded && phase == Phase::StartUp && failures >= AT_LEAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(60));

    fn at(seconds: u64) -> Time {
        Duration::from_secs(seconds)
    }

    #[test]
    fn starting_is_tried_for_the_limit() {
        let mut start_up = StartUp::default();
        start_up.begin(at(5));
        assert!(!start_up.is_over(at(64), Phase::StartUp, 9, LIMIT));
        assert!(start_up.is_over(at(65), Phase::StartUp, 9, LIMIT));
        assert!(!start_up.is_over(at(65), Phase::Service, 9, LIMIT));
        assert!(!start_up.is_over(at(9999), Phase::StartUp, 9, None));
        assert_eq!(start_up.tried_for(at(65)), at(60));
    }

    #[test]
    fn starting_is_tried_a_minimum_number_of_times() {
        let start_up = StartUp::default();
        assert!(!start_up.is_over(at(500), Phase::StartUp, 2, LIMIT));
        assert!(start_up.is_over(at(500), Phase::StartUp, 3, LIMIT));
    }

    #[test]
    fn one_success_is_enough_and_new_code_restarts_the_limit() {
        let mut start_up = StartUp::default();
        start_up.begin(at(50));
        assert!(!start_up.is_over(at(61), Phase::StartUp, 9, LIMIT));
        start_up.succeed();
        assert!(!start_up.is_over(at(999), Phase::StartUp, 9, LIMIT));
    }
}
