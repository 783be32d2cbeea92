//! One listening socket of the dispatcher.

use std::os::fd::OwnedFd;

use super::acceptor::{Acceptor, Outcome};
use super::outcomes::SocketNumber;
use super::watched::Watched;
use rcluster_core::ids::Slot;
use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::{Interest, Poller};
use rcluster_sys::error::SysError;
use rcluster_sys::listen::{accept, has_client};

/// The result of accepting.
pub(super) enum Accepted {
    Connection(OwnedFd),
    /// No client waits, or it has given up meanwhile.
    Nothing,
    /// There is no descriptor or memory for the waiting client.
    Exhausted(SysError),
    /// The socket cannot be used now, and is ignored until [`Socket::try_again`].
    Refused(SysError),
}

/// What a socket is watched for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    Nothing,
    /// The dispatcher accepts all clients.
    Clients,
    /// A worker accepts; the poller reports once that a client has arrived.
    FirstClient,
}

/// The tokens of its events.
#[derive(Clone, Copy, Default)]
pub(super) struct Tokens {
    pub(super) clients: u64,
    pub(super) first_client: u64,
}

/// A listening socket.
pub(super) struct Socket {
    fd: Watched,
    slot: Option<Slot>,
    number: SocketNumber,
    watch: Watch,
    /// Accepts on behalf of the workers. Started on first use.
    acceptor: Option<Acceptor>,
    /// Whether accepting failed, so that the socket is ignored until [`Socket::try_again`].
    resting: bool,
}

impl Socket {
    /// A socket from which only the dispatcher accepts.
    pub(super) fn own(fd: OwnedFd) -> Self {
        Self::new(Descriptor::own(fd), None, SocketNumber::default())
    }

    /// A socket that the workers of a slot hold as well.
    pub(super) fn of_slot(fd: Descriptor, slot: Slot, number: SocketNumber) -> Self {
        Self::new(fd, Some(slot), number)
    }

    fn new(fd: Descriptor, slot: Option<Slot>, number: SocketNumber) -> Self {
        Self { fd: Watched::new(fd), slot, number, watch: Watch::Nothing, acceptor: None, resting: false }
    }

    pub(super) fn fd(&self) -> &Watched {
        &self.fd
    }

    /// The slot whose workers accept from it while there are any. They hold the socket as well.
    pub(super) fn slot(&self) -> Option<Slot> {
        self.slot
    }

    /// Whether it is the socket of a slot with this number.
    pub(super) fn is(&self, slot: Slot, number: SocketNumber) -> bool {
        self.slot == Some(slot) && self.number == number
    }

    /// What it is watched for.
    pub(super) fn watch(&self) -> Watch {
        self.watch
    }

    /// Whether accepting failed, so that it is ignored.
    pub(super) fn is_resting(&self) -> bool {
        self.resting
    }

    /// Clears an earlier failure.
    pub(super) fn try_again(&mut self) {
        self.resting = false;
    }

    pub(super) fn has_client(&self) -> bool {
        has_client(&self.fd)
    }

    /// Accepts a client on this thread. Only for a socket that no worker holds.
    pub(super) fn accept(&mut self) -> Accepted {
        match accept(&self.fd) {
            Ok(Some(connection)) => Accepted::Connection(connection),
            Ok(None) => Accepted::Nothing,
            Err(error) if error.is_shortage() => Accepted::Exhausted(error),
            Err(error) => {
                self.resting = true;
                Accepted::Refused(error)
            }
        }
    }

    /// Orders its thread to accept the waiting clients, unless none waits or it is at work.
    pub(super) fn order<T: Fn(Outcome) + Send + 'static>(
        &mut self,
        tell: impl Fn(Slot, SocketNumber) -> T,
    ) -> Result<(), SysError> {
        let Some(slot) = self.slot.filter(|_| !self.is_busy() && self.has_client()) else { return Ok(()) };
        let acceptor = if let Some(acceptor) = &mut self.acceptor {
            acceptor
        } else {
            let started = Acceptor::start(self.fd.share(), tell(slot, self.number));
            self.acceptor.insert(started.inspect_err(|_| self.resting = true)?)
        };
        acceptor.order();
        Ok(())
    }

    /// Whether an order to accept is in progress.
    pub(super) fn is_busy(&self) -> bool {
        self.acceptor.as_ref().is_some_and(Acceptor::is_busy)
    }

    /// The order to accept has been answered.
    pub(super) fn answered(&mut self) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.answered();
        }
    }

    /// Changes what it is watched for.
    pub(super) fn watch_for(&mut self, want: Watch, poller: &Poller, tokens: Tokens) -> Result<(), SysError> {
        let watched = match want {
            Watch::Nothing => self.fd.watch(poller, 0, Interest::Nothing),
            // The acceptor is already at work.
            Watch::Clients if self.is_busy() => self.fd.watch(poller, 0, Interest::Nothing),
            Watch::Clients => self.fd.watch(poller, tokens.clients, Interest::Readable),
            // It may have reported already, and is not re-armed before that report has been handled.
            Watch::FirstClient if self.watch == want => Ok(()),
            Watch::FirstClient => self.watch_first_client(poller, tokens.first_client, true),
        };
        // A failed change is tried again.
        self.watch = if watched.is_ok() { want } else { Watch::Nothing };
        watched
    }

    /// Starts or stops the one-shot report of a waiting client, present or next.
    pub(super) fn watch_first_client(
        &mut self,
        poller: &Poller,
        token: u64,
        wanted: bool,
    ) -> Result<(), SysError> {
        self.fd.watch(poller, token, if wanted { Interest::ReadableOnce } else { Interest::Nothing })
    }

    /// Ends the watch. Must be called before it is dropped.
    pub(super) fn forget(&mut self, poller: &Poller) {
        self.fd.forget(poller);
    }
}
