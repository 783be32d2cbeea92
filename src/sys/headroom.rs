//! How far this process is from running out of descriptors.
//!
//! The kernel does not keep a message whose descriptors a receiver has no room for: it delivers
//! what fits and closes the rest. So whoever receives connections looks first.

use nix::libc::{self, c_int, nfds_t, pollfd};
use nix::sys::resource::{Resource, getrlimit};

/// Whether `count` more descriptors can be opened just now.
///
/// # Design
/// The kernel gives out the lowest free number. So as a rule the `2 * count` numbers below the limit are
/// free, and one call of poll(2) tells that they are. Otherwise the open ones are counted: the limit may have
/// been lowered, or the table was full at some time, with a gap left anywhere since. The other `count` is for
/// those who open something between the look and the use.
#[must_use]
pub fn room_for(count: usize) -> bool {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return true };
    let limit = c_int::try_from(limit).unwrap_or(c_int::MAX);
    let wanted = c_int::try_from(2 * count).unwrap_or(c_int::MAX);
    limit >= wanted && (all_free(limit - wanted..limit) || counted(limit - wanted))
}

/// Whether none of these numbers is an open descriptor.
fn all_free(numbers: std::ops::Range<c_int>) -> bool {
    let mut entries: Vec<_> = numbers.map(|fd| pollfd { fd, events: 0, revents: 0 }).collect();
    // SAFETY: the entries are ours, and as many as is said. Numbers that others own, or nobody, are only
    // looked at: no event is asked for, and none is waited for.
    let told = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as nfds_t, 0) };
    usize::try_from(told) == Ok(entries.len())
        && entries.iter().all(|entry| entry.revents & libc::POLLNVAL != 0)
}

/// Whether so many are open at the most.
fn counted(most: c_int) -> bool {
    // Listing the directory needs a descriptor itself; when not even that is left, there is
    // surely no room.
    let open = std::fs::read_dir("/proc/self/fd").map(Iterator::count);
    open.is_ok_and(|open| c_int::try_from(open).is_ok_and(|open| open <= most))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use nix::sys::resource::setrlimit;

    use super::*;

    /// Runs the test of this name alone in a process with another limit.
    fn alone_with_limit(name: &str, limit: u32) -> bool {
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
            assert!(room_for(32));
            let mut all = open_all();
            assert!(!room_for(32), "full");
            all.truncate(all.len() - 20);
            assert!(!room_for(32), "20 left");
            all.truncate(all.len() - 60);
            assert!(room_for(32), "80 left");
            return;
        }
    }

    #[test]
    fn a_gap_below_the_limit_is_not_taken_for_room() {
        if !alone_with_limit("sys::headroom::tests::a_gap_below_the_limit_is_not_taken_for_room", 200) {
            return;
        }
        let mut all = open_all();
        let gap = all.iter().position(|file| file.as_raw_fd() == 200 - 64).unwrap();
        all.remove(gap);
        assert!(!room_for(32));
    }

    #[test]
    fn a_limit_that_has_been_lowered_counts() {
        if !alone_with_limit("sys::headroom::tests::a_limit_that_has_been_lowered_counts", 2000) {
            return;
        }
        let mut all = open_all();
        all.truncate(500);
        setrlimit(Resource::RLIMIT_NOFILE, 510, 2000).unwrap();
        assert!(!room_for(32));
        // With open descriptors beyond the limit, and then with gaps among those below.
        setrlimit(Resource::RLIMIT_NOFILE, 400, 2000).unwrap();
        assert!(!room_for(32));
        all.drain(100..300);
        assert!(room_for(32));
    }
}
