//! Shortage of descriptors or memory: what is paused for a while, and what is retried.

use std::time::Duration;

use crate::warning_limit::WarningLimit;

/// How long operations that receive descriptors are paused, and the delay of retries.
pub const PAUSE: Duration = Duration::from_millis(100);

/// Pauses end by time, because only the system knows when a shortage is over. Warnings are rate-limited.
#[derive(Debug, Default)]
pub struct Shortage {
    /// Nothing that receives descriptors is done before this time.
    paused_until: Option<Duration>,
    /// No clients are accepted before this time, unless [`Shortage::release`] comes first.
    held_until: Option<Duration>,
    /// When failed watches and accepts are retried.
    retry_at: Option<Duration>,
    exhausted: WarningLimit,
    jammed: WarningLimit,
}

impl Shortage {
    /// When [`Shortage::has_pause_ended`], [`Shortage::has_hold_ended`] or [`Shortage::is_retry_due`] may change.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        [self.paused_until, self.held_until, self.retry_at].into_iter().flatten().min()
    }

    /// Pauses everything that receives descriptors, from now on.
    pub fn pause(&mut self, now: Duration) {
        self.paused_until = Some(now + PAUSE);
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// Whether a pause has ended. True once.
    pub fn has_pause_ended(&mut self, now: Duration) -> bool {
        self.paused_until.take_if(|until| *until <= now).is_some()
    }

    /// Accepts no clients for a while: the rest of the descriptors is reserved.
    pub fn hold(&mut self, now: Duration) {
        self.held_until = Some(now + PAUSE);
    }

    /// Whether clients may be accepted.
    #[must_use]
    pub fn admits_clients(&self) -> bool {
        self.paused_until.is_none() && self.held_until.is_none()
    }

    /// Ends a hold before its time. True if there was one.
    pub fn release(&mut self) -> bool {
        self.held_until.take().is_some()
    }

    /// Whether a hold has ended. True once.
    pub fn has_hold_ended(&mut self, now: Duration) -> bool {
        self.held_until.take_if(|until| *until <= now).is_some()
    }

    /// A single operation has failed: schedules a retry.
    pub fn retry_later(&mut self, now: Duration) {
        self.retry_at.get_or_insert(now + PAUSE);
    }

    /// Whether to retry now. True once.
    pub fn is_retry_due(&mut self, now: Duration) -> bool {
        self.retry_at.take_if(|at| *at <= now).is_some()
    }

    /// Whether to warn that there is a shortage.
    pub fn is_warning_due(&mut self, now: Duration) -> bool {
        self.exhausted.is_due(now)
    }

    /// Whether to warn that too many descriptors are in transit.
    pub fn is_jam_warning_due(&mut self, now: Duration) -> bool {
        self.jammed.is_due(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_hold_concerns_only_clients_and_ends_by_time_or_when_it_is_released() {
        let mut shortage = Shortage::default();
        shortage.hold(MS);
        assert_eq!(shortage.next_deadline(), Some(MS + PAUSE));
        assert!(!shortage.is_paused() && !shortage.admits_clients());
        assert!(!shortage.has_hold_ended(PAUSE));
        assert!(shortage.has_hold_ended(MS + PAUSE));
        assert!(!shortage.has_hold_ended(MS + PAUSE));
        assert!(shortage.admits_clients());
        shortage.hold(MS);
        assert!(shortage.release());
        assert!(!shortage.release());
        shortage.pause(MS);
        assert!(!shortage.admits_clients());
    }

    #[test]
    fn a_pause_ends_once_and_begins_anew_with_each_failure() {
        let mut shortage = Shortage::default();
        assert_eq!(shortage.next_deadline(), None);
        shortage.pause(Duration::ZERO);
        shortage.pause(40 * MS);
        assert_eq!(shortage.next_deadline(), Some(40 * MS + PAUSE));
        assert!(!shortage.has_pause_ended(PAUSE));
        assert!(shortage.is_paused());
        assert!(shortage.has_pause_ended(40 * MS + PAUSE));
        assert!(!shortage.is_paused());
        assert!(!shortage.has_pause_ended(41 * MS + PAUSE), "it is told once");
    }

    #[test]
    fn what_fails_again_meanwhile_does_not_delay_the_retry() {
        let mut shortage = Shortage::default();
        shortage.retry_later(Duration::ZERO);
        shortage.retry_later(40 * MS);
        shortage.pause(MS);
        assert_eq!(shortage.next_deadline(), Some(PAUSE), "the earlier of both");
        assert!(!shortage.is_retry_due(40 * MS));
        assert!(shortage.is_retry_due(PAUSE));
        assert!(!shortage.is_retry_due(PAUSE));
        assert_eq!(shortage.next_deadline(), Some(MS + PAUSE));
    }

    #[test]
    fn a_shortage_and_a_jam_are_told_apart() {
        let mut shortage = Shortage::default();
        assert!(shortage.is_warning_due(MS));
        assert!(shortage.is_jam_warning_due(MS));
        assert!(!shortage.is_warning_due(2 * MS));
        assert!(!shortage.is_jam_warning_due(2 * MS));
    }
}
