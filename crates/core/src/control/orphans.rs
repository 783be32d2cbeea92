//! Finds orphans that have ended and must be reaped: children of other processes that became ours because we
//! are PID 1 or a child subreaper.

use std::collections::HashMap;
use std::time::Duration;

/// The interval between scans.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The largest number reaped at a time, because the thread has other work.
const BATCH: usize = 512;

/// A child that has ended and has not been reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Zombie {
    /// Its process id. An earlier process may have had the same.
    pub pid: i32,
    /// Its start time, in clock ticks since the system started. Together with the process id it identifies
    /// one process.
    pub started: u64,
}

/// Distinguishes orphans from zombies that their parent code is about to reap.
///
/// Code that waits for a child of its own, such as libuv or a library, reaps it at once. So a zombie that is
/// found in two scans is an orphan.
#[derive(Debug)]
pub struct Orphans {
    next: Duration,
    seen: HashMap<Zombie, Duration>,
    /// The primary's main thread, which may be busy, must reap a batch.
    asked: bool,
}

impl Orphans {
    /// Creates the state with no zombie seen.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { next: now + INTERVAL, seen: HashMap::new(), asked: false }
    }

    /// When to scan; `None` while the primary's thread has not finished a batch.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        (!self.asked).then_some(self.next)
    }

    /// `zombies` are all children that have ended and are not reaped. Returns those to be reaped.
    pub fn on_look(&mut self, now: Duration, zombies: &[Zombie]) -> Vec<i32> {
        self.next = now + INTERVAL;
        let before = std::mem::take(&mut self.seen);
        self.seen = zombies.iter().map(|&zombie| (zombie, *before.get(&zombie).unwrap_or(&now))).collect();
        let is_due = |since: Duration| now.saturating_sub(since) >= INTERVAL;
        let mut due: Vec<_> = self.seen.iter().filter(|&(_, &since)| is_due(since)).collect();
        // The longest known first, so that zombies which may not be reaped do not delay the others for long.
        due.sort_by_key(|&(zombie, since)| (*since, zombie.pid));
        let due: Vec<_> = due.into_iter().map(|(&zombie, _)| zombie).take(BATCH).collect();
        for zombie in &due {
            // Requested: if it is still there in the next scan, it comes after the others.
            self.seen.insert(*zombie, now);
        }
        self.asked = !due.is_empty();
        due.into_iter().map(|zombie| zombie.pid).collect()
    }

    /// The primary's thread has reaped the batch.
    pub fn on_reaped(&mut self, now: Duration) {
        self.asked = false;
        // There may be another batch.
        self.next = now.max(self.next.min(now + INTERVAL / 10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zombie(pid: i32) -> Zombie {
        Zombie { pid, started: 7 }
    }

    const NONE: [i32; 0] = [];

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_zombie_found_in_two_scans_is_reaped() {
        let mut orphans = Orphans::new(at(0));
        assert_eq!(orphans.next_deadline(), Some(at(1_000)));
        assert_eq!(orphans.on_look(at(1_000), &[zombie(2)]), NONE);
        assert_eq!(orphans.on_look(at(2_000), &[zombie(2), zombie(3)]), [2]);
        assert_eq!(orphans.next_deadline(), None, "the primary's thread may be busy");
        orphans.on_reaped(at(9_000));
        assert_eq!(orphans.on_look(at(9_000), &[zombie(3)]), [3]);
    }

    #[test]
    fn a_zombie_that_other_code_reaps_is_left_alone_even_if_its_number_is_reused() {
        let mut orphans = Orphans::new(at(0));
        assert_eq!(orphans.on_look(at(1_000), &[zombie(2)]), NONE);
        assert_eq!(orphans.on_look(at(2_000), &[Zombie { pid: 2, started: 8 }]), NONE);
        assert_eq!(orphans.on_look(at(2_500), &[Zombie { pid: 2, started: 8 }]), NONE, "too soon");
        assert_eq!(orphans.on_look(at(3_500), &[]), NONE);
        assert_eq!(orphans.on_look(at(4_500), &[Zombie { pid: 2, started: 8 }]), NONE, "seen anew");
    }

    #[test]
    fn zombies_that_may_not_be_reaped_do_not_delay_others() {
        let mut orphans = Orphans::new(at(0));
        let many: Vec<_> = (2..2_002).map(zombie).collect();
        orphans.on_look(at(0), &many);
        let mut asked = std::collections::BTreeSet::new();
        for turn in 1..=4 {
            let batch = orphans.on_look(at(turn * 1_000), &many);
            assert!(batch.len() <= BATCH);
            asked.extend(batch);
            orphans.on_reaped(at(turn * 1_000));
        }
        assert_eq!(asked.len(), 2_000);
    }
}
