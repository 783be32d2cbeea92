//! Waiting for a descriptor on a tokio runtime.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::{Doing, SysError};

/// Registers a descriptor with the runtime of this thread, which takes it out again before it
/// is closed.
pub fn watch(
    fd: Arc<OwnedFd>,
    interest: Interest,
    doing: &'static str,
) -> Result<AsyncFd<Arc<OwnedFd>>, SysError> {
    // SAFETY: tokio asks that the number stays the same open descriptor as long as it is
    // registered. The AsyncFd holds the OwnedFd, which nobody can take out or replace.
    let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
    registered.map_err(|error| error.into_parts().1).doing(doing)
}
