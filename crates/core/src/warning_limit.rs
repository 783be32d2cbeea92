//! Rate limit of warnings.

use std::time::Duration;

/// A repetition within this time belongs to the same incident.
const PERIOD: Duration = Duration::from_secs(60);

/// When the condition last occurred.
#[derive(Clone, Copy, Debug, Default)]
pub struct WarningLimit(Option<Duration>);

impl WarningLimit {
    /// The condition has occurred. True if a warning is due: the first time, and after a minute without the
    /// condition.
    pub fn is_due(&mut self, now: Duration) -> bool {
        self.0.replace(now).is_none_or(|last| now >= last + PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_first_and_after_a_quiet_minute() {
        let mut limit = WarningLimit::default();
        let due = [0, 59, 118, 178, 237].map(|at| limit.is_due(Duration::from_secs(at)));
        assert_eq!(due, [true, false, false, true, false]);
    }
}
