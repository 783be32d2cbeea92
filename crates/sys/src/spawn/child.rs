//! The child between the clone and its program.
//!
//! Rust code runs here in a process that shares the memory of its parent, whose other threads do not know
//! that. It may only do what a signal handler may: make system calls and use its own stack. No allocation, no
//! locks, no panics, no destructors. Everything that can be computed beforehand is in [`ChildSetup`]. The
//! rest cannot be done in the parent: a descriptor that loses its close-on-exec flag there could be inherited
//! by a process that another thread starts at that moment.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::iter::once;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, c_char, c_int, c_long, c_uint, c_ulong, c_void};

use super::Spawn;
use super::inherit::Inherited;
use crate::error::{Doing, SysError};

/// What the child needs.
pub(super) struct ChildSetup<'a> {
    spawn: &'a Spawn<'a>,
    /// The paths of the program, to be tried in turn.
    candidates: Vec<CString>,
    /// `spawn.args` and `spawn.env` for C; the pointers live as long as `spawn`.
    args: Vec<*const c_char>,
    env: Vec<*const c_char>,
    /// The arguments of the shell, in case the program is a script without `#!`. The second is the script,
    /// which the child fills in.
    shell_args: Vec<*const c_char>,
    /// The current number of each descriptor; the child changes it when it moves one out of the way.
    sources: Vec<RawFd>,
    /// The lowest number that no descriptor will have.
    count: c_int,
    /// The main thread's properties that the calling thread does not have.
    inherited: Option<Inherited>,
    parent: c_long,
    /// Where to store the reason why the program was not executed.
    report: *mut Option<SysError>,
}

const SHELL: &CStr = c"/bin/sh";

impl<'a> ChildSetup<'a> {
    /// `report` must be valid for a write while the child runs in the parent's memory.
    pub(super) fn new(spawn: &'a Spawn<'a>, candidates: Vec<CString>, report: *mut Option<SysError>) -> Self {
        let args = || spawn.args.iter().map(CString::as_c_str);
        Self {
            spawn,
            candidates,
            args: pointers(args()),
            env: pointers(spawn.env.iter().map(CString::as_c_str)),
            shell_args: pointers([SHELL, c""].into_iter().chain(args().skip(1))),
            sources: spawn.fds.iter().map(AsRawFd::as_raw_fd).collect(),
            // More than this cannot be open either: the system calls will fail.
            count: c_int::try_from(spawn.fds.len()).unwrap_or(c_int::MAX),
            inherited: Inherited::of_main_thread(),
            parent: c_long::from(std::process::id()),
            report,
        }
    }

    /// Performs all steps up to the program; returns only if one fails.
    fn carry_out(&mut self) -> Result<Infallible, SysError> {
        reset_signals().doing("resetting the signals of a process")?;
        if let Some(inherited) = &self.inherited {
            inherited.apply();
        }
        if self.spawn.detached {
            // SAFETY: a system call that uses no memory.
            Errno::result(unsafe { libc::setsid() }).doing("starting a session")?;
        }
        self.place_descriptors().doing("placing the descriptors of a process")?;
        if let Some(cwd) = &self.spawn.cwd {
            // SAFETY: the string is borrowed for the call.
            let done = unsafe { libc::chdir(cwd.as_ptr()) };
            Errno::result(done).doing("entering the working directory")?;
        }
        self.change_identity()?;
        // After the change of identity, which would reset it.
        if let Some(signal) = self.spawn.death_signal {
            // SAFETY: a system call that uses no memory.
            let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) };
            Errno::result(done).doing("tying a process to its parent")?;
            // The parent may have been killed before that.
            // SAFETY: a system call that uses no memory.
            if unsafe { libc::syscall(libc::SYS_getppid) } != self.parent {
                return Err(Errno::ESRCH).doing("tying a process to its parent");
            }
        }
        // From here on a signal kills the child as it would the program.
        signal_mask(0).doing("unblocking the signals of a process")?;
        Err(self.try_candidates()).doing("executing a program")
    }

    /// Gives every descriptor its number, and lets the program inherit no others.
    fn place_descriptors(&mut self) -> nix::Result<()> {
        // They are placed from number 0 up, so a source below its target would be overwritten before its
        // turn.
        for (target, source) in (0..).zip(&mut self.sources) {
            if *source < target {
                *source = control(*source, libc::F_DUPFD_CLOEXEC, self.count)?;
            }
        }
        for (target, source) in (0..).zip(&self.sources) {
            if *source == target {
                control(target, libc::F_SETFD, 0)?;
            } else {
                // SAFETY: a system call that uses no memory; the previous `target` is not needed any more.
                Errno::result(unsafe { libc::dup2(*source, target) })?;
            }
            if target <= libc::STDERR_FILENO {
                make_blocking(target)?;
            }
        }
        let (first, last) = (c_long::from(self.count), c_long::from(c_uint::MAX));
        // Descriptors of this crate are created close-on-exec, but those of other code in this process may
        // not be. Linux before 5.11 does not support this; it is only a second line of defence, so the error
        // is ignored.
        // SAFETY: a system call that uses no memory.
        let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
        Ok(())
    }

    /// Changes to the requested user and group. Uses raw system calls: the C library's functions make all
    /// threads of the process change as well, and the threads it knows are not those of this process.
    fn change_identity(&self) -> Result<(), SysError> {
        if self.spawn.changes_identity() {
            let none = ptr::null::<libc::gid_t>();
            // Otherwise the child would keep the rights of our supplementary groups. Only root can drop them,
            // and for other users changing to their own identity is not an error, so a refusal is ignored.
            // SAFETY: an empty list uses no memory.
            let _ = unsafe { libc::syscall(libc::SYS_setgroups, c_long::from(0), none) };
        }
        // The group first, because the new user may not be allowed to change it.
        if let Some(gid) = self.spawn.gid {
            // SAFETY: a system call that uses no memory.
            let done = unsafe { libc::syscall(libc::SYS_setgid, c_ulong::from(gid)) };
            Errno::result(done).doing("changing the group of a process")?;
        }
        if let Some(uid) = self.spawn.uid {
            // SAFETY: a system call that uses no memory.
            let done = unsafe { libc::syscall(libc::SYS_setuid, c_ulong::from(uid)) };
            Errno::result(done).doing("changing the user of a process")?;
        }
        Ok(())
    }

    /// Executes the first candidate that can be executed, by the rules of `execvp`: a missing one is skipped,
    /// and the error of a forbidden one is returned only if no other works.
    fn try_candidates(&mut self) -> Errno {
        let mut forbidden = false;
        let mut last = Errno::ENOENT;
        for candidate in &self.candidates {
            last = execute(candidate, &self.args, &self.env);
            if last == Errno::ENOEXEC
                && let Some(script) = self.shell_args.get_mut(1)
            {
                *script = candidate.as_ptr();
                last = execute(SHELL, &self.shell_args, &self.env);
            }
            match last {
                Errno::EACCES => forbidden = true,
                Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT => {}
                other => return other,
            }
        }
        if forbidden { Errno::EACCES } else { last }
    }
}

/// A null-terminated array of C strings, valid as long as the strings are.
fn pointers<'a>(strings: impl Iterator<Item = &'a CStr>) -> Vec<*const c_char> {
    strings.map(CStr::as_ptr).chain(once(ptr::null())).collect()
}

/// The child's main function.
pub(super) extern "C" fn run_child(setup: *mut c_void) -> c_int {
    // SAFETY: the clone passes the setup on unchanged, and nothing else uses it meanwhile.
    let setup = unsafe { &mut *setup.cast::<ChildSetup<'_>>() };
    let Err(failure) = setup.carry_out();
    // SAFETY: valid for a write, as `ChildSetup::new` requires; the parent reads it after the clone.
    unsafe { setup.report.write(Some(failure)) };
    // SAFETY: ends this process at once, without the parent's exit handlers.
    unsafe { libc::_exit(127) }
}

/// Replaces the process by the program; returns the error if that fails.
fn execute(path: &CStr, args: &[*const c_char], env: &[*const c_char]) -> Errno {
    // SAFETY: C strings and null-terminated arrays of them, borrowed for the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Errno::last()
}

/// `fcntl` with a command that takes a number or nothing.
fn control(fd: RawFd, command: c_int, argument: c_int) -> nix::Result<c_int> {
    // SAFETY: a system call that uses no memory, on the child's own descriptor table.
    Errno::result(unsafe { libc::fcntl(fd, command, argument) })
}

/// Few programs support a non-blocking stdin or stdout; libuv does not pass such ones on either.
pub(crate) fn make_blocking(fd: RawFd) -> nix::Result<()> {
    let flags = control(fd, libc::F_GETFL, 0)?;
    if flags & libc::O_NONBLOCK != 0 {
        control(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK)?;
    }
    Ok(())
}

/// The number of the kernel's signals. The C library reserves two of them, hence the raw calls below.
const SIGNALS: c_int = 64;
/// The size of a set of them, as the kernel requires it.
const SET_SIZE: usize = size_of::<u64>();

/// Resets the dispositions of all signals, including ignored ones, which would stay ignored in the program.
/// The child has its own table, so the parent's does not change.
fn reset_signals() -> nix::Result<()> {
    // The kernel's structure depends on the processor, but is never larger than this, and zeros always mean
    // the default, no flags, no mask.
    let default = [0_u64; 4];
    for number in (1..=SIGNALS).filter(|number| ![libc::SIGKILL, libc::SIGSTOP].contains(number)) {
        let before = ptr::null_mut::<c_void>();
        // SAFETY: `default` is large enough and outlives the call, which writes nothing.
        let done =
            unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), before, SET_SIZE) };
        Errno::result(done)?;
    }
    Ok(())
}

/// Sets the signals that the calling thread blocks; returns the previous ones.
pub(super) fn signal_mask(blocked: u64) -> nix::Result<u64> {
    let mut before = 0_u64;
    // SAFETY: both sets are ours, have the given size, and outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const blocked,
            &raw mut before,
            SET_SIZE,
        )
    };
    Errno::result(done).map(|_| before)
}
