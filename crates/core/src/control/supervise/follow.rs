//! Keeps the number of slots equal to the number of CPUs when it changes.

use std::collections::VecDeque;
use std::time::Duration;

use super::cluster::Cluster;
use super::scale::Change;
use super::worker::Worker;
use super::{Event, MAX_WORKERS, Time};

/// How long the number of CPUs must differ before a slot is added or removed.
const STEADY: Duration = Duration::from_secs(30);

/// Recent numbers of CPUs.
///
/// A quota may change all the time, and starting workers costs CPU time. So a slot is added only if every
/// sample of the last 30 s had more CPUs than slots, and removed only if every sample had fewer.
#[derive(Debug)]
pub(super) struct Follow {
    is_on: bool,
    /// Each number with its start time, the oldest first. The first one counts for all earlier time.
    seen: VecDeque<(Time, u32)>,
}

impl Follow {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, seen: VecDeque::new() }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(super) fn begin(&mut self) {
        self.is_on = true;
        self.seen.clear();
    }

    /// An explicit number of workers was requested.
    pub(super) fn end(&mut self) {
        self.is_on = false;
        self.seen.clear();
    }

    /// A sample of the number of CPUs.
    pub(super) fn on_cpus(&mut self, now: Time, cpus: u32) {
        if !self.is_on {
            return;
        }
        let cpus = cpus.clamp(1, MAX_WORKERS);
        if self.seen.back().is_none_or(|(_, last)| *last != cpus) {
            self.seen.push_back((now, cpus));
        }
        // A number is dropped once its successor is older than the period.
        while self.seen.get(1).is_some_and(|(since, _)| since.saturating_add(STEADY) <= now) {
            self.seen.pop_front();
        }
    }

    /// The next number of slots, if it is to change from `slots`.
    fn next(&self, slots: u32) -> Option<u32> {
        let numbers = || self.seen.iter().map(|(_, cpus)| *cpus);
        let (least, most) = (numbers().min()?, numbers().max()?);
        if least > slots {
            Some(slots + 1)
        } else if most < slots {
            Some(slots - 1)
        } else {
            None
        }
    }

    /// Adds or removes one slot, once the slot changed before has a worker or has none any more.
    pub(super) fn apply(&mut self, cluster: &mut Cluster) {
        let slots = cluster.slots().wanted();
        let Some(&(_, cpus)) = self.seen.back().filter(|_| self.is_on) else { return };
        let Some(workers) = self.next(slots) else { return };
        let is_done = if workers > slots {
            cluster.all_slots().all(|slot| cluster.has_ready(slot))
        } else {
            !cluster.workers().iter().filter_map(Worker::slot).any(|slot| slot.0 >= slots)
        };
        if is_done && cluster.can_have(workers) == Change::Now {
            cluster.tell(Event::Follow { cpus, workers });
            cluster.change_slots(workers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The results with two slots for these numbers, one per second.
    fn answers(numbers: impl IntoIterator<Item = u32>) -> Vec<Option<u32>> {
        let mut follow = Follow::new(true);
        let look = |(second, cpus)| {
            follow.on_cpus(SECOND * second, cpus);
            follow.next(2)
        };
        (0..).zip(numbers).map(look).collect()
    }

    #[test]
    fn a_change_counts_when_it_has_lasted() {
        let numbers = || [2].into_iter().chain([4; 31]);
        let more = answers(numbers());
        assert!(more[..31].iter().all(Option::is_none), "{more:?}");
        assert_eq!(more[31], Some(3));
        let fewer = answers([2].into_iter().chain([1; 31]));
        assert_eq!((fewer[30], fewer[31]), (None, Some(1)));
    }

    #[test]
    fn a_reverted_change_does_not_count_and_a_fluctuating_one_does() {
        let back = answers([2].into_iter().chain([4; 29]).chain([2; 60]));
        assert!(back.iter().all(Option::is_none));
        let wavers = answers([2].into_iter().chain([4, 3].into_iter().cycle().take(31)));
        assert_eq!((wavers[30], wavers[31]), (None, Some(3)), "always more than two");
        let through = answers([2].into_iter().chain([1, 3].into_iter().cycle().take(90)));
        assert!(through.iter().all(Option::is_none), "sometimes fewer, sometimes more");
    }

    #[test]
    fn samples_are_not_kept_without_following() {
        let mut follow = Follow::new(false);
        follow.on_cpus(SECOND, 4);
        assert_eq!(follow.next(2), None);
        follow.begin();
        follow.on_cpus(SECOND, 4);
        assert_eq!(follow.next(2), Some(3), "the first number counts for all time before");
        follow.end();
        assert_eq!(follow.next(2), None);
        assert!(!follow.is_on());
    }

    #[test]
    fn the_number_of_kept_samples_is_limited() {
        let mut follow = Follow::new(true);
        for second in 0..1000 {
            follow.on_cpus(SECOND * second, 1 + second % 2);
        }
        assert!(follow.seen.len() <= 32, "{}", follow.seen.len());
    }
}
