//! A histogram of durations.

use std::time::Duration;

/// The histogram. `limits` does not contain the last bucket, which has no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// In seconds, ascending.
    limits: &'static [f64],
    /// The number of values in the bucket of each limit, and at the end in the last bucket.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Creates an empty histogram with buckets up to each of these limits, in seconds, ascending.
    #[must_use]
    pub fn of_seconds(limits: &'static [f64]) -> Self {
        Self { limits, counts: vec![0; limits.len() + 1], sum: 0.0 }
    }

    /// Adds a duration.
    pub fn observe(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = self.limits.iter().position(|limit| seconds <= *limit).unwrap_or(self.limits.len());
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.sum += seconds;
    }

    /// Each limit, with the number of values up to it.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let counts = self.counts.iter().scan(0_u64, |sum, count| {
            *sum = sum.saturating_add(*count);
            Some(*sum)
        });
        self.limits.iter().copied().zip(counts)
    }

    /// The number of values.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The sum of all values, in seconds.
    pub(super) fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_all_that_took_no_longer() {
        let mut histogram = Histogram::of_seconds(&[0.1, 1.0]);
        for ms in [100, 101, 5000, 0] {
            histogram.observe(Duration::from_millis(ms));
        }
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(0.1, 2), (1.0, 3)]);
        assert_eq!((histogram.count(), histogram.sum()), (4, 5.201));
    }
}
