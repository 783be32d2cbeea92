//! Waiting for many descriptors on a dedicated thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::error::{Doing, SysError};

/// The maximum number of events of one [`Poller::wait`].
const BATCH: usize = 128;

/// The events to report for a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Level-triggered: reported as long as there is something to read.
    Readable,
    /// Edge-triggered: what there is to read now, and each new arrival, whether or not it has been read.
    ReadableEdge,
    /// Like [`ReadableEdge`](Self::ReadableEdge), and also each time there is room again.
    ReadableWritableEdge,
    /// One-shot: reported when there is room to write, and then not again until re-armed.
    WritableOnce,
    /// One-shot: reported when there is something to read, and then not again until re-armed.
    ReadableOnce,
    /// None for now.
    Nothing,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Self::Readable => EpollFlags::EPOLLIN,
            Self::ReadableEdge => EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET,
            Self::ReadableWritableEdge => Self::ReadableEdge.flags() | EpollFlags::EPOLLOUT,
            Self::WritableOnce => EpollFlags::EPOLLOUT | EpollFlags::EPOLLONESHOT,
            Self::ReadableOnce => EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT,
            // Without one-shot, errors and hang-ups would be reported repeatedly.
            Self::Nothing => EpollFlags::EPOLLONESHOT,
        }
    }
}

/// A reported event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The token of the descriptor.
    pub token: u64,
    /// There is something to read: bytes, the end, or an error.
    pub readable: bool,
    /// There is room to write, or writing fails.
    pub writable: bool,
    /// The other side has shut down writing, or everything: the end follows the bytes.
    pub end: bool,
}

/// An epoll instance.
///
/// # Design
/// A descriptor must be removed with [`Poller::remove`] before it is closed. Closing alone does not suffice:
/// between clone and exec, a child process holds a copy of every descriptor. The kernel then keeps the
/// registration alive, and a stale event would carry a token that may mean something else by then.
///
/// Removal is not needed for edge-triggered descriptors whose tokens are never reused: a stale event matches
/// nothing, and comes only once.
///
/// With thousands of streams in both directions, level-triggering would need a system call for each change of
/// interest. Edge-triggered, a connection is registered once.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    events: [EpollEvent; BATCH],
}

impl Poller {
    /// A poller that watches nothing yet.
    pub fn new() -> Result<Self, SysError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).doing("making an epoll instance")?;
        Ok(Self { epoll, events: [EpollEvent::empty(); BATCH] })
    }

    /// Watches `fd` with [`Interest::Readable`]. Events carry `token`.
    pub fn add(&self, fd: impl AsFd, token: u64) -> Result<(), SysError> {
        self.watch(fd, token, Interest::Readable)
    }

    /// Watches `fd` for `interest`. Also reports conditions that already hold.
    pub fn watch(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<(), SysError> {
        self.epoll.add(fd, EpollEvent::new(interest.flags(), token)).doing("watching a descriptor")
    }

    /// Changes the interest. Also reports conditions that already hold, even if they were reported before.
    pub fn change(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<(), SysError> {
        let mut event = EpollEvent::new(interest.flags(), token);
        self.epoll.modify(fd, &mut event).doing("watching a descriptor for something else")
    }

    /// Stops watching `fd`.
    pub fn remove(&self, fd: impl AsFd) -> Result<(), SysError> {
        self.epoll.delete(fd).doing("no longer watching a descriptor")
    }

    /// Waits until there are events or `timeout` has passed; `None` waits forever. Returns the number of
    /// events.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<usize, SysError> {
        let timeout = timeout.map_or(EpollTimeout::NONE, |limit| {
            // Rounded up: waking a moment too early would cause spinning until the deadline.
            let millis = limit.as_nanos().div_ceil(1_000_000);
            EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
        });
        match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => Ok(count),
            Err(Errno::EINTR) => Ok(0),
            Err(errno) => Err(errno).doing("waiting for events"),
        }
    }

    /// The token of the event at `index` of the last [`Poller::wait`].
    #[must_use]
    pub fn token(&self, index: usize) -> u64 {
        self.events[index].data()
    }

    /// The whole event at `index` of the last [`Poller::wait`].
    #[must_use]
    pub fn event(&self, index: usize) -> Event {
        let event = &self.events[index];
        let failed = event.events().intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        let end = failed || event.events().intersects(EpollFlags::EPOLLRDHUP);
        Event {
            token: event.data(),
            readable: end || event.events().intersects(EpollFlags::EPOLLIN),
            writable: failed || event.events().intersects(EpollFlags::EPOLLOUT),
            end,
        }
    }
}

/// Readable when there are events, so that another poller can watch it.
impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// Wakes a [`Poller`] from another thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// Creates a waker. The poller must watch it.
    pub fn new() -> Result<Self, SysError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(Arc::new(EventFd::from_flags(flags).doing("making an eventfd")?)))
    }

    /// A waker whose poller is in another process, which has sent a descriptor of it. The descriptor must be from a
    /// process that is trusted: 8 bytes are written to whatever it is, which may block if it is no eventfd.
    #[must_use]
    pub fn adopt(fd: OwnedFd) -> Self {
        // SAFETY: the descriptor is owned here alone, and comes from `new` in this process or in the primary.
        Self(Arc::new(unsafe { EventFd::from_owned_fd(fd) }))
    }

    /// Wakes the poller. Several calls before it waits again count as one.
    pub fn wake(&self) {
        // The only possible error is overflow (2^64 - 2 wake-ups unread), and then it is awake.
        let _full = self.0.write(1);
    }

    /// Clears the wake-ups: called by the poller's thread when it sees the waker's token.
    pub fn clear(&self) {
        let _nothing_there = self.0.read();
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A reserved descriptor, to be released when the process has run out of descriptors.
#[derive(Debug)]
pub struct Reserve(Option<OwnedFd>);

impl Reserve {
    /// Opens the reserved descriptor.
    pub fn new() -> Result<Self, SysError> {
        let mut reserve = Self(None);
        reserve.refill()?;
        Ok(reserve)
    }

    /// Frees the place in the descriptor table. Returns false if it was free already.
    pub fn release(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Opens the reserved descriptor again, if possible.
    pub fn refill(&mut self) -> Result<(), SysError> {
        if self.0.is_none() {
            let file = std::fs::File::open("/dev/null").doing("opening /dev/null as a reserve")?;
            self.0 = Some(file.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_waker_wakes_once_for_many_calls() {
        let mut poller = Poller::new().unwrap();
        let waker = Waker::new().unwrap();
        poller.add(&waker, 7).unwrap();
        assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), 0);
        waker.wake();
        waker.clone().wake();
        assert_eq!(poller.wait(None).unwrap(), 1);
        assert_eq!(poller.token(0), 7);
        waker.clear();
        assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), 0);
    }

    #[test]
    fn a_watched_poller_is_readable_while_it_has_events() {
        let (mut outer, mut inner) = (Poller::new().unwrap(), Poller::new().unwrap());
        let (mut read, mut write) = std::io::pipe().unwrap();
        inner.add(&read, 1).unwrap();
        outer.add(&inner, 2).unwrap();
        assert_eq!(outer.wait(Some(Duration::ZERO)).unwrap(), 0);
        write.write_all(b"x").unwrap();
        for _ in 0..2 {
            assert_eq!((outer.wait(None).unwrap(), outer.token(0)), (1, 2));
            assert_eq!((inner.wait(None).unwrap(), inner.token(0)), (1, 1));
        }
        std::io::Read::read_exact(&mut read, &mut [0]).unwrap();
        assert_eq!(outer.wait(Some(Duration::ZERO)).unwrap(), 0);
    }

    #[test]
    fn a_one_shot_descriptor_is_reported_once() {
        let mut poller = Poller::new().unwrap();
        let (read, mut write) = std::io::pipe().unwrap();
        poller.watch(&read, 1, Interest::ReadableOnce).unwrap();
        for _ in 0..2 {
            write.write_all(b"x").unwrap();
            assert_eq!(poller.wait(None).unwrap(), 1);
            assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), 0);
            poller.change(&read, 1, Interest::ReadableOnce).unwrap();
        }
        poller.change(&read, 1, Interest::Nothing).unwrap();
        assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), 0);
        poller.change(&read, 1, Interest::ReadableOnce).unwrap();
        assert_eq!(poller.wait(None).unwrap(), 1, "it has not been read");
    }

    #[test]
    fn a_removed_descriptor_is_not_reported() {
        let mut poller = Poller::new().unwrap();
        let (read, mut write) = std::io::pipe().unwrap();
        poller.add(&read, 1).unwrap();
        write.write_all(b"x").unwrap();
        assert_eq!(poller.wait(None).unwrap(), 1);
        poller.remove(&read).unwrap();
        assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), 0);
    }
}
