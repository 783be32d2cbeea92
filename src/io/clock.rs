//! The clock of stores, leases and messages between machines.

use std::time::Duration;

use rcluster_core::frames::milliseconds;
use rcluster_sys::clock::since_boot;

/// The time since the machine was booted, in ms. Never 0.
pub(super) fn now() -> u64 {
    milliseconds(since_boot()).max(1)
}

/// How long it is until a deadline by this clock.
pub(super) fn until(deadline: u64) -> Duration {
    Duration::from_millis(deadline.saturating_sub(now()))
}

pub(super) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
