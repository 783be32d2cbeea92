//! How far this process is from running out of descriptors.
//!
//! The kernel does not keep a message whose descriptors a receiver has no room for: it delivers
//! what fits and closes the rest. So whoever receives connections looks first.

use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::resource::{Resource, getrlimit};

use super::error::{Doing, SysError};

/// A cheap estimate, made exact only near the limit.
///
/// The kernel gives out the lowest free number, so as long as the numbers it hands out are far
/// below the limit there must be room.
#[derive(Debug)]
pub struct Headroom {
    limit: usize,
    highest: Cell<usize>,
}

impl Headroom {
    /// Reads the limit of this process.
    pub fn new() -> Result<Self, SysError> {
        let (soft, _hard) = getrlimit(Resource::RLIMIT_NOFILE).doing("reading the limit of open files")?;
        Ok(Self { limit: usize::try_from(soft).unwrap_or(usize::MAX), highest: Cell::new(0) })
    }

    /// Notes the numbers that were given out last.
    pub fn saw(&self, fds: &[OwnedFd]) {
        let numbers = fds.iter().filter_map(|fd| usize::try_from(fd.as_raw_fd()).ok());
        if let Some(highest) = numbers.max() {
            self.highest.set(highest);
        }
    }

    /// Whether `count` more descriptors can be opened.
    #[must_use]
    pub fn room_for(&self, count: usize) -> bool {
        if self.highest.get().saturating_add(2 * count) < self.limit {
            return true;
        }
        // Listing the directory needs a descriptor itself; when not even that is left, there is
        // surely no room.
        std::fs::read_dir("/proc/self/fd").is_ok_and(|open| open.count() + count <= self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_the_limit_the_open_descriptors_are_counted() {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
        let tight = Headroom { limit: open + 200, highest: Cell::new(open + 199) };
        assert!(tight.room_for(100));
        assert!(!tight.room_for(1000));
        let wide = Headroom { limit: 1_000_000, highest: Cell::new(10) };
        assert!(wide.room_for(64));
    }
}
