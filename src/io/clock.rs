//! The clocks of the stores' thread.

use std::time::Duration;

use rcluster_core::wire::milliseconds;
use rcluster_sys::clock::since_boot;

/// The clock by which keys expire, in ms. Never 0.
pub(super) fn now() -> u64 {
    milliseconds(since_boot()).max(1)
}

pub(super) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
