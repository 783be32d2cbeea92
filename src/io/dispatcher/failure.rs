//! The scope of a failure.
//!
//! Everything that the thread does for one worker, one client or one listener may fail because of that one,
//! and must not affect the others. So none of these errors converts into another by `?`, and only [`Fatal`]
//! ends the thread.

use std::fmt;

use rcluster_sys::error::SysError;

/// The thread's own resources have failed: it cannot continue.
///
/// It is constructed explicitly, never by `?`: constructing it asserts that no worker and no client can cause
/// it.
#[derive(Debug)]
pub(super) struct Fatal(pub(super) SysError);

/// An error of one worker's link, which ends that link.
#[derive(Debug)]
#[must_use]
pub(super) struct WorkerError(String);

impl WorkerError {
    pub(super) fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SysError> for WorkerError {
    fn from(error: SysError) -> Self {
        Self::new(error)
    }
}
