//! Clocks that are the same for all processes of a machine.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The time since the machine was booted, including suspension. It is monotonic, and reading it needs no
/// system call.
#[must_use]
pub fn since_boot() -> Duration {
    // It cannot fail for a clock that exists, and this one exists since Linux 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// The time since the machine was booted, without suspension: the clock of libuv's `uv_hrtime`.
#[must_use]
pub fn monotonic() -> Duration {
    // It cannot fail for a clock that exists.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_advances() {
        let first = since_boot();
        while since_boot() == first {}
        assert!(first > Duration::ZERO && since_boot() > first);
        let first = monotonic();
        while monotonic() == first {}
        assert!(first > Duration::ZERO && monotonic() > first);
    }
}
