//! The link of a process with the thread of shared state, on the process's side: the ring for requests, the
//! eventfd that wakes the thread, and the socket for messages from the thread. Stores, locks and the exchange
//! each have their own.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use rcluster_core::store::ops::Outcome;
use rcluster_core::store::ring::{Pushed, Requests, Wanted};
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::{Loss, Received, receive, wait_for_message};
use rcluster_sys::segment::Segment;

/// The time limit for the primary's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer to the request for a link, in bytes.
const ANSWER: usize = 4096;

/// Why a link could not be made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// A system call failed.
    #[error(transparent)]
    System(#[from] SysError),
    /// The primary refused.
    #[error("{message}")]
    Refused {
        /// The error code.
        code: String,
        /// The error message.
        message: String,
    },
    /// The primary hung up or sent an invalid answer.
    #[error("the primary does not answer")]
    NoAnswer,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Line {
    requests: RefCell<Requests<Segment>>,
    bell: Waker,
    socket: OwnedFd,
}

impl Line {
    /// Waits for the answer to a request for a link. The primary has the other end of `socket`. Also returns
    /// the `COUNT` descriptors that precede those of the link.
    pub fn connect<const COUNT: usize>(socket: OwnedFd) -> Result<(Self, [OwnedFd; COUNT]), ConnectError> {
        let mut fds = await_answer(&socket)?;
        let (Some(bell), Some(page)) = (fds.pop(), fds.pop()) else { return Err(ConnectError::NoAnswer) };
        let others = fds.try_into().map_err(|_| ConnectError::NoAnswer)?;
        let requests = Requests::new(Segment::open(&page)?).ok_or(ConnectError::NoAnswer)?;
        Ok((Self { requests: RefCell::new(requests), bell: Waker::adopt(bell), socket }, others))
    }

    /// A duplicate of the socket, to poll for messages.
    pub fn watched(&self) -> Result<OwnedFd, SysError> {
        duplicate(&self.socket)
    }

    /// Queues a request.
    pub fn push(&self, request: &[u64]) -> Pushed {
        let pushed = self.requests.borrow_mut().push(request);
        if pushed == (Pushed::Done { wake: true }) {
            self.bell.wake();
        }
        pushed
    }

    /// Queues a request whose result arrives as a message, so that an answer on the ring only frees space.
    /// [`Pushed::Full`]: the thread sends a wake-up when there is room.
    pub fn push_or_wait(&self, request: &[u64]) -> Pushed {
        self.drop_answers();
        let pushed = self.push(request);
        if pushed != Pushed::Full {
            return pushed;
        }
        self.want(Wanted::Answers);
        self.drop_answers();
        self.push(request)
    }

    fn drop_answers(&self) {
        let mut requests = self.requests.borrow_mut();
        while requests.answer().is_some() {}
    }

    /// The next answer, if there is one.
    #[must_use]
    pub fn answer(&self) -> Option<Outcome> {
        self.requests.borrow_mut().answer()
    }

    /// The next answer, if it is there or arrives within `patience` polls; each unsuccessful poll is
    /// subtracted. Does not poll while the writer sleeps.
    #[must_use]
    pub fn answer_soon(&self, patience: &mut u32) -> Option<Outcome> {
        let mut requests = self.requests.borrow_mut();
        loop {
            let answer = requests.answer();
            if answer.is_some() || *patience == 0 || !requests.is_waiting() || requests.is_writer_asleep() {
                return answer;
            }
            *patience -= 1;
            std::hint::spin_loop();
        }
    }

    /// Whether any request is unanswered.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.requests.borrow().is_waiting()
    }

    /// Requests a wake-up. The caller must check once more before it waits.
    pub fn want(&self, wanted: Wanted) {
        self.requests.borrow().want(wanted);
    }

    /// Tells the writer that a key with this hash is in use.
    pub fn touch(&self, hash: u64) {
        self.requests.borrow().touch(hash);
    }

    /// A number that the thread has set for this process, initially 0.
    #[must_use]
    pub fn noted(&self) -> u64 {
        self.requests.borrow().noted()
    }

    /// Publishes a number for the thread to read.
    pub fn publish(&self, place: usize, number: u64) {
        self.requests.borrow().publish(place, number);
    }

    /// The next message from the thread.
    pub fn receive(&self, into: &mut [u8]) -> Result<Received, SysError> {
        // The thread sends no descriptors here; any that arrive are closed.
        self.receive_with(into, &mut Vec::new())
    }

    /// Like [`receive`](Self::receive), and also returns the descriptors that came with the message.
    pub fn receive_with(&self, into: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<Received, SysError> {
        receive(self.socket.as_fd(), into, fds)
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits for the primary's answer, which must carry `COUNT` descriptors.
pub(super) fn await_descriptors<const COUNT: usize>(
    socket: &OwnedFd,
) -> Result<[OwnedFd; COUNT], ConnectError> {
    await_answer(socket)?.try_into().map_err(|_| ConnectError::NoAnswer)
}

/// Waits for the primary's answer: the descriptors of the link, or a refusal.
fn await_answer(socket: &OwnedFd) -> Result<Vec<OwnedFd>, ConnectError> {
    #[derive(Deserialize)]
    struct Refused {
        code: String,
        message: String,
    }
    let (mut bytes, mut fds) = ([0; ANSWER], Vec::new());
    if !wait_for_message(socket.as_fd(), PATIENCE)? {
        return Err(ConnectError::NoAnswer);
    }
    let len = match receive(socket.as_fd(), &mut bytes, &mut fds)? {
        Received::Message { len, loss: Loss::Nothing } => len,
        Received::Message { loss: Loss::Descriptors, .. } => return Err(SysError::lost().into()),
        _ => return Err(ConnectError::NoAnswer),
    };
    if !fds.is_empty() {
        return Ok(fds);
    }
    let Refused { code, message } =
        serde_json::from_slice(&bytes[..len]).map_err(|_| ConnectError::NoAnswer)?;
    Err(ConnectError::Refused { code, message })
}

#[cfg(test)]
impl Line {
    /// Waits until there is a message to receive.
    pub(crate) fn await_news(&self) {
        let limit = Duration::from_secs(30);
        assert!(wait_for_message(self.socket.as_fd(), limit).unwrap(), "something comes");
    }

    /// Writes garbage to the page and wakes the thread to read it.
    pub(crate) fn scribble(&self, words: usize) {
        for word in self.requests.borrow().page().as_ref().iter().take(words) {
            word.store(u64::MAX, std::sync::atomic::Ordering::Relaxed);
        }
        self.bell.wake();
    }
}
