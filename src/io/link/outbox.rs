//! One of the sockets of a link, with the messages that wait for room in it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::LinkError;
use rcluster_sys::passing::{Sent, send};

/// The maximum number of messages queued for a full socket. The primary's native threads read at once, so
/// only a few ever wait unless the primary is stopped.
pub(super) const MAX_WAITING: usize = 4096;

/// A message that waits.
#[derive(Debug)]
struct Unsent {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox {
    socket: OwnedFd,
    waiting: RefCell<VecDeque<Unsent>>,
}

impl AsFd for Outbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Outbox {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, waiting: RefCell::default() }
    }

    /// Sends a message, or queues it for [`Outbox::flush`].
    pub(super) fn send(&self, bytes: &[u8], fds: Vec<OwnedFd>) -> Result<(), LinkError> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() && send(self.as_fd(), bytes, &fds)? == Sent::Done {
            return Ok(());
        }
        if waiting.len() == MAX_WAITING {
            return Err(LinkError::Outbox);
        }
        waiting.push_back(Unsent { bytes: bytes.to_vec(), fds });
        Ok(())
    }

    /// Sends queued messages in order. Returns the result of the last one: [`Sent::Done`] if none waits any more.
    pub(super) fn flush(&self) -> Result<Sent, LinkError> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) = waiting.front() {
            match send(self.as_fd(), &first.bytes, &first.fds)? {
                Sent::Done => drop(waiting.pop_front()),
                unsent => return Ok(unsent),
            }
        }
        Ok(Sent::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcluster_sys::passing::{Received, message_pair, receive};

    /// The numbers of all messages that have arrived.
    fn arrived(socket: &OwnedFd) -> Vec<u32> {
        let (mut numbers, mut bytes, mut fds) = (Vec::new(), [0; 16], Vec::new());
        while let Received::Message { len, .. } = receive(socket.as_fd(), &mut bytes, &mut fds).unwrap() {
            numbers.push(u32::from_le_bytes(bytes[..len].try_into().unwrap()));
        }
        numbers
    }

    /// Sends numbers until one waits.
    fn fill(outbox: &Outbox) {
        let mut numbers = 0_u32..;
        while outbox.waiting.borrow().is_empty() {
            let number = numbers.next().unwrap();
            outbox.send(&number.to_le_bytes(), Vec::new()).unwrap();
        }
    }

    #[test]
    fn what_found_no_room_is_sent_later_and_in_order() {
        let (ours, theirs) = message_pair().unwrap();
        let outbox = Outbox::new(ours);
        fill(&outbox);
        outbox.send(&u32::MAX.to_le_bytes(), Vec::new()).unwrap();
        assert_eq!(outbox.flush().unwrap(), Sent::Full, "nobody has read");
        let mut all = arrived(&theirs);
        assert_eq!(outbox.flush().unwrap(), Sent::Done);
        all.extend(arrived(&theirs));
        assert_eq!(all.pop(), Some(u32::MAX), "it has waited behind the other one");
        assert!(all.iter().copied().eq(0..u32::try_from(all.len()).unwrap()));
    }

    #[test]
    fn only_so_many_wait_for_a_primary_that_does_not_read() {
        let (ours, _theirs) = message_pair().unwrap();
        let outbox = Outbox::new(ours);
        fill(&outbox);
        for _ in 1..MAX_WAITING {
            outbox.send(&[0; 4], Vec::new()).unwrap();
        }
        assert!(matches!(outbox.send(&[0; 4], Vec::new()), Err(LinkError::Outbox)));
    }
}
