//! Properties that a process inherits from the thread that starts it, but should inherit from the main
//! thread, as with `fork`, which Node calls there.
//!
//! The kernel keeps these per thread: scheduling policy and priority, CPU affinity, and the I/O class.
//! Properties of the process (umask, limits, `oom_score_adj`) are the same for all threads.

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long};

/// `sched_attr` in its first version. Later fields, the utilization limits, are not changed.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Scheduling {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SIZE: u32 = 48;
const RESET_ON_FORK: u64 = 1;
const OTHER: u32 = 0;
const FIFO: u32 = 1;
const ROUND_ROBIN: u32 = 2;
const DEADLINE: u32 = 6;

const IOPRIO_WHO_PROCESS: c_int = 1;

/// Room for the numbers of 8,192 CPUs, the most that Linux can be configured for.
type Cpus = [u64; 128];

/// The properties of the main thread. A part that cannot be read is missing and stays as it is.
pub(super) struct Inherited {
    scheduling: Option<Scheduling>,
    cpus: Option<(Cpus, usize)>,
    input_output: Option<c_long>,
}

impl Inherited {
    /// The properties that a child of the calling thread would not inherit; `None` on the main thread.
    pub(super) fn of_main_thread() -> Option<Self> {
        let main = c_int::try_from(std::process::id()).ok()?;
        // SAFETY: a system call that uses no memory.
        if unsafe { libc::syscall(libc::SYS_gettid) } == c_long::from(main) {
            return None;
        }
        // SAFETY: a system call that uses no memory.
        let input_output = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, main) };
        Some(Self {
            scheduling: scheduling(main),
            cpus: cpus(main),
            input_output: Errno::result(input_output).ok(),
        })
    }

    /// Applies them to the calling process. Runs in the child, which may only make system calls.
    ///
    /// Errors are ignored: if the main thread's priority has been raised by another process, this one may not
    /// be allowed to do so.
    pub(super) fn apply(&self) {
        if let Some((cpus, length)) = &self.cpus {
            // SAFETY: the kernel reads `length` bytes of our own buffer.
            let _ = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, *length, cpus.as_ptr()) };
        }
        if let Some(scheduling) = &self.scheduling {
            // SAFETY: the kernel reads as many bytes as the structure's size field says.
            let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(scheduling), 0) };
        }
        if let Some(input_output) = self.input_output {
            // SAFETY: a system call that uses no memory.
            let _ = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, input_output) };
        }
    }
}

/// The scheduling that a child of this thread would have.
fn scheduling(thread: c_int) -> Option<Scheduling> {
    let mut found = Scheduling::default();
    // SAFETY: the kernel writes at most `SIZE` bytes to our own structure, which has that size.
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, thread, &raw mut found, SIZE, 0) };
    Errno::result(done).ok()?;
    found.size = SIZE;
    if found.flags & RESET_ON_FORK != 0 {
        let real_time = [FIFO, ROUND_ROBIN, DEADLINE].contains(&found.policy);
        let policy = if real_time { OTHER } else { found.policy };
        let nice = if real_time { 0 } else { found.nice.max(0) };
        return Some(Scheduling { size: SIZE, policy, nice, ..Scheduling::default() });
    }
    Some(found)
}

fn cpus(thread: c_int) -> Option<(Cpus, usize)> {
    let mut cpus: Cpus = [0; 128];
    // SAFETY: the kernel writes at most the given number of bytes to our own buffer, which has that size.
    let length =
        unsafe { libc::syscall(libc::SYS_sched_getaffinity, thread, size_of::<Cpus>(), cpus.as_mut_ptr()) };
    let length = Errno::result(length).ok()?;
    Some((cpus, usize::try_from(length).ok()?))
}
