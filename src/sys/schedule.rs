//! How the system schedules a thread.

use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::time::ClockId;
use nix::unistd::Pid;

use super::error::{Doing, SysError};

/// Makes the calling thread one that does not interrupt whoever runs when it wakes (`SCHED_BATCH`).
///
/// Where a core is idle nothing changes. On a busy machine its work comes in larger portions,
/// which costs fewer switches between threads.
pub fn be_patient() -> Result<(), SysError> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters live for the length of the call; 0 is the calling thread. The raw
    // call, because musl's own function refuses.
    let status =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_BATCH, &raw const parameters) };
    Errno::result(status).doing("scheduling a thread")?;
    Ok(())
}

/// How long the threads of a process have had a CPU so far. None if there is no such process.
#[must_use]
pub fn time_on_cpu(pid: i32) -> Option<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).ok()?;
    clock.now().ok().map(Duration::from)
}

/// Whether the main thread of a process runs, or would if it had a CPU, rather than waiting for something else.
#[must_use]
pub fn is_runnable(pid: i32) -> bool {
    // The state stands behind the name, in which anything may stand.
    let text = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let name_ends = text.iter().rposition(|byte| *byte == b')');
    name_ends.is_some_and(|end| text[end..].starts_with(b") R"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_from_who_works() {
        use std::process::{Command, Stdio};
        let start = |program: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", program]).stdin(Stdio::piped()).spawn().unwrap()
        };
        let (mut waiting, mut working) = (start("read nothing"), start("while :; do :; done"));
        let [idle, busy] = [&waiting, &working].map(|child| child.id().cast_signed());
        // Both begin by loading a program. The one waits after that, and the other never does.
        while is_runnable(idle) || !is_runnable(busy) {
            std::thread::yield_now();
        }
        let (idle_before, busy_before) = (time_on_cpu(idle).unwrap(), time_on_cpu(busy).unwrap());
        while time_on_cpu(busy).unwrap() < busy_before + Duration::from_millis(20) {
            std::thread::yield_now();
        }
        assert_eq!(time_on_cpu(idle).unwrap(), idle_before);
        for child in [&mut waiting, &mut working] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!((time_on_cpu(idle), is_runnable(idle)), (None, false));
    }
}
