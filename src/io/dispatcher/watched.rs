//! A descriptor and what the poller watches it for.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::{Interest, Poller};
use rcluster_sys::error::SysError;

/// A descriptor that the poller knows for as long as it lives.
///
/// Registering takes memory of which every user has a limited amount (`fs.epoll.max_user_watches`), so that it may fail
/// because of what a worker does. It is done once; changing what is watched for takes nothing.
#[derive(Debug)]
pub(super) struct Watched {
    fd: Arc<Descriptor>,
    /// None before it is registered.
    interest: Option<Interest>,
}

impl Watched {
    pub(super) fn new(fd: Descriptor) -> Self {
        Self { fd: Arc::new(fd), interest: None }
    }

    /// Watches it for this from now on. Where that fails, for what it was watched before.
    pub(super) fn watch(&mut self, poller: &Poller, token: u64, interest: Interest) -> Result<(), SysError> {
        match self.interest {
            Some(now) if now == interest && interest != Interest::Once => return Ok(()),
            // It is there, and changing takes no memory.
            Some(_) => poller.change(&*self.fd, token, interest)?,
            // What is of no interest need not be registered yet.
            None if interest == Interest::Nothing => return Ok(()),
            None => poller.watch(&*self.fd, token, interest)?,
        }
        self.interest = Some(interest);
        Ok(())
    }

    /// The descriptor, for another thread that uses it.
    pub(super) fn share(&self) -> Arc<Descriptor> {
        Arc::clone(&self.fd)
    }

    /// Takes it out of the poller, as it has to be before it is dropped: see [`Poller`].
    pub(super) fn forget(&mut self, poller: &Poller) {
        if self.interest.take().is_some() {
            // It is there, so that nothing can go wrong. A registration that stayed would find nobody by its token.
            let _ = poller.remove(&*self.fd);
        }
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
