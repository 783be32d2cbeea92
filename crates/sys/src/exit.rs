//! How a process ended, and signals to it: both by pidfd.
//!
//! A pidfd always means the process it was made for, never another one that got the same number
//! later. And asking it how the process ended leaves SIGCHLD alone, which belongs to libuv.

use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::{Doing, SysError};

/// The signal that asks a process to end.
pub const SIGTERM: i32 = libc::SIGTERM;
/// The signal that ends it.
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
        /// Whether the system was asked to write a core dump and did.
        core_dumped: bool,
    },
}

/// Takes the exit of a child if it has ended; `None` means that it still runs.
///
/// It can be taken once; from then on the process number is free for others. ECHILD means that it
/// has been taken, or that the application ignores SIGCHLD and the kernel keeps no exits.
pub fn reap(pidfd: BorrowedFd<'_>) -> Result<Option<Exit>, SysError> {
    wait_id(pidfd, libc::WEXITED | libc::WNOHANG).doing("reaping a process")
}

/// Whether a process has ended, whether or not its exit has been taken.
#[must_use]
pub fn has_ended(pidfd: &impl AsFd) -> bool {
    let mut look = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut look, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Waits until a child has ended and takes its exit, with the same answers as [`reap`].
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<Exit, SysError> {
    loop {
        match wait_id(pidfd, libc::WEXITED) {
            Ok(Some(exit)) => return Ok(exit),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).doing("waiting for a process"),
        }
    }
}

/// Sends a signal to a process; signal 0 only asks whether it is there.
///
/// ESRCH means that its exit has been taken. Until then it accepts signals, even if it has ended.
pub fn send_signal(pidfd: BorrowedFd<'_>, number: i32) -> Result<(), SysError> {
    // SAFETY: the pidfd is borrowed for the call; a null siginfo asks for the one of `kill`.
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

/// `waitid` as it is, because nix refuses to speak of real-time signals: it would return an error
/// after the exit has been taken, and how the process ended would be lost.
fn wait_id(pidfd: BorrowedFd<'_>, options: libc::c_int) -> nix::Result<Option<Exit>> {
    // SAFETY: a siginfo_t is integers, pointers and unions of them, for which zeroes are a value.
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
