//! Children that this process has not started: a process whose parent ends becomes a child of PID 1, or of
//! the nearest ancestor that is a child subreaper.
//!
//! Linux makes it a child of the first thread of that process, which is Node's main thread. So children of
//! other threads are not orphans, and the main thread can wait for its own children only (`__WNOTHREAD`).

use std::fs;
use std::io::ErrorKind;
use std::mem;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Pid, getpid, gettid};

use super::error::{Doing, SysError};
use super::schedule::behind_name;

/// Whether this process adopts orphans.
#[must_use]
pub fn adopts_orphans() -> bool {
    if getpid() == Pid::from_raw(1) {
        return true;
    }
    let mut is_subreaper: libc::c_int = 0;
    // SAFETY: the kernel writes an int to `is_subreaper`, which outlives the call.
    let answer = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut is_subreaper) };
    answer == 0 && is_subreaper != 0
}

/// The children of the main thread that have ended and have not been reaped: process id, and start time in
/// clock ticks.
pub fn zombies() -> Result<Vec<(i32, u64)>, SysError> {
    if !has_zombie().doing("looking for children that have ended")? {
        return Ok(Vec::new());
    }
    let path = format!("/proc/self/task/{}/children", getpid());
    let children = match fs::read_to_string(path) {
        Ok(text) => text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        // The kernel was built without CONFIG_PROC_CHILDREN.
        Err(error) if error.kind() == ErrorKind::NotFound => all_processes()?,
        Err(error) => return Err(error).doing("listing children"),
    };
    Ok(children.into_iter().filter_map(|pid: i32| Some((pid, start_of_zombie(pid)?))).collect())
}

fn all_processes() -> Result<Vec<i32>, SysError> {
    let entries = fs::read_dir("/proc").doing("listing processes")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// The start time of a child, if it has ended. `None` also if it is not a child of this process, or has been
/// reaped.
fn start_of_zombie(pid: i32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&stat, getpid().as_raw())
}

/// Reads `/proc/[pid]/stat`.
fn parse_stat(stat: &[u8], parent: i32) -> Option<u64> {
    let mut fields = std::str::from_utf8(behind_name(stat)?).ok()?.split_ascii_whitespace();
    let (state, its_parent) = (fields.next()?, fields.next()?);
    if state != "Z" || its_parent.parse() != Ok(parent) {
        return None;
    }
    // Field 22; the parent was field 4.
    fields.nth(17)?.parse().ok()
}

/// Whether any child has ended. It is not reaped.
fn has_zombie() -> nix::Result<bool> {
    match wait_id(libc::P_ALL, 0, libc::WNOWAIT) {
        Err(Errno::ECHILD) => Ok(false),
        answer => answer,
    }
}

/// Reaps a child of this thread, which must be the main thread. Returns whether there was one that had ended.
pub fn reap_own(pid: i32) -> Result<bool, SysError> {
    let doing = "reaping an orphan";
    if gettid() != getpid() {
        return Err(SysError::invalid(doing));
    }
    let id = libc::id_t::try_from(pid).map_err(|_| SysError::invalid(doing))?;
    match wait_id(libc::P_PID, id, libc::__WNOTHREAD) {
        Err(Errno::ECHILD) => Ok(false),
        answer => answer.doing(doing),
    }
}

fn wait_id(kind: libc::idtype_t, id: libc::id_t, options: libc::c_int) -> nix::Result<bool> {
    // SAFETY: a siginfo_t consists of integers, pointers and unions of them, for which zero is valid.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let options = options | libc::WEXITED | libc::WNOHANG;
    // SAFETY: `info` is ours and outlives the call.
    let done = unsafe { libc::waitid(kind, id, &raw mut info, options) };
    Errno::result(done)?;
    // SAFETY: waitid has filled in the fields of a child's exit, or left the zeroes.
    Ok(unsafe { info.si_pid() } != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_child_of_ours_that_has_ended_counts_whatever_its_name() {
        let stat = |name: &str, state: char, parent: i32| {
            let text = format!("5 ({name}) {state} {parent} 5 5 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0 18");
            parse_stat(text.as_bytes(), 1)
        };
        assert_eq!(stat("sleep", 'Z', 1), Some(4711));
        assert_eq!(stat("a) R 2 (", 'Z', 1), Some(4711));
        assert_eq!(stat("sleep", 'R', 1), None);
        assert_eq!(stat("sleep", 'Z', 2), None);
        assert_eq!(parse_stat(b"5 (sleep) Z 1", 1), None);
        assert_eq!(parse_stat(b"", 1), None);
    }

    #[test]
    fn only_the_main_thread_reaps() {
        // The test harness runs this on a thread of its own.
        let own = std::thread::spawn(|| reap_own(1)).join().unwrap();
        assert!(own.is_err());
    }
}
