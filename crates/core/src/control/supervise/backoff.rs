//! How long to wait before a restart.

use std::time::Duration;

use super::Phase;
use super::options::Backoff;
use crate::random::Random;

/// The shortest wait after a failed start. Without it, a program that cannot start and a backoff of 0 would
/// keep the thread busy.
const AT_LEAST: Duration = Duration::from_millis(1);

/// The failures since the last healthy time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    count: u32,
    waits: u32,
    last: Option<Phase>,
}

impl Failures {
    pub(super) fn count(self) -> u32 {
        self.count
    }

    /// Whether the last worker failed before it was ready.
    pub(super) fn is_at_start_up(self) -> bool {
        self.last == Some(Phase::StartUp)
    }

    /// Counts one more failure. Returns how long to wait.
    pub(super) fn one_more(&mut self, phase: Phase, backoff: &Backoff, random: &mut Random) -> Duration {
        self.count = self.count.saturating_add(1);
        self.last = Some(phase);
        // The worker was ready, so the program works: no wait, unless this has happened too often.
        if phase == Phase::Service && self.count <= backoff.immediate {
            return Duration::ZERO;
        }
        let wait = times(wait(self.waits, backoff), random.around_one(backoff.jitter)).min(backoff.max);
        self.waits = self.waits.saturating_add(1);
        if phase == Phase::StartUp { wait.max(AT_LEAST) } else { wait }
    }
}

/// Saturates where the standard library would panic.
pub(super) fn times(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

fn wait(before: u32, backoff: &Backoff) -> Duration {
    // Avoids 0 times infinity, which is not a number.
    if backoff.initial.is_zero() {
        return Duration::ZERO;
    }
    let factor = backoff.factor.max(1.0).powi(i32::try_from(before).unwrap_or(i32::MAX));
    times(backoff.initial, factor).min(backoff.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(phases: &[Phase], backoff: &Backoff) -> Vec<u128> {
        let (mut failures, mut random) = (Failures::default(), Random::new(1));
        phases.iter().map(|phase| failures.one_more(*phase, backoff, &mut random).as_millis()).collect()
    }

    const STEADY: Backoff = Backoff {
        initial: Duration::from_millis(100),
        max: Duration::from_millis(1500),
        factor: 2.0,
        jitter: 0.0,
        immediate: 1,
        reset_after: Duration::ZERO,
    };

    #[test]
    fn waits_grow_up_to_the_longest() {
        assert_eq!(waits(&[Phase::StartUp; 7], &STEADY), [100, 200, 400, 800, 1500, 1500, 1500]);
    }

    #[test]
    fn only_the_first_failures_in_service_do_not_wait() {
        let few = Backoff { immediate: 3, ..STEADY };
        assert_eq!(waits(&[Phase::Service; 6], &few), [0, 0, 0, 100, 200, 400]);
        assert_eq!(waits(&[Phase::Service, Phase::StartUp, Phase::Service], &few), [0, 100, 0]);
        let none = Backoff { immediate: 0, ..STEADY };
        assert_eq!(waits(&[Phase::Service; 2], &none), [100, 200]);
        assert_eq!(waits(&[Phase::Service; 4], &STEADY), [0, 100, 200, 400]);
        assert_eq!(waits(&[Phase::Service, Phase::StartUp, Phase::Service], &STEADY), [0, 100, 200]);
        assert_eq!(waits(&[Phase::StartUp, Phase::Service], &STEADY), [100, 200]);
    }

    #[test]
    fn extreme_values_do_not_panic() {
        let huge = Backoff { factor: 1e300, max: Duration::MAX, ..STEADY };
        assert_eq!(waits(&[Phase::StartUp; 3], &huge)[2], Duration::MAX.as_millis());
        let none = Backoff { initial: Duration::ZERO, factor: 1e300, ..STEADY };
        assert_eq!(waits(&[Phase::StartUp; 3], &none), [1, 1, 1]);
        assert_eq!(waits(&[Phase::Service; 3], &none), [0, 0, 0]);
        let shrinking = Backoff { factor: 0.1, ..STEADY };
        assert_eq!(waits(&[Phase::StartUp; 2], &shrinking), [100, 100]);
    }

    #[test]
    fn the_last_failure_says_whether_it_was_at_start_up() {
        let mut failures = Failures::default();
        let mut random = Random::new(1);
        assert!(!failures.is_at_start_up());
        failures.one_more(Phase::StartUp, &STEADY, &mut random);
        assert!(failures.is_at_start_up());
        failures.one_more(Phase::Service, &STEADY, &mut random);
        assert!(!failures.is_at_start_up());
    }

    #[test]
    fn jitter_spreads_the_waits_and_keeps_the_limit() {
        let backoff = Backoff { jitter: 0.5, factor: 1.0, ..STEADY };
        let spread = waits(&[Phase::StartUp; 100], &backoff);
        assert!(spread.iter().all(|wait| (50..=150).contains(wait)), "{spread:?}");
        assert!(spread.iter().any(|wait| *wait < 70) && spread.iter().any(|wait| *wait > 130), "{spread:?}");
        let capped = waits(&[Phase::StartUp; 100], &Backoff { max: STEADY.initial, ..backoff });
        assert!(capped.iter().all(|wait| *wait <= 100), "{capped:?}");
    }
}
