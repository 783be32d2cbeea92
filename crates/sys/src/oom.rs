//! What the kernel killed for want of memory, as the control group of this process counts it.

use std::fs;
use std::path::PathBuf;

/// The counter of out-of-memory kills in this process's control group, and in those below it.
#[derive(Debug)]
pub struct OomKills {
    file: PathBuf,
    /// How many of them are accounted for.
    seen: u64,
}

impl OomKills {
    /// None where no counter can be read: without control groups, or in the root group, which has no limit.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        candidates(&groups).into_iter().find_map(|file| {
            let seen = parse(&fs::read_to_string(&file).ok()?)?;
            Some(Self { file, seen })
        })
    }

    /// Accounts for one kill, if there is one that has not been accounted for. A process that has been killed was probably
    /// that one: the counter does not say which.
    pub fn take(&mut self) -> bool {
        let is_new = self.count().is_some_and(|count| count > self.seen);
        self.seen += u64::from(is_new);
        is_new
    }

    /// All so far have killed others.
    pub fn forget(&mut self) {
        self.seen = self.count().unwrap_or(self.seen);
    }

    fn count(&self) -> Option<u64> {
        // The counter goes with its group; without it nothing is known.
        parse(&fs::read_to_string(&self.file).ok()?)
    }
}

/// Where the counter may be, by what `/proc/self/cgroup` says. A container sees its own group at the top.
fn candidates(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (tops, name): (&[&str], _) = match controllers {
            "" => (&["/sys/fs/cgroup", "/sys/fs/cgroup/unified"], "memory.events"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                (&["/sys/fs/cgroup/memory"], "memory.oom_control")
            }
            _ => continue,
        };
        for top in tops {
            files.push(PathBuf::from(format!("{top}{}/{name}", path.trim_end_matches('/'))));
            files.push(PathBuf::from(format!("{top}/{name}")));
        }
    }
    files
}

fn parse(events: &str) -> Option<u64> {
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_control_groups_are_read() {
        assert_eq!(parse("low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\noom_group_kill 1\n"), Some(3));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\n"), None);
        assert_eq!(parse("oom_kill many\n"), None);
    }

    #[test]
    fn the_file_is_where_the_group_says() {
        let paths = |groups| {
            candidates(groups).into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(paths("0::/a.slice/b:c\n")[0], "/sys/fs/cgroup/a.slice/b:c/memory.events");
        assert_eq!(paths("0::/\n")[0], "/sys/fs/cgroup/memory.events");
        let old = paths("12:cpu,cpuacct:/x\n5:memory:/docker/1\n1:name=systemd:/x\n");
        assert_eq!(
            old,
            ["/sys/fs/cgroup/memory/docker/1/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"]
        );
        assert!(paths("nonsense\n:\n").is_empty());
    }

    #[test]
    fn a_kill_is_told_once() {
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
