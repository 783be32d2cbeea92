//! A clock that all processes of a machine read alike.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The time since the machine was started, with the time that it has slept. It never goes back, and no system call is
/// needed to read it.
#[must_use]
pub fn since_boot() -> Duration {
    // It cannot fail for a clock that exists, which this one does since Linux 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on() {
        let first = since_boot();
        while since_boot() == first {}
        assert!(first > Duration::ZERO && since_boot() > first);
    }
}
