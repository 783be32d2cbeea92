//! Whom a failure concerns.
//!
//! Everything that the thread does for one worker, one client or one listener may fail because of that one, and the
//! others must not event. So none of these errors becomes another by `?`, and only [`Fatal`] leaves the thread.

use std::fmt;

use rcluster_sys::error::SysError;

/// The thread's own means have failed: it cannot go on.
///
/// It is made by name and never by `?`: whoever makes one says that no worker and no client can cause it.
#[derive(Debug)]
pub(super) struct Fatal(pub(super) SysError);

/// Something is wrong with one worker's link, which ends that link.
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
