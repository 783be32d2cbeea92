//! The scheduling of threads.

use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::time::ClockId;
use nix::unistd::Pid;

use super::error::{Doing, SysError};

/// Makes the calling thread one that does not preempt the running thread when it wakes (`SCHED_BATCH`).
///
/// If a core is idle this changes nothing. On a busy machine the thread's work comes in larger portions,
/// which costs fewer context switches.
pub fn be_patient() -> Result<(), SysError> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters live for the length of the call; 0 is the calling thread. The raw system call,
    // because musl's function refuses.
    let status =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_BATCH, &raw const parameters) };
    Errno::result(status).doing("scheduling a thread")?;
    Ok(())
}

/// The CPU time of the threads of a process. `None` if there is no such process.
#[must_use]
pub fn time_on_cpu(pid: i32) -> Option<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).ok()?;
    clock.now().ok().map(Duration::from)
}

/// Whether the main thread of a process is running or waits only for a CPU.
#[must_use]
pub fn is_runnable(pid: i32) -> bool {
    let text = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    behind_name(&text).is_some_and(|rest| rest.starts_with(b" R"))
}

/// The part of `/proc/[pid]/stat` after the program's name, which is in parentheses and may contain anything.
/// It starts with the state.
pub(super) fn behind_name(stat: &[u8]) -> Option<&[u8]> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    Some(&stat[end + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Killed even if the test fails; otherwise it would keep a CPU busy forever.
    struct Started(std::process::Child);

    impl Started {
        fn shell(program: &str) -> Self {
            use std::process::{Command, Stdio};
            let mut command = Command::new("sh");
            let command = command.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::null());
            Self(command.stderr(Stdio::null()).spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            self.0.id().cast_signed()
        }
    }

    impl Drop for Started {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn a_waiting_process_is_distinguished_from_a_running_one() {
        let (waiting, working) = (Started::shell("read nothing"), Started::shell("while :; do :; done"));
        let (idle, busy) = (waiting.pid(), working.pid());
        // Both start by loading a program, and may wait for the disk. Then one waits for good, and the other
        // never does.
        let mut quiet = false;
        for _ in 0..50 {
            let before = (time_on_cpu(idle).unwrap(), time_on_cpu(busy).unwrap());
            while time_on_cpu(busy).unwrap() < before.1 + Duration::from_millis(20) {
                std::thread::yield_now();
            }
            quiet = time_on_cpu(idle).unwrap() == before.0 && !is_runnable(idle);
            if quiet {
                break;
            }
        }
        assert!(quiet, "the one that waits uses the CPU");
        drop(waiting);
        assert_eq!((time_on_cpu(idle), is_runnable(idle)), (None, false));
    }
}
