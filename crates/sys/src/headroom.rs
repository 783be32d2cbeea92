//! How many more descriptors this process can open, and how large its files may be.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::libc::{self, c_int, nfds_t, pollfd};
use nix::sys::resource::{Resource, getrlimit};

use super::error::SysError;

/// A margin for code that opens something between the check and the use.
const RESERVE: usize = 4;

/// Reserved for starting workers, however many clients there are: a start takes up to two dozen descriptors.
/// If the limit is low, a quarter of it.
const SUPERVISION: usize = 64;

/// The maximum number of descriptors checked in one call.
const CHUNK: usize = 1024;

/// The number of [`Unpolled`] values.
static UNPOLLED: AtomicUsize = AtomicUsize::new(0);

/// A descriptor that poll(2) reports as not open, as it does for `O_PATH` descriptors. All of these in this
/// process must be held in this type; otherwise they would count as free.
#[derive(Debug)]
pub struct Unpolled(OwnedFd);

impl From<OwnedFd> for Unpolled {
    fn from(fd: OwnedFd) -> Self {
        UNPOLLED.fetch_add(1, Ordering::Relaxed);
        Self(fd)
    }
}

impl AsFd for Unpolled {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Unpolled {
    fn drop(&mut self) {
        UNPOLLED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The maximum number of open descriptors of this process.
#[must_use]
pub fn limit() -> usize {
    // It cannot fail for a resource that exists.
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The maximum size in bytes of a file of this process. The kernel answers a larger one with a signal that
/// kills the process, so code that creates files must check this first.
#[must_use]
pub fn largest_file() -> usize {
    let limit = getrlimit(Resource::RLIMIT_FSIZE).map_or(u64::MAX, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Whether `count` more descriptors can be opened now.
#[must_use]
pub fn room_for(count: usize) -> bool {
    count == 0 || Room::of(count).is_some()
}

/// Room for some descriptors, as long as the limit is not lowered: cheaper to check again than [`room_for`].
#[derive(Clone, Copy, Debug)]
pub struct Room {
    limit: usize,
}

impl Room {
    /// The room for `count` more descriptors. `None` if there is less.
    #[must_use]
    pub fn of(count: usize) -> Option<Self> {
        let limit = limit();
        (free(count + RESERVE, limit) >= count + RESERVE).then_some(Self { limit })
    }

    /// Whether the limit is still as it was. Another process may lower it at any time (`prlimit`).
    #[must_use]
    pub fn is_left(self) -> bool {
        limit() >= self.limit
    }
}

/// The maximum number of descriptors for all clients together.
#[must_use]
pub fn for_clients() -> usize {
    let limit = limit();
    limit - SUPERVISION.min(limit / 4)
}

/// Whether clients may use `count` more descriptors now. The error means that the rest is reserved.
pub fn room_for_clients(count: usize) -> Result<(), SysError> {
    let doing = "keeping descriptors for starting workers";
    if free(count, for_clients()) >= count { Ok(()) } else { Err(SysError { doing, errno: Errno::EMFILE }) }
}

/// The number of descriptors below a number that can be opened, counted up to `wanted`.
///
/// # Design
/// The kernel assigns the lowest free number. So usually the numbers just below the limit are free, and one
/// call of poll(2) shows that. Otherwise the search continues downwards: the table may have been full once,
/// with gaps left anywhere since. Numbers beyond a limit that has been lowered do not count, open or not.
fn free(wanted: usize, below: usize) -> usize {
    let unpolled = UNPOLLED.load(Ordering::Relaxed);
    let wanted = wanted.saturating_add(unpolled);
    let mut end = c_int::try_from(below).unwrap_or(c_int::MAX);
    let mut found = 0;
    let mut chunk = wanted;
    while found < wanted && end > 0 {
        let start = end.saturating_sub(c_int::try_from(chunk).unwrap_or(c_int::MAX)).max(0);
        found += free_among(start..end);
        end = start;
        chunk = CHUNK;
    }
    // Any of the numbers found may belong to one of them.
    found.min(wanted).saturating_sub(unpolled)
}

/// How many of these numbers are not open.
fn free_among(numbers: std::ops::Range<c_int>) -> usize {
    let mut entries: Vec<_> = numbers.map(|fd| pollfd { fd, events: 0, revents: 0 }).collect();
    // SAFETY: the entries are ours, and their number is correct. Descriptors of other owners, and unused
    // numbers, are only checked: no event is requested, and the call does not wait.
    let told = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as nfds_t, 0) };
    // If the call fails, none is known to be free.
    if told < 0 {
        return 0;
    }
    entries.iter().filter(|entry| entry.revents & libc::POLLNVAL != 0).count()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use nix::sys::resource::setrlimit;
    use rcluster_testing::alone_with_limit;

    use super::*;

    fn open_all() -> Vec<std::fs::File> {
        std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect()
    }

    #[test]
    fn a_table_filled_by_other_code_is_detected() {
        for limit in [200, 5000] {
            if !alone_with_limit("headroom::tests::a_table_filled_by_other_code_is_detected", limit) {
                continue;
            }
            assert!(room_for(32));
            let mut all = open_all();
            assert!(!room_for(32), "full");
            all.truncate(all.len() - 20);
            assert!(!room_for(32), "20 left");
            assert!(room_for(16), "16 of 20");
            assert!(!room_for(17), "the reserve stays");
            all.truncate(all.len() - 16);
            assert!(room_for(32), "36 left");
            return;
        }
    }

    #[test]
    fn gaps_count_wherever_they_are() {
        if !alone_with_limit("headroom::tests::gaps_count_wherever_they_are", 4000) {
            return;
        }
        let mut all = open_all();
        let gap = all.iter().position(|file| file.as_raw_fd() == 4000 - 36).unwrap();
        all.remove(gap);
        assert!(!room_for(1), "one gap is less than the reserve and one");
        all.drain(20..24);
        assert!(room_for(1));
        assert!(!room_for(2));
    }

    #[test]
    fn room_is_lost_when_the_limit_is_lowered() {
        if !alone_with_limit("headroom::tests::room_is_lost_when_the_limit_is_lowered", 400) {
            return;
        }
        assert!(Room::of(400).is_none());
        let room = Room::of(200).unwrap();
        assert!(room.is_left());
        setrlimit(Resource::RLIMIT_NOFILE, 399, 400).unwrap();
        assert!(!room.is_left());
        setrlimit(Resource::RLIMIT_NOFILE, 400, 400).unwrap();
        assert!(room.is_left());
    }

    #[test]
    fn a_small_limit_is_used_to_the_end() {
        if !alone_with_limit("headroom::tests::a_small_limit_is_used_to_the_end", 40) {
            return;
        }
        assert_eq!(limit(), 40);
        let mut all = open_all();
        assert!(room_for(0) && !room_for(1));
        all.truncate(all.len() - 5);
        assert!(room_for(1) && !room_for(2));
    }

    #[test]
    fn descriptors_are_reserved_for_starting_workers() {
        if !alone_with_limit("headroom::tests::descriptors_are_reserved_for_starting_workers", 200) {
            return;
        }
        assert_eq!(for_clients(), 150);
        let mut all = open_all();
        assert_eq!(room_for_clients(1).unwrap_err().errno, Errno::EMFILE);
        all.retain(|file| file.as_raw_fd() < 150);
        assert_eq!(room_for_clients(1).unwrap_err().errno, Errno::EMFILE, "50 are free, and kept");
        all.truncate(all.len() - 2);
        assert!(room_for_clients(2).is_ok());
        assert!(room_for_clients(3).is_err());
    }

    #[test]
    fn a_descriptor_that_poll_does_not_see_is_not_free() {
        if !alone_with_limit("headroom::tests::a_descriptor_that_poll_does_not_see_is_not_free", 100) {
            return;
        }
        let mut all = open_all();
        let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
        let mut names = Vec::new();
        for number in [97, 50, 40, 30, 20] {
            let at = all.iter().position(|file| file.as_raw_fd() == number).unwrap();
            all.remove(at);
            let name = nix::fcntl::open("/", flags, nix::sys::stat::Mode::empty()).unwrap();
            assert_eq!(name.as_raw_fd(), number);
            names.push(Unpolled::from(name));
        }
        assert!(!room_for(1), "none is free");
        all.retain(|file| file.as_raw_fd() != 60);
        assert!(!room_for(1), "one is, and belongs to the reserve");
        all.retain(|file| !(61..65).contains(&file.as_raw_fd()));
        assert!(room_for(1) && !room_for(2));
        drop(names);
        assert!(room_for(6) && !room_for(7));
    }

    #[test]
    fn a_lowered_limit_applies() {
        if !alone_with_limit("headroom::tests::a_lowered_limit_applies", 2000) {
            return;
        }
        let mut all = open_all();
        all.truncate(500);
        setrlimit(Resource::RLIMIT_NOFILE, 510, 2000).unwrap();
        assert!(!room_for(32));
        // With open descriptors beyond the limit, and then with gaps both there and below it.
        setrlimit(Resource::RLIMIT_NOFILE, 400, 2000).unwrap();
        all.drain(450..490);
        assert!(!room_for(32));
        all.drain(100..300);
        assert!(room_for(32));
    }
}
