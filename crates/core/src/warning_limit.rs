//! What is told now and then, however often it happens.

use std::time::Duration;

/// What happens again within this time is the same trouble.
const PERIOD: Duration = Duration::from_secs(60);

/// Whether something has been told lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct WarningLimit(Option<Duration>);

impl WarningLimit {
    /// It has happened. Says whether to tell: the first time, and whenever it has not happened for a minute.
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
