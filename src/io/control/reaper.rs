//! Reaps workers and classifies their exits.

use std::os::fd::{AsFd, OwnedFd};

use super::messages::Event;
use rcluster_core::control::supervise::ExitKind;
use rcluster_core::ids::WorkerId;
use rcluster_sys::cgroup::Cgroups;
use rcluster_sys::exit::{Exit, SIGKILL, reap};
use rcluster_sys::oom::OomKills;

/// The result of reaping a worker.
pub(super) enum Reaped {
    Exited(ExitKind),
    /// Other code has reaped it, so it counts as killed. The app must be warned.
    ByOthers(ExitKind, Event),
    /// It has died, but a process that traces it gets the exit status first.
    NotYet,
}

/// Reaps workers.
#[derive(Default)]
pub(super) struct Reaper {
    /// `None` if the kernel has no such counter, or supervision has not started.
    oom_kills: Option<OomKills>,
}

impl Reaper {
    /// From now on, supervised workers that the kernel's OOM killer has killed are recognized.
    pub(super) fn count_oom_kills(&mut self, groups: &Cgroups) {
        self.oom_kills = OomKills::of(groups);
    }

    /// Reaps a worker whose process has ended.
    pub(super) fn reap(&mut self, worker: WorkerId, pidfd: &OwnedFd, supervised: bool) -> Reaped {
        match reap(pidfd.as_fd()) {
            Ok(Some(Exit::Code(code))) => Reaped::Exited(self.classify(ExitKind::Code(code), supervised)),
            Ok(Some(Exit::Signal { number, .. })) => {
                Reaped::Exited(self.classify(ExitKind::Signal(number), supervised))
            }
            Ok(None) => Reaped::NotYet,
            Err(error) => {
                let message = format!(
                    "Other code in this process has taken the exit of {worker}, which is told as if it had been killed: {error}"
                );
                let warning = Event::Warning { code: "RCLUSTER_EXIT_UNKNOWN", message };
                Reaped::ByOthers(self.classify(ExitKind::Signal(SIGKILL), supervised), warning)
            }
        }
    }

    fn classify(&mut self, exit: ExitKind, supervised: bool) -> ExitKind {
        let Some(kills) = self.oom_kills.as_mut().filter(|_| supervised) else { return exit };
        if exit != ExitKind::Signal(SIGKILL) {
            kills.forget();
        } else if kills.take() {
            return ExitKind::OutOfMemory;
        }
        exit
    }
}
