//! The budget of restarts.

use std::collections::VecDeque;

use super::Time;
use super::options::Intensity;

/// The restarts of the last period. A scheduled restart counts from the decision on, at its scheduled time.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    intensity: Intensity,
    at: VecDeque<Time>,
}

impl Budget {
    pub(super) fn new(intensity: Intensity) -> Self {
        Self { intensity, at: VecDeque::new() }
    }

    pub(super) fn intensity(&self) -> Intensity {
        self.intensity
    }

    /// The number of restarts in the period that ends then, including those scheduled for later.
    pub(super) fn used(&self, at: Time) -> u32 {
        let count = self.at.iter().filter(|then| self.counts(**then, at)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Whether there is room for one more.
    pub(super) fn admits(&self, at: Time) -> bool {
        self.used(at) < self.intensity.max
    }

    pub(super) fn spend(&mut self, now: Time, at: Time) {
        let intensity = self.intensity;
        self.at.retain(|then| within(intensity, *then, now));
        self.at.push_back(at);
    }

    /// When there is room again. `None` if there is room now, or never will be.
    pub(super) fn room_at(&self, now: Time) -> Option<Time> {
        let mut counted: Vec<Time> = self.at.iter().copied().filter(|then| self.counts(*then, now)).collect();
        counted.sort_unstable();
        let too_many = counted.len().checked_sub(self.intensity.max as usize)?;
        counted.get(too_many).map(|then| then.saturating_add(self.intensity.period))
    }

    /// Whether no period exceeds the limit.
    pub(super) fn is_kept(&self) -> bool {
        self.at.iter().all(|last| {
            let in_period = |then: &&Time| **then <= *last && self.counts(**then, *last);
            self.at.iter().filter(in_period).count() <= self.intensity.max as usize
        })
    }

    fn counts(&self, then: Time, at: Time) -> bool {
        within(self.intensity, then, at)
    }
}

/// Whether a restart at the time `then` still counts at the time `at`.
fn within(intensity: Intensity, then: Time, at: Time) -> bool {
    then.saturating_add(intensity.period) > at
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Time {
        Duration::from_secs(seconds)
    }

    fn budget(max: u32) -> Budget {
        Budget::new(Intensity { max, period: at(10) })
    }

    #[test]
    fn no_period_has_more_restarts_than_allowed() {
        let mut budget = budget(2);
        for moment in [0, 4] {
            assert!(budget.admits(at(moment)));
            budget.spend(at(moment), at(moment));
        }
        assert!(!budget.admits(at(4)) && !budget.admits(at(9)));
        assert_eq!(budget.room_at(at(9)), Some(at(10)));
        // One period later the first restart no longer counts; the second one does.
        assert!(budget.admits(at(10)));
        budget.spend(at(10), at(10));
        assert!(!budget.admits(at(13)) && budget.admits(at(14)));
    }

    #[test]
    fn scheduled_restarts_count() {
        let mut budget = budget(1);
        budget.spend(at(0), at(15));
        assert!(!budget.admits(at(1)) && !budget.admits(at(24)) && budget.admits(at(25)));
    }

    #[test]
    fn a_maximum_of_zero_allows_none() {
        assert!(!budget(0).admits(at(99)));
        assert_eq!(budget(0).room_at(at(99)), None);
    }
}
