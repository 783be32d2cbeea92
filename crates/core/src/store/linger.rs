//! Whether the writer keeps polling for requests or sleeps.
//!
//! Waking a thread takes longer than answering a request. So while requests come in quick succession, the
//! writer polls for a moment before it sleeps. Each time none arrives in that moment, it needs more evidence
//! before it polls again, so that occasional requests cost no more CPU than necessary.

/// How long it polls, in µs.
pub const LINGER: u64 = 50;

/// Requests that come within this time after the last answers, in µs, make it poll. The time may include a
/// wake-up.
const NEAR: u64 = 200;

/// The required evidence stops growing after this many failures.
const MAX_FAILURES: u32 = 6;

/// Decides whether to poll: see the module. Times are in µs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linger {
    answered: u64,
    lingers: bool,
    slept: bool,
    failures: u32,
    /// The number of times that requests must be near before it polls again.
    reluctance: u32,
}

impl Linger {
    /// Requests have been answered.
    pub fn on_answered(&mut self, now: u64) {
        let near = now.saturating_sub(self.answered) <= NEAR;
        self.answered = now;
        if !std::mem::take(&mut self.slept) {
            if self.lingers {
                self.failures = 0;
            }
        } else if near && self.reluctance > 0 {
            self.reluctance -= 1;
        } else {
            self.lingers = near;
        }
    }

    /// The writer sleeps.
    pub fn on_sleep(&mut self) {
        if std::mem::take(&mut self.lingers) {
            self.failures = (self.failures + 1).min(MAX_FAILURES);
            self.reluctance = (1 << self.failures) - 1;
        }
        self.slept = true;
    }

    /// Whether to keep polling.
    #[must_use]
    pub fn is_worthwhile(&self, now: u64) -> bool {
        self.lingers && now.saturating_sub(self.answered) < LINGER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests at intervals of `gap` µs, of which a wake-up takes 30. Returns the µs polled without success,
    /// and the number of sleeps.
    fn play(gap: u64) -> (u64, u64) {
        let (mut linger, mut looked, mut sleeps) = (Linger::default(), 0, 0);
        for count in 1..=1000 {
            let (answered, next) = (linger.answered, count * gap + 1_000_000);
            let mut now = answered;
            while now < next && linger.is_worthwhile(now) {
                now += 1;
            }
            if now < next {
                looked += now - answered;
                sleeps += 1;
                linger.on_sleep();
                now = next + 30;
            }
            linger.on_answered(now);
        }
        (looked, sleeps)
    }

    #[test]
    fn it_polls_while_requests_are_frequent() {
        let (looked, sleeps) = play(40);
        assert!(sleeps < 10 && looked < 200, "{looked} µs, {sleeps} times");
    }

    #[test]
    fn it_sleeps_at_once_while_requests_are_rare() {
        assert_eq!(play(1000), (0, 1000));
    }

    #[test]
    fn it_rarely_polls_without_success() {
        let (looked, sleeps) = play(120);
        assert_eq!(sleeps, 1000);
        assert!(looked < 1000 * 120 / 50, "{looked} µs in all");
    }
}
