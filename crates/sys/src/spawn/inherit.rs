//! What a process inherits from the thread that starts it, and should have of the main thread: as with `fork`, which
//! Node calls there.
//!
//! The kernel keeps these for each thread: scheduling policy and priority, the CPUs it may use, and the class of its
//! input and output. What it keeps for the process (umask, limits, `oom_score_adj`) is the same for all threads.

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long};

/// `sched_attr` as Linux first had it. The rest, limits for the load, is left as it is.
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

/// Room for the numbers of 8,192 CPUs, the most that Linux can be built for.
type Cpus = [u64; 128];

/// What the main thread has. Each part is missing where the system does not tell, and then stays as it is.
pub(super) struct Inherited {
    scheduling: Option<Scheduling>,
    cpus: Option<(Cpus, usize)>,
    input_output: Option<c_long>,
}

impl Inherited {
    /// What a child of the calling thread would not have by itself; None where that is the main thread.
    pub(super) fn of_main_thread() -> Option<Self> {
        let main = c_int::try_from(std::process::id()).ok()?;
        // SAFETY: a system call without memory.
        if unsafe { libc::syscall(libc::SYS_gettid) } == c_long::from(main) {
            return None;
        }
        // SAFETY: a system call without memory.
        let input_output = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, main) };
        Some(Self {
            scheduling: scheduling(main),
            cpus: cpus(main),
            input_output: Errno::result(input_output).ok(),
        })
    }

    /// Gives the calling process all of that. It is done in the child, which may only make system calls.
    ///
    /// A refusal counts for nothing: somebody else has raised the main thread's priority, which a process may not do for
    /// its child.
    pub(super) fn apply(&self) {
        if let Some((cpus, length)) = &self.cpus {
            // SAFETY: the kernel reads `length` bytes of what is ours.
            let _ = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, *length, cpus.as_ptr()) };
        }
        if let Some(scheduling) = &self.scheduling {
            // SAFETY: the kernel reads as many bytes as the structure says of itself.
            let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(scheduling), 0) };
        }
        if let Some(input_output) = self.input_output {
            // SAFETY: a system call without memory.
            let _ = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, input_output) };
        }
    }
}

/// What a child of this thread would have.
fn scheduling(thread: c_int) -> Option<Scheduling> {
    let mut found = Scheduling::default();
    // SAFETY: the kernel writes at most `SIZE` bytes to what is ours and that large.
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
    // SAFETY: the kernel writes at most as many bytes as we say, to what is ours and that large.
    let length =
        unsafe { libc::syscall(libc::SYS_sched_getaffinity, thread, size_of::<Cpus>(), cpus.as_mut_ptr()) };
    let length = Errno::result(length).ok()?;
    Some((cpus, usize::try_from(length).ok()?))
}
