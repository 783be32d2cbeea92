//! Kills by the kernel's OOM killer, as counted by the control group of this process.

use std::fs;
use std::path::PathBuf;

use super::cgroup::{Cgroups, parse_oom_kills};

/// The counter of out-of-memory kills in this process's control group, and in those below it.
#[derive(Debug)]
pub struct OomKills {
    file: PathBuf,
    /// The number of kills that are accounted for.
    seen: u64,
}

impl OomKills {
    /// `None` if no counter can be read: without control groups, or in the root group, which has no limit.
    #[must_use]
    pub fn of(groups: &Cgroups) -> Option<Self> {
        let file = groups.oom_file()?;
        let seen = parse_oom_kills(&fs::read_to_string(&file).ok()?)?;
        Some(Self { file, seen })
    }

    /// Accounts for one kill, if there is a new one. Then a process that was just killed was probably the
    /// victim: the counter does not show which one it was.
    pub fn take(&mut self) -> bool {
        let is_new = self.count().is_some_and(|count| count > self.seen);
        self.seen += u64::from(is_new);
        is_new
    }

    /// Considers all kills so far accounted for, because their victims were other processes.
    pub fn forget(&mut self) {
        self.seen = self.count().unwrap_or(self.seen);
    }

    fn count(&self) -> Option<u64> {
        // The counter is removed with its group; without it nothing is known.
        parse_oom_kills(&fs::read_to_string(&self.file).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_counted_once() {
        let file = std::env::temp_dir().join(format!("rcluster-oom-{}", std::process::id()));
        fs::write(&file, "oom_kill 1\n").unwrap();
        let mut kills = OomKills { file: file.clone(), seen: 1 };
        assert!(!kills.take());
        fs::write(&file, "oom_kill 3\n").unwrap();
        assert!(kills.take() && kills.take() && !kills.take());
        fs::write(&file, "oom_kill 4\n").unwrap();
        kills.forget();
        assert!(!kills.take());
        fs::remove_file(&file).unwrap();
        assert!(!kills.take());
    }
}
