//! One listener, as the dispatcher knows it: a socket, or one for each slot.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use crate::core::ids::{Slot, WorkerId};
use crate::core::schedule::Plan;
use crate::sys::epoll::Poller;
use crate::sys::error::SysError;
use crate::sys::listen::group::steer;
use crate::sys::listen::{BoundPath, accept, has_client};

/// What came of accepting.
pub(super) enum Accepted {
    Connection(OwnedFd),
    /// No client waits, or it has given up meanwhile.
    Nothing,
    /// There is no descriptor or memory for the client that waits.
    Exhausted(SysError),
}

/// A socket that listens.
struct Socket {
    fd: OwnedFd,
    /// Whose workers accept from it by themselves while there are any.
    slot: Option<Slot>,
    /// The poller watches it.
    watched: bool,
}

/// A listener.
pub(super) struct Listening {
    /// Where there is one for each slot, in the order of the kernel's numbers for them.
    sockets: Vec<Socket>,
    path: Option<BoundPath>,
    pub(super) name: String,
    pub(super) plan: Plan,
    /// What a client is told that is turned away; without it, the connection is reset.
    pub(super) answer: Option<Vec<u8>>,
    /// Who accepts by itself, from the socket of its slot.
    members: BTreeMap<WorkerId, Slot>,
    /// The brain wants its connections.
    pub(super) wanted: bool,
}

impl Listening {
    pub(super) fn new(socket: Option<OwnedFd>, path: Option<BoundPath>, name: String, plan: Plan) -> Self {
        let answer = plan.overload.action.response();
        let sockets = socket.into_iter().map(|fd| Socket { fd, slot: None, watched: false }).collect();
        Self { sockets, path, name, plan, answer, members: BTreeMap::new(), wanted: false }
    }

    pub(super) fn add_slot(&mut self, slot: Slot, fd: OwnedFd) {
        self.sockets.push(Socket { fd, slot: Some(slot), watched: false });
    }

    /// A worker accepts from the socket of its slot from now on. To be followed by [`Listening::arrange`].
    pub(super) fn occupy(&mut self, worker: WorkerId, slot: Slot) {
        if self.sockets.iter().any(|socket| socket.slot == Some(slot)) {
            self.members.insert(worker, slot);
        }
    }

    /// A worker no longer accepts here. False if it did not; otherwise to be followed by [`Listening::arrange`].
    pub(super) fn vacate(&mut self, worker: WorkerId) -> bool {
        self.members.remove(&worker).is_some()
    }

    /// Whether any of its sockets is watched.
    pub(super) fn is_watched(&self) -> bool {
        self.sockets.iter().any(|socket| socket.watched)
    }

    /// Whether a client waits at one of those that are watched.
    pub(super) fn has_client(&self) -> bool {
        self.sockets.iter().any(|socket| socket.watched && has_client(&socket.fd))
    }

    /// Accepts from one of those that are watched.
    pub(super) fn accept(&self) -> Accepted {
        for socket in self.sockets.iter().filter(|socket| socket.watched) {
            match accept(&socket.fd) {
                Ok(Some(conn)) => return Accepted::Connection(conn),
                Ok(None) => {}
                // accept(2) also reports errors of the connection itself (ENETDOWN, EPROTO, EPERM by
                // a firewall …): that client is gone and the next one is as good as any. Whatever it
                // is, the pause of an exhausted listener keeps it from spinning.
                Err(error) if error.is_of_the_connection() => {}
                Err(error) => return Accepted::Exhausted(error),
            }
        }
        Accepted::Nothing
    }

    /// Watches what is to be accepted here: everything that is wanted, except where a worker accepts by itself.
    /// Nothing at all while the dispatcher is not `able` to accept.
    pub(super) fn watch(&mut self, poller: &Poller, token: u64, able: bool) -> Result<(), SysError> {
        for Socket { fd, slot, watched } in &mut self.sockets {
            let occupied = slot.is_some_and(|slot| self.members.values().any(|member| *member == slot));
            let watch = able && self.wanted && !occupied;
            if watch != *watched {
                *watched = watch;
                if watch { poller.add(&*fd, token)? } else { poller.remove(&*fd)? }
            }
        }
        Ok(())
    }

    /// Has the kernel choose among the sockets whose workers are there. Without any the dispatcher gets them all.
    pub(super) fn arrange(&self) -> Result<(), SysError> {
        let is_occupied = |socket: &Socket| self.members.values().any(|member| socket.slot == Some(*member));
        let numbers: Vec<u32> =
            (0..).zip(&self.sockets).filter(|(_, socket)| is_occupied(socket)).map(|(n, _)| n).collect();
        match self.sockets.first() {
            Some(first) if !numbers.is_empty() => steer(&first.fd, &numbers),
            _ => Ok(()),
        }
    }

    /// Closes the sockets; the name in the file system goes with them.
    pub(super) fn close(mut self, poller: &Poller) -> Result<(), SysError> {
        self.watch(poller, 0, false)?;
        drop(self.path.take());
        Ok(())
    }
}
