//! Starts a program without copying the calling process.
//!
//! `fork` copies the page tables first, which takes milliseconds for a large JavaScript heap, on the thread
//! of the event loop. Here the child borrows the parent's memory until it executes its program (`CLONE_VM |
//! CLONE_VFORK`): the calling thread waits meanwhile, all others continue. `posix_spawn` does the same, but
//! it can neither change the user nor report which step failed.
//!
//! This file is the parent's side. [`child`] contains what the child does until its program runs.

mod child;
mod inherit;

use std::ffi::CString;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc::{self, c_int, c_void};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::error::{Doing, SysError};
use super::exit;
pub(super) use child::make_blocking;
use child::{ChildSetup, run_child, signal_mask};

/// A program to start, and the properties of the new process.
#[derive(Clone, Debug, Default)]
pub struct Spawn<'fd> {
    /// The program: a path, or a name to look up in the `PATH` of `env`.
    pub file: CString,
    /// All arguments, starting with the program's name.
    pub args: Vec<CString>,
    /// The environment as `KEY=VALUE`; nothing is inherited.
    pub env: Vec<CString>,
    /// The working directory; the parent's if `None`.
    pub cwd: Option<CString>,
    /// The user id of the process.
    pub uid: Option<u32>,
    /// The group id of the process.
    pub gid: Option<u32>,
    /// Whether the process becomes the leader of a new session and process group.
    pub detached: bool,
    /// The signal that the process gets when the thread that spawned it ends, as it does with our process.
    pub death_signal: Option<i32>,
    /// The descriptors of the new process; the index is the number in that process. It gets no others. The
    /// first three are set to blocking mode, which also affects our own if they are shared.
    pub fds: Vec<BorrowedFd<'fd>>,
}

impl Spawn<'_> {
    /// Sets a variable of the environment, replacing an existing one.
    pub fn set_env(&mut self, name: &str, value: &str) -> Result<(), SysError> {
        let invalid = SysError::invalid("setting a variable of a worker's environment");
        let entry = CString::new(format!("{name}={value}")).map_err(|_| invalid)?;
        let prefix = format!("{name}=");
        self.env.retain(|other| !other.as_bytes().starts_with(prefix.as_bytes()));
        self.env.push(entry);
        Ok(())
    }
}

/// A process that executes its program.
#[derive(Debug)]
pub struct Child {
    /// Its process id, for display. It may be that of another process once it has been reaped.
    pub pid: Pid,
    /// Refers to the process; readable once it has ended.
    pub pidfd: OwnedFd,
}

impl Spawn<'_> {
    /// Starts the program. Returns when it is being executed, or the step that failed.
    pub fn spawn(&self) -> Result<Child, SysError> {
        let stage = Stage::new(self.changes_identity()).doing("making room for a new process")?;
        let mut setup = ChildSetup::new(self, self.candidates(), stage.report());
        let child = self.clone_process(&mut setup, &stage).doing("starting a process")?;
        let Some(failure) = stage.failure() else {
            return Ok(child);
        };
        // The child has ended or is about to. This wait can only fail if SIGCHLD is ignored and the kernel
        // reaps by itself; in either case the result is why the program did not start.
        let _ = exit::wait(child.pidfd.as_fd());
        Err(failure)
    }

    /// Creates the child, and returns when it has executed its program or ended.
    fn clone_process(&self, setup: &mut ChildSetup<'_>, stage: &Stage) -> nix::Result<Child> {
        let mut flags = libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        // A child that changes its identity gets a copy of the memory after all. The kernel marks the memory
        // of a process whose identity changes as not dumpable, which would affect ours; and no process with
        // other rights should share our memory, even for microseconds.
        if !self.changes_identity() {
            flags |= libc::CLONE_VM;
        }
        let mut pidfd: c_int = -1;
        // A signal handler that runs in the child would modify our memory.
        let _blocked = BlockedSignals::new()?;
        // SAFETY: the child runs on the stage's stack, which nothing else uses. With CLONE_VFORK the call
        // returns when the child no longer runs in our memory, so stack and setup outlive it; until then it
        // is the only user of `*setup`, as this thread waits. The kernel writes the descriptor to `pidfd`,
        // which outlives the call. No thread-local storage is passed.
        let pid = unsafe {
            libc::clone(
                run_child,
                stage.stack(),
                flags,
                ptr::from_mut(setup).cast(),
                &raw mut pidfd,
                ptr::null_mut::<c_void>(),
                ptr::null_mut::<c_int>(),
            )
        };
        let pid = Pid::from_raw(Errno::result(pid)?);
        if pidfd == -1 {
            return Err(disown(pid));
        }
        // SAFETY: the kernel has created this descriptor for us, close-on-exec; it has no other owner.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Child { pid, pidfd })
    }

    /// Whether the child changes its user or group.
    fn changes_identity(&self) -> bool {
        self.uid.is_some() || self.gid.is_some()
    }

    /// The paths to try in turn, as in `execvp`, but with the `PATH` of the new environment.
    fn candidates(&self) -> Vec<CString> {
        let file = self.file.to_bytes();
        if file.is_empty() || file.contains(&b'/') {
            return vec![self.file.clone()];
        }
        let path = self.env.iter().find_map(|pair| pair.to_bytes().strip_prefix(b"PATH="));
        // Without a PATH, the default of the C library.
        let directories = path.unwrap_or(b"/bin:/usr/bin").split(|byte| *byte == b':');
        directories.map(|directory| join(directory, file)).collect()
    }
}

/// `directory/file`; an empty directory in `PATH` is the working directory.
fn join(directory: &[u8], file: &[u8]) -> CString {
    let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
    CString::new([directory, slash, file].concat()).expect("parts of C strings have no NUL byte")
}

/// `/dev/null` for reading and writing: used for ignored streams of a child.
pub fn dev_null() -> Result<OwnedFd, SysError> {
    open(c"/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).doing("opening /dev/null")
}

/// A bidirectional pipe, as libuv creates it for stdio: our end, which is non-blocking, and the child's,
/// which blocks, because programs expect that of stdin and stdout.
pub fn socket_pair() -> Result<(OwnedFd, OwnedFd), SysError> {
    let doing = "making a pipe to a process";
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).doing(doing)?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).doing(doing)?;
    Ok((ours, theirs))
}

/// Kills a child without a pidfd: Linux before 5.2 ignores the request for one, and the end of the child
/// could not be detected.
fn disown(pid: Pid) -> Errno {
    // The first call cannot fail for our own child, the second only if the kernel has reaped it.
    let _ = kill(pid, Signal::SIGKILL);
    let _ = waitpid(pid, None);
    Errno::ENOSYS
}

/// Blocks all signals for this thread while it lives.
struct BlockedSignals {
    before: u64,
}

impl BlockedSignals {
    fn new() -> nix::Result<Self> {
        signal_mask(u64::MAX).map(|before| Self { before })
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // It fails only for an invalid address or size, which have just worked.
        let _ = signal_mask(self.before);
    }
}

/// Memory for a child until it executes its program: a guard area, a stack that grows down to it, and above
/// the stack the place for an error.
struct Stage {
    base: NonNull<c_void>,
}

/// Both are multiples of the page size of every supported processor.
const GUARD: usize = 64 * 1024;
const STACK: usize = 64 * 1024;
const SIZE: NonZeroUsize = NonZeroUsize::new(GUARD + STACK).unwrap();
/// Keeps the stack below it aligned for any processor.
const REPORT: usize = size_of::<Option<SysError>>().next_multiple_of(64);

impl Stage {
    /// If the child has a copy of our memory, its error only reaches us through a shared mapping, which costs
    /// a little more.
    fn new(copied: bool) -> nix::Result<Self> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let sharing = if copied { MapFlags::MAP_SHARED } else { MapFlags::MAP_PRIVATE };
        let flags = sharing | MapFlags::MAP_STACK | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice; `Drop` unmaps it.
        let base = unsafe { mmap_anonymous(None, SIZE, access, flags) }?;
        let stage = Self { base };
        // SAFETY: the lower part of our own mapping, which is unused.
        unsafe { mprotect(base, GUARD, ProtFlags::PROT_NONE) }?;
        // SAFETY: inside the mapping, writable, aligned, and not referenced elsewhere yet.
        unsafe { stage.report().write(None) };
        Ok(stage)
    }

    /// Where the child stores an error.
    fn report(&self) -> *mut Option<SysError> {
        // SAFETY: the result is inside the mapping.
        unsafe { self.base.byte_add(SIZE.get() - REPORT) }.as_ptr().cast()
    }

    /// The top of the stack, which grows down.
    fn stack(&self) -> *mut c_void {
        self.report().cast()
    }

    /// Why the program was not executed, if it was not.
    fn failure(&self) -> Option<SysError> {
        // SAFETY: written by `new`, and by the child at most once, before the clone returned. The string in
        // it is a constant, which has the same address in a copy of our memory.
        unsafe { self.report().read_volatile() }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which the child stopped using before the clone returned; the setup does
        // not use its pointer into it any more. Unmapping a whole mapping cannot fail.
        let _ = unsafe { munmap(self.base, SIZE.get()) };
    }
}
