//! A descriptor and its registration in the poller.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::{Interest, Poller};
use rcluster_sys::error::SysError;

/// A descriptor that stays registered in the poller for as long as it lives.
///
/// Registering takes memory that is limited for each user (`fs.epoll.max_user_watches`), so it may fail
/// because of what a worker does. It is done once; changing the interest takes no memory.
#[derive(Debug)]
pub(super) struct Watched {
    fd: Arc<Descriptor>,
    /// `None` until it is registered.
    interest: Option<Interest>,
}

impl Watched {
    pub(super) fn new(fd: Descriptor) -> Self {
        Self { fd: Arc::new(fd), interest: None }
    }

    /// Changes the interest. If that fails, the previous interest remains.
    pub(super) fn watch(&mut self, poller: &Poller, token: u64, interest: Interest) -> Result<(), SysError> {
        match self.interest {
            Some(now) if now == interest && interest != Interest::ReadableOnce => return Ok(()),
            // It is registered, and changing takes no memory.
            Some(_) => poller.change(&*self.fd, token, interest)?,
            // Not registered before there is an interest.
            None if interest == Interest::Nothing => return Ok(()),
            None => poller.watch(&*self.fd, token, interest)?,
        }
        self.interest = Some(interest);
        Ok(())
    }

    /// The descriptor, for use on another thread.
    pub(super) fn share(&self) -> Arc<Descriptor> {
        Arc::clone(&self.fd)
    }

    /// Removes it from the poller, which is necessary before it is dropped: see [`Poller`].
    pub(super) fn forget(&mut self, poller: &Poller) {
        if self.interest.take().is_some() {
            // It is registered, so this cannot fail. The token of a stale registration would match nothing.
            let _ = poller.remove(&*self.fd);
        }
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
