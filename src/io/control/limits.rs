//! The CPUs and memory available to the cluster, by the affinity mask, the control group and the machine.

use std::time::Duration;

use rcluster_core::control::operator::CgroupStatus;
use rcluster_core::control::supervise::Input;
use rcluster_sys::cgroup::{Cgroups, Figures, usable_cpus};
use rcluster_sys::memory::of_machine;

/// How often they are read. The files are virtual, and reading them takes about 20 µs.
const PERIOD: Duration = Duration::from_secs(1);

/// See the module documentation.
pub(super) struct Limits {
    groups: Cgroups,
    /// The time of the last reading.
    looked: Option<Duration>,
}

impl Limits {
    pub(super) fn of_this_process() -> Self {
        Self { groups: Cgroups::of_this_process(), looked: None }
    }

    /// The control groups of this process.
    pub(super) fn groups(&self) -> &Cgroups {
        &self.groups
    }

    /// When to call [`Self::look`], if the limits are needed.
    pub(super) fn next_deadline(&self, needed: bool) -> Option<Duration> {
        needed.then(|| self.looked.map_or(Duration::ZERO, |at| at + PERIOD))
    }

    /// Reads the limits if it is time.
    pub(super) fn look(&mut self, now: Duration) -> Option<Input> {
        if self.looked.is_some_and(|at| at + PERIOD > now) {
            return None;
        }
        self.looked = Some(now);
        let memory = self.groups.memory_limit().into_iter().chain(of_machine()).min();
        Some(Input::Limits { cpus: self.cpus(), memory })
    }

    /// The number of CPUs available now.
    pub(super) fn cpus(&self) -> u32 {
        usable_cpus(&self.groups)
    }

    /// The control group's part of the status document.
    pub(super) fn status(&self) -> Option<CgroupStatus> {
        let Figures { cpus, memory_limit, memory_usage, throttled, oom_kills } = self.groups.figures()?;
        Some(CgroupStatus { cpus, memory_limit, memory_usage, throttled, oom_kills })
    }
}
