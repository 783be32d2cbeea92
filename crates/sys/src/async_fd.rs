//! Waiting for a descriptor on a tokio runtime.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::closer::Descriptor;
use super::error::{Doing, SysError};

/// A type that refers to the same descriptor for as long as it lives.
pub trait Steady: AsRawFd {}

impl Steady for OwnedFd {}
impl Steady for Descriptor {}

/// Registers a descriptor with the runtime of this thread. The runtime removes it before it is closed.
pub fn watch<T: Steady>(
    fd: Arc<T>,
    interest: Interest,
    doing: &'static str,
) -> Result<AsyncFd<Arc<T>>, SysError> {
    // SAFETY: tokio requires that the number refers to the same open descriptor while it is registered. The
    // AsyncFd holds its owner, which is steady: the descriptor cannot be taken out or replaced.
    let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
    registered.map_err(|error| error.into_parts().1).doing(doing)
}
