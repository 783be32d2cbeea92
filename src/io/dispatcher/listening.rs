//! One listening socket, as the dispatcher knows it.

use std::os::fd::OwnedFd;

use crate::sys::epoll::Poller;
use crate::sys::error::SysError;
use crate::sys::listen::{BoundPath, accept};

/// What came of accepting.
pub(super) enum Accepted {
    Connection(OwnedFd),
    /// No client waits, or it has given up meanwhile.
    Nothing,
    /// There is no descriptor or memory for the client that waits.
    Exhausted(SysError),
}

/// A listening socket.
pub(super) struct Listening {
    socket: OwnedFd,
    path: Option<BoundPath>,
    /// The brain wants its connections.
    pub(super) wanted: bool,
    /// The poller watches it.
    pub(super) watched: bool,
}

impl Listening {
    pub(super) fn new(socket: OwnedFd, path: Option<BoundPath>) -> Self {
        Self { socket, path, wanted: false, watched: false }
    }

    pub(super) fn accept(&self) -> Accepted {
        match accept(&self.socket) {
            Ok(Some(conn)) => Accepted::Connection(conn),
            Ok(None) => Accepted::Nothing,
            // accept(2) also reports errors of the connection itself (ENETDOWN, EPROTO, EPERM by
            // a firewall …): that client is gone and the next one is as good as any. Whatever it
            // is, the pause of an exhausted listener keeps it from spinning.
            Err(error) if error.is_of_the_connection() => Accepted::Nothing,
            Err(error) => Accepted::Exhausted(error),
        }
    }

    pub(super) fn watch(&mut self, poller: &Poller, token: u64, watch: bool) -> Result<(), SysError> {
        if watch == self.watched {
            return Ok(());
        }
        self.watched = watch;
        if watch { poller.add(&self.socket, token) } else { poller.remove(&self.socket) }
    }

    /// Closes the socket; its name in the file system goes with it.
    pub(super) fn close(mut self, poller: &Poller) -> Result<(), SysError> {
        self.watch(poller, 0, false)?;
        drop(self.path.take());
        Ok(())
    }
}
