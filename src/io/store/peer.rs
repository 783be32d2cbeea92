//! The link of a process with the thread of shared state, on the thread's side: see
//! [`Line`](super::line::Line).

use std::os::fd::{AsFd, OwnedFd};

use super::NAME;
use rcluster_core::ids::WorkerId;
use rcluster_core::store::ops::{Outcome, Status};
use rcluster_core::store::ring::{Inbox, Wanted, page_words};
use rcluster_sys::closer::Descriptor;
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::epoll::{Interest, Poller, Waker};
use rcluster_sys::error::SysError;
use rcluster_sys::passing::{Sent, send};
use rcluster_sys::segment::Segment;

/// A process that uses shared state. `token` is its bell's token in the poller; the socket has the next one.
pub(in crate::io) struct Peer {
    pub(in crate::io) token: u64,
    pub(in crate::io) worker: Option<WorkerId>,
    pub(in crate::io) inbox: Inbox<Segment>,
    /// How far requests may be read.
    limit: u64,
    /// Never read, because the process holds it as well. Epoll reports each write to it once
    /// (edge-triggered).
    bell: Waker,
    socket: Descriptor,
}

/// The process has broken the rules and must be cut off.
pub(in crate::io) struct Broken;

impl Peer {
    /// Creates the link for requests of up to `longest` words and sends it, with the descriptors `first` in
    /// front.
    pub(in crate::io) fn admit(
        poller: &Poller,
        token: u64,
        socket: Descriptor,
        worker: Option<WorkerId>,
        longest: usize,
        first: Vec<OwnedFd>,
    ) -> Result<Self, (Descriptor, SysError)> {
        Self::admit_with(poller, token, socket, worker, longest, (first, 0))
    }

    /// Like [`admit`](Self::admit), and sets the number that the process reads with `Line::noted`.
    pub(in crate::io) fn admit_with(
        poller: &Poller,
        token: u64,
        socket: Descriptor,
        worker: Option<WorkerId>,
        longest: usize,
        (first, note): (Vec<OwnedFd>, u64),
    ) -> Result<Self, (Descriptor, SysError)> {
        match prepare(poller, token, &socket, longest, (first, note)) {
            Ok((inbox, bell)) => Ok(Self { token, worker, inbox, limit: 0, bell, socket }),
            Err(error) => Err((socket, error)),
        }
    }

    /// Admits the requests that have been made so far. If commands are taken between this and [`next`](Self::next), a
    /// request that was made after a command is also carried out after it.
    pub(in crate::io) fn admit_requests(&mut self) {
        self.limit = self.inbox.produced();
    }

    /// Copies the next request that has been admitted, if there is one.
    pub(in crate::io) fn next(&mut self, request: &mut Vec<u8>) -> Result<bool, Broken> {
        if self.inbox.consumed() == self.limit {
            return Ok(false);
        }
        self.inbox.next(request).map_err(|_| Broken)
    }

    /// Frees the room of a request in the ring, where the answer carries no other information.
    pub(in crate::io) fn make_room(&mut self) {
        self.inbox.answer(Outcome { status: Status::Done, revision: 0, number: 0.0 });
    }

    /// Whether the process waits for answers.
    pub(in crate::io) fn waits_for_answers(&self) -> bool {
        self.inbox.take_wanted(Wanted::Answers)
    }

    pub(in crate::io) fn send(&self, message: &[u8]) -> Result<Sent, SysError> {
        self.send_with(message, &[])
    }

    pub(in crate::io) fn send_with(&self, message: &[u8], fds: &[OwnedFd]) -> Result<Sent, SysError> {
        send(self.socket.as_fd(), message, fds)
    }

    /// The number that the process has published at a place. It is not validated.
    pub(in crate::io) fn published(&self, place: usize) -> u64 {
        self.inbox.published(place)
    }

    /// Wakes the process with a message of one byte.
    pub(in crate::io) fn wake(&self) {
        // If the socket is full, enough wake-ups are queued. If the process is gone, its socket reports the
        // hang-up.
        let _full_or_gone = self.send(&[1]);
    }

    /// Starts or stops watching for room in the socket.
    pub(in crate::io) fn watch_room(&self, poller: &Poller, watch: bool) {
        let interest = if watch { Interest::ReadableWritableEdge } else { Interest::ReadableEdge };
        // The hang-up is reported even if this fails. Without the report of room, queued messages are lost.
        let _ = poller.change(&self.socket, self.token + 1, interest);
    }

    /// Ends the link.
    pub(in crate::io) fn leave(self, poller: &Poller) {
        // Both are registered; an error while deregistering has no consequence.
        let _ = poller.remove(&self.bell);
        let _ = poller.remove(&self.socket);
    }
}

fn prepare(
    poller: &Poller,
    token: u64,
    socket: &Descriptor,
    longest: usize,
    (first, note): (Vec<OwnedFd>, u64),
) -> Result<(Inbox<Segment>, Waker), SysError> {
    let (page, page_fd) = Segment::create_shared(NAME, page_words(longest))?;
    let inbox = Inbox::new(page).ok_or(SysError::invalid("making a page for requests"))?;
    inbox.note(note);
    let bell = Waker::new()?;
    let mut fds = first;
    fds.extend([page_fd, duplicate(&bell)?]);
    poller.watch(&bell, token, Interest::ReadableEdge)?;
    if let Err(error) = poller.watch(socket, token + 1, Interest::ReadableEdge) {
        let _ = poller.remove(&bell);
        return Err(error);
    }
    // Announces that this thread sleeps before the process can make a request, so that the first one wakes
    // it.
    let _nothing_there = inbox.sleep();
    if let Err(error) = send(socket.as_fd(), b"{}", &fds).and_then(Sent::done) {
        let _ = poller.remove(&bell);
        let _ = poller.remove(socket);
        return Err(error);
    }
    Ok((inbox, bell))
}
