//! How the system schedules a thread.

use nix::errno::Errno;
use nix::libc;

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
