//! How far this process is from running out of descriptors.
//!
//! The kernel does not keep a message whose descriptors a receiver has no room for: it delivers
//! what fits and closes the rest. So whoever receives connections looks first.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::rlim_t;
use nix::sys::resource::{Resource, getrlimit};

/// Up to this limit the top of the descriptor table is looked at. The table grows to hold the
/// highest number ever used, so with a limit of a million the look itself would cost megabytes.
const SMALL: rlim_t = 4096;

/// Whether `count` more descriptors can be opened just now. `any` is an open one, of any kind.
///
/// # Design
/// The kernel gives out the lowest free number from a given one on. When the number `2 * count`
/// below the limit is free, all from there on are, unless somebody asks for numbers at the top
/// as we do. Otherwise the open ones are counted. The other `count` is for those who open
/// something between the look and the use.
#[must_use]
pub fn room_for(any: &impl AsFd, count: usize) -> bool {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return true };
    let wanted = 2 * count as rlim_t;
    let from = if limit <= SMALL { limit.saturating_sub(wanted) } else { 0 };
    match lowest_free(any, from) {
        Ok(number) if limit <= SMALL => number == from || counted(limit, wanted),
        Ok(number) => number.saturating_add(wanted) < limit || counted(limit, wanted),
        // Not one.
        Err(_) => false,
    }
}

/// The lowest number from `from` on that is free.
fn lowest_free(any: &impl AsFd, from: rlim_t) -> Result<rlim_t, Errno> {
    let from = i32::try_from(from).map_err(|_| Errno::EINVAL)?;
    let number = fcntl(any, FcntlArg::F_DUPFD_CLOEXEC(from))?;
    // SAFETY: a new descriptor, which nobody else knows. It is closed at once.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    rlim_t::try_from(number).map_err(|_| Errno::EINVAL)
}

fn counted(limit: rlim_t, wanted: rlim_t) -> bool {
    // Listing the directory needs a descriptor itself; when not even that is left, there is
    // surely no room.
    std::fs::read_dir("/proc/self/fd").is_ok_and(|open| open.count() as rlim_t + wanted <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the test of this name alone in a process with another limit.
    fn alone_with_limit(name: &str, limit: rlim_t) -> bool {
        if std::env::var_os("RCLUSTER_ALONE").is_some() {
            return true;
        }
        let status = std::process::Command::new("prlimit")
            .arg(format!("--nofile={limit}:{limit}"))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads=1"])
            .env("RCLUSTER_ALONE", "1")
            .status()
            .unwrap();
        assert!(status.success(), "{name} with {limit} descriptors");
        false
    }

    fn open_all() -> Vec<std::fs::File> {
        std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect()
    }

    #[test]
    fn a_table_that_others_have_filled_is_noticed() {
        for limit in [200, 5000] {
            if !alone_with_limit("sys::headroom::tests::a_table_that_others_have_filled_is_noticed", limit) {
                continue;
            }
            let any = std::fs::File::open("/dev/null").unwrap();
            assert!(room_for(&any, 32));
            let mut all = open_all();
            assert!(!room_for(&any, 32), "full");
            all.truncate(all.len() - 20);
            assert!(!room_for(&any, 32), "20 left");
            all.truncate(all.len() - 60);
            assert!(room_for(&any, 32), "80 left");
            return;
        }
    }
}
