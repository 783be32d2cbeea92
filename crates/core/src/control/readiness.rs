//! Whether the cluster is ready, for probes.

use super::supervise::Stats;

/// Remembers whether the cluster has started: see the module.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    /// Enough workers have been ready at least once.
    has_started: bool,
}

impl Readiness {
    /// Whether enough workers are ready and the cluster is not about to end. The error is the reason.
    pub(super) fn ready(stats: &Stats, min_ready: u32) -> Result<(), String> {
        if stats.stopping {
            return Err("the cluster is about to end".into());
        }
        enough(stats, min_ready)
    }

    /// Whether enough workers have been ready at least once. The error says how many are now. Call it also
    /// whenever a worker gets ready.
    pub(super) fn started(&mut self, stats: &Stats, min_ready: u32) -> Result<(), String> {
        let enough = enough(stats, min_ready);
        self.has_started |= enough.is_ok();
        if self.has_started { Ok(()) } else { enough }
    }
}

/// A cluster smaller than `min_ready` is ready when all its workers are.
fn enough(stats: &Stats, min_ready: u32) -> Result<(), String> {
    let needed = min_ready.min(stats.workers);
    if stats.ready >= needed {
        return Ok(());
    }
    Err(format!("{} of {} workers ready, {needed} needed", stats.ready, stats.workers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::supervise::{Options, Supervise};
    use std::time::Duration;

    fn stats(workers: u32, ready: u32, stopping: bool) -> Stats {
        let stats = Supervise::new(Options { workers, ..Options::default() }, 1).stats(Duration::ZERO);
        Stats { workers, ready, stopping, ..stats }
    }

    #[test]
    fn a_cluster_is_ready_with_enough_workers_unless_it_is_about_to_end() {
        assert_eq!(Readiness::ready(&stats(4, 2, false), 2), Ok(()));
        assert_eq!(Readiness::ready(&stats(4, 1, false), 2), Err("1 of 4 workers ready, 2 needed".into()));
        assert!(Readiness::ready(&stats(4, 4, true), 2).is_err(), "it is announced before anybody drains");
        assert_eq!(Readiness::ready(&stats(2, 2, false), 3), Ok(()), "there are no more");
    }

    #[test]
    fn a_cluster_starts_once() {
        let mut readiness = Readiness::default();
        assert!(readiness.started(&stats(2, 1, false), 2).is_err());
        assert!(readiness.started(&stats(2, 2, false), 2).is_ok());
        assert!(readiness.started(&stats(2, 0, true), 2).is_ok(), "whatever comes after");
    }
}
