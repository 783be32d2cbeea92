//! How a process ended, and signals to it: both by pidfd.
//!
//! A pidfd always refers to the process it was created for, never to another one that got the same number
//! later. And reading the exit status through it does not involve SIGCHLD, which libuv uses.

use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::{Doing, SysError};

/// The signal that requests a process to end.
pub const SIGTERM: i32 = libc::SIGTERM;
/// The signal that kills it.
pub const SIGKILL: i32 = libc::SIGKILL;

/// How a process ended.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// It called `exit` with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number; real-time signals have no name, so this is not an enum.
        number: i32,
        /// Whether a core dump was written.
        core_dumped: bool,
    },
}

/// Reaps a child if it has ended; `None` means that it still runs.
///
/// This works once; from then on the process number may be reused. ECHILD means that it has been reaped
/// already, or that the application ignores SIGCHLD and the kernel keeps no exit statuses.
pub fn reap(pidfd: BorrowedFd<'_>) -> Result<Option<Exit>, SysError> {
    wait_id(pidfd, libc::WEXITED | libc::WNOHANG).doing("reaping a process")
}

/// Whether a process has ended, reaped or not.
#[must_use]
pub fn has_ended(pidfd: &impl AsFd) -> bool {
    let mut look = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut look, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Waits until a child has ended and reaps it, with the same errors as [`reap`].
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<Exit, SysError> {
    loop {
        match wait_id(pidfd, libc::WEXITED) {
            Ok(Some(exit)) => return Ok(exit),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).doing("waiting for a process"),
        }
    }
}

/// Sends a signal to a process. Signal 0 only checks that it exists.
///
/// ESRCH means that it has been reaped. Until then it accepts signals, even if it has ended.
pub fn send_signal(pidfd: BorrowedFd<'_>, number: i32) -> Result<(), SysError> {
    // SAFETY: the pidfd is borrowed for the call; a null siginfo means the one of `kill`.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(done).map(drop).doing("sending a signal")
}

/// Calls `waitid` directly, because nix does not support real-time signals: it would return an error after
/// the child has been reaped, and the exit status would be lost.
fn wait_id(pidfd: BorrowedFd<'_>, options: libc::c_int) -> nix::Result<Option<Exit>> {
    // SAFETY: a siginfo_t consists of integers, pointers and unions of them, for which zero is valid.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let id = pidfd.as_raw_fd().unsigned_abs();
    // SAFETY: `info` is ours and outlives the call; the pidfd is borrowed for it.
    let done = unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, options) };
    Errno::result(done)?;
    // SAFETY: waitid has filled in the fields of a child's exit, or left the zeroes.
    if unsafe { info.si_pid() } == 0 {
        return Ok(None);
    }
    // SAFETY: as above; there was a child, so the status is filled in.
    let status = unsafe { info.si_status() };
    Ok(Some(match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        code => Exit::Signal { number: status, core_dumped: code == libc::CLD_DUMPED },
    }))
}
