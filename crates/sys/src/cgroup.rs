//! The limits of this process's control group, and its usage. Supports both versions of control groups.
//!
//! # Design
//! Every group on the path from the process's group to the root has limits, so the smallest one counts. A
//! container sees its own group as the root, while `/proc/self/cgroup` may contain the path on the host: if
//! that directory does not exist, the root is used as the group.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The mount point of control groups, unless [`ROOT`] overrides it.
const MOUNT: &str = "/sys/fs/cgroup";

/// The environment variable that overrides the mount point.
pub const ROOT: &str = "RCLUSTER_CGROUP_ROOT";

/// Limits of version 1 from this value on mean no limit: the kernel shows the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;

/// The groups of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    /// The groups for CPU time, for memory and for processes: the group of the process, and those above it.
    cpu: Vec<Group>,
    memory: Vec<Group>,
    pids: Vec<Group>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    directory: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The limits and the usage of the groups.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// CPUs by the quota, which may be a fraction. `None` without a quota.
    pub cpus: Option<f64>,
    /// The limit of memory in bytes. `None` without a limit.
    pub memory_limit: Option<u64>,
    /// Bytes in use, with the page cache, in the group that has that limit. `None` if they are not counted.
    pub memory_usage: Option<u64>,
    /// The time for which processes were throttled because the quota was used up, summed over all CPUs.
    pub throttled: Option<Duration>,
    /// The number of processes in the group and those below it that the OOM killer has killed.
    pub oom_kills: Option<u64>,
}

impl Cgroups {
    /// The groups of this process. Empty if there are no control groups.
    #[must_use]
    pub fn of_this_process() -> Self {
        let root = std::env::var_os(ROOT).map_or_else(|| PathBuf::from(MOUNT), PathBuf::from);
        Self::at(&root, &fs::read_to_string("/proc/self/cgroup").unwrap_or_default())
    }

    /// The groups in the text of `/proc/self/cgroup`.
    #[must_use]
    pub fn at(root: &Path, groups: &str) -> Self {
        let (mut cpu, mut memory, mut pids) = (Vec::new(), Vec::new(), Vec::new());
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            if controllers.is_empty() {
                let hybrid = root.join("unified");
                let top = if hybrid.is_dir() { hybrid } else { root.to_owned() };
                let way = way(&top, path, Version::Two);
                cpu.extend(way.iter().cloned());
                memory.extend(way.iter().cloned());
                pids.extend(way);
            }
            for controller in controllers.split(',') {
                let into = match controller {
                    "cpu" => &mut cpu,
                    "memory" => &mut memory,
                    "pids" => &mut pids,
                    _ => continue,
                };
                // Controllers that are mounted together have a symbolic link for each.
                into.extend(way(&root.join(controller), path, Version::One));
            }
        }
        Self { cpu, memory, pids }
    }

    /// The number of CPUs that the quota allows.
    #[must_use]
    pub fn cpus(&self) -> Option<f64> {
        self.cpu.iter().filter_map(Group::cpus).min_by(f64::total_cmp)
    }

    /// The memory limit in bytes.
    #[must_use]
    pub fn memory_limit(&self) -> Option<u64> {
        self.memory.iter().filter_map(Group::memory_limit).min()
    }

    /// The number of processes and threads, and the limit of it, of the group that has the least room for more. `None`
    /// without a limit.
    #[must_use]
    pub fn processes(&self) -> Option<(u64, u64)> {
        let counts = self
            .pids
            .iter()
            .filter_map(|group| Some((group.number("pids.current")?, group.number("pids.max")?)));
        counts.min_by_key(|(now, limit)| limit.saturating_sub(*now))
    }

    /// All figures. `None` if none is available.
    #[must_use]
    pub fn figures(&self) -> Option<Figures> {
        let limited =
            self.memory.iter().filter_map(|group| Some((group.memory_limit()?, group))).min_by_key(|it| it.0);
        let of_usage = limited.map(|(_, group)| group).or(self.memory.first());
        let throttled: Vec<Duration> = self.cpu.iter().filter_map(Group::throttled).collect();
        let figures = Figures {
            cpus: self.cpus(),
            memory_limit: limited.map(|(limit, _)| limit),
            memory_usage: of_usage.and_then(Group::memory_usage),
            throttled: (!throttled.is_empty()).then(|| throttled.iter().sum()),
            oom_kills: self.oom_file().and_then(|file| parse_oom_kills(&fs::read_to_string(file).ok()?)),
        };
        (figures != Figures::default()).then_some(figures)
    }

    /// The file that counts the kills of the OOM killer.
    #[must_use]
    pub fn oom_file(&self) -> Option<PathBuf> {
        let files = self.memory.iter().map(|group| match group.version {
            Version::Two => group.directory.join("memory.events"),
            Version::One => group.directory.join("memory.oom_control"),
        });
        files
            .into_iter()
            .find(|file| fs::read_to_string(file).is_ok_and(|text| parse_oom_kills(&text).is_some()))
    }
}

/// The number of CPUs that this thread may use: those of its affinity mask, or fewer by the quota of its
/// control group, rounded down; at least 1.
#[must_use]
pub fn usable_cpus(groups: &Cgroups) -> u32 {
    // An error means that the number is unknown; 1 is always valid.
    let mask = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mask = u32::try_from(mask).unwrap_or(u32::MAX);
    groups.cpus().map_or(mask, |quota| mask.min(whole(quota)))
}

/// Rounded down, and at least 1.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "such a cast keeps to the limits of the type"
)]
fn whole(cpus: f64) -> u32 {
    (cpus as u32).max(1)
}

/// The group at `path`, and all above it up to the root.
fn way(top: &Path, path: &str, version: Version) -> Vec<Group> {
    let below = Path::new(path.trim_start_matches('/'));
    let own = top.join(below);
    // A path with `..` belongs to a group outside of what this process can see.
    let is_seen = own.is_dir() && !below.components().any(|part| part.as_os_str() == "..");
    let directories: Vec<&Path> = if is_seen {
        own.ancestors().take_while(|directory| directory.starts_with(top)).collect()
    } else {
        vec![top]
    };
    directories.into_iter().map(|directory| Group { directory: directory.to_owned(), version }).collect()
}

impl Group {
    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(name)).ok()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.read(name)?.trim().parse().ok()
    }

    #[allow(clippy::cast_precision_loss, reason = "microseconds of a period are far below 2^53")]
    fn cpus(&self) -> Option<f64> {
        let (quota, period) = match self.version {
            Version::Two => {
                let text = self.read("cpu.max")?;
                let mut fields = text.split_ascii_whitespace();
                let quota: u64 = fields.next()?.parse().ok()?;
                (quota, fields.next()?.parse().ok()?)
            }
            // -1 without a quota.
            Version::One => (self.number("cpu.cfs_quota_us")?, self.number("cpu.cfs_period_us")?),
        };
        (period > 0).then(|| quota as f64 / period as f64)
    }

    fn memory_limit(&self) -> Option<u64> {
        let limit = match self.version {
            Version::Two => self.number("memory.max"),
            Version::One => self.number("memory.limit_in_bytes"),
        };
        limit.filter(|limit| *limit < NO_LIMIT)
    }

    fn memory_usage(&self) -> Option<u64> {
        match self.version {
            Version::Two => self.number("memory.current"),
            Version::One => self.number("memory.usage_in_bytes"),
        }
    }

    fn throttled(&self) -> Option<Duration> {
        let stat = self.read("cpu.stat")?;
        match self.version {
            Version::Two => field(&stat, "throttled_usec").map(Duration::from_micros),
            Version::One => field(&stat, "throttled_time").map(Duration::from_nanos),
        }
    }
}

/// Reads `memory.events`, or `memory.oom_control`.
pub(crate) fn parse_oom_kills(events: &str) -> Option<u64> {
    field(events, "oom_kill")
}

/// The number after a word at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of groups, made of ordinary files.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("rcluster-cgroup-{name}-{}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            Self(root)
        }

        fn write(&self, file: &str, text: &str) {
            let file = self.0.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_smallest_limit_on_the_path_to_the_root_applies() {
        let tree = Tree::new("way");
        tree.write("a/b/cpu.max", "max 100000\n");
        tree.write("a/cpu.max", "250000 100000\n");
        tree.write("a/b/memory.max", "1000\n");
        tree.write("a/memory.max", "900\n");
        tree.write("a/memory.current", "80\n");
        tree.write("a/b/memory.current", "70\n");
        tree.write("a/b/memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\noom_group_kill 1\n");
        tree.write("a/b/pids.current", "5\n");
        tree.write("a/b/pids.max", "max\n");
        tree.write("a/pids.current", "9\n");
        tree.write("a/pids.max", "20\n");
        tree.write("a/b/cpu.stat", "usage_usec 5\nnr_throttled 1\nthrottled_usec 1500\n");
        tree.write("a/cpu.stat", "usage_usec 5\nnr_throttled 1\nthrottled_usec 500\n");
        let groups = Cgroups::at(&tree.0, "0::/a/b\n");
        let figures = groups.figures().unwrap();
        assert_eq!(figures.cpus, Some(2.5));
        assert_eq!((figures.memory_limit, figures.memory_usage), (Some(900), Some(80)));
        assert_eq!(figures.throttled, Some(Duration::from_millis(2)));
        assert_eq!(figures.oom_kills, Some(3));
        assert_eq!(groups.processes(), Some((9, 20)));
        tree.write("a/cpu.max", "max 100000\n");
        tree.write("a/memory.max", "max\n");
        assert_eq!((groups.cpus(), groups.memory_limit()), (None, Some(1000)), "read anew each time");
        assert_eq!(groups.figures().unwrap().memory_usage, Some(70));
    }

    #[test]
    fn version_1_is_supported() {
        let tree = Tree::new("one");
        tree.write("cpu/x/cpu.cfs_quota_us", "150000\n");
        tree.write("cpu/x/cpu.cfs_period_us", "50000\n");
        tree.write("cpu/cpu.cfs_quota_us", "-1\n");
        tree.write("cpu/cpu.cfs_period_us", "100000\n");
        tree.write("cpu/x/cpu.stat", "nr_periods 9\nnr_throttled 2\nthrottled_time 2000000\n");
        tree.write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        tree.write("memory/y/memory.limit_in_bytes", "4096\n");
        tree.write("memory/y/memory.usage_in_bytes", "100\n");
        tree.write("memory/y/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n");
        tree.write("pids/z/pids.current", "7\n");
        tree.write("pids/z/pids.max", "64\n");
        let groups =
            Cgroups::at(&tree.0, "12:cpu,cpuacct:/x\n8:pids:/z\n5:memory:/y\n1:name=systemd:/x\n0::/\n");
        let expected = Figures {
            cpus: Some(3.0),
            memory_limit: Some(4096),
            memory_usage: Some(100),
            throttled: Some(Duration::from_millis(2)),
            oom_kills: Some(7),
        };
        assert_eq!(groups.figures(), Some(expected));
        assert_eq!(groups.processes(), Some((7, 64)));
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        let tree = Tree::new("top");
        tree.write("cpu.max", "100000 100000\n");
        for path in ["/docker/0123", "/../other", "/"] {
            assert_eq!(Cgroups::at(&tree.0, &format!("0::{path}\n")).cpus(), Some(1.0), "{path}");
        }
    }

    #[test]
    fn invalid_and_missing_values_are_no_limits() {
        let tree = Tree::new("nonsense");
        for text in ["", "max", "1", "1 0", "x y", "-1 100000"] {
            tree.write("cpu.max", text);
            tree.write("memory.max", text.split(' ').next().filter(|it| *it != "1").unwrap_or("no"));
            assert_eq!(Cgroups::at(&tree.0, "0::/\n").figures(), None, "'{text}'");
        }
        assert_eq!(Cgroups::at(&tree.0, "nonsense\n:\n").figures(), None);
        assert_eq!(Cgroups::at(Path::new("/nowhere"), "0::/\n").figures(), None);
    }

    #[test]
    fn a_quota_below_one_is_one_worker_and_the_mask_is_a_limit_as_well() {
        let tree = Tree::new("mask");
        let mask = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
        let groups = Cgroups::at(&tree.0, "0::/\n");
        assert_eq!(usable_cpus(&groups), mask);
        for (quota, cpus) in [("10000 100000", 1), ("199999 100000", 1), ("99999900000 100000", mask)] {
            tree.write("cpu.max", quota);
            assert_eq!(usable_cpus(&groups), cpus, "{quota}");
        }
    }

    /// Runs only where a group can be created.
    #[test]
    fn a_real_group_is_read() {
        let name = format!("rcluster-test-{}", std::process::id());
        let group = Path::new(MOUNT).join("memory").join(&name);
        if fs::create_dir(&group).is_err() {
            return;
        }
        let limited = fs::write(group.join("memory.limit_in_bytes"), "268435456");
        let found = Cgroups::at(Path::new(MOUNT), &format!("4:memory:/{name}\n")).figures();
        fs::remove_dir(&group).unwrap();
        limited.unwrap();
        let found = found.unwrap();
        assert_eq!((found.memory_limit, found.oom_kills), (Some(268_435_456), Some(0)));
        assert!(found.memory_usage.is_some());
    }
}
