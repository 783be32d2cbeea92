//! The sockets of this worker's slot, from which it accepts by itself.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rcluster_js::uv::{Interest, UvPoll};
use rcluster_sys::error::SysError;

/// The sockets, by listener.
#[derive(Default)]
pub(super) struct SlotSockets(RefCell<HashMap<u32, Rc<SlotSocket>>>);

/// One socket, watched by the event loop.
pub(super) struct SlotSocket {
    fd: OwnedFd,
    poll: UvPoll,
    /// Whether the server wants connections.
    accepting: Cell<bool>,
}

impl SlotSocket {
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(super) fn is_accepting(&self) -> bool {
        self.accepting.get()
    }

    /// There is no descriptor for a connection: stops accepting until [`SlotSockets::resume_all`].
    pub(super) fn wait_for_descriptors(&self) {
        self.poll.pause();
    }

    fn resume(&self) -> Result<(), SysError> {
        self.poll.watch_for(Interest::Read)
    }
}

impl SlotSockets {
    pub(super) fn insert(&self, listener: u32, fd: OwnedFd, poll: UvPoll) {
        let socket = SlotSocket { fd, poll, accepting: Cell::new(true) };
        self.0.borrow_mut().insert(listener, Rc::new(socket));
    }

    pub(super) fn get(&self, listener: u32) -> Option<Rc<SlotSocket>> {
        self.0.borrow().get(&listener).map(Rc::clone)
    }

    /// Stops accepting for good, effective immediately.
    pub(super) fn remove(&self, listener: u32) {
        if let Some(socket) = self.0.borrow_mut().remove(&listener) {
            socket.accepting.set(false);
        }
    }

    /// Stops accepting until [`SlotSockets::resume`].
    pub(super) fn pause(&self, listener: u32) {
        if let Some(socket) = self.get(listener) {
            socket.accepting.set(false);
            socket.poll.pause();
        }
    }

    /// Resumes accepting.
    pub(super) fn resume(&self, listener: u32) -> Result<(), SysError> {
        self.get(listener).map_or(Ok(()), |socket| {
            socket.accepting.set(true);
            socket.resume()
        })
    }

    /// Descriptors are available again.
    pub(super) fn resume_all(&self) -> Result<(), SysError> {
        self.0.borrow().values().filter(|socket| socket.is_accepting()).try_for_each(|socket| socket.resume())
    }
}
