//! Waiting for many descriptors on a thread of one's own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::error::{Doing, SysError};

/// How many events one [`Poller::wait`] brings at the most.
const BATCH: usize = 128;

/// What is to be told of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Again and again as long as something is to be read.
    Level,
    /// What is there to be read now, and each time something comes, whether or not it has been read.
    News,
    /// That, and each time there is room again.
    NewsAndRoom,
    /// Once, when something is to be read; then not before it is wanted again.
    Once,
    /// For now.
    Nothing,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Self::Level => EpollFlags::EPOLLIN,
            Self::News => EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET,
            Self::NewsAndRoom => Self::News.flags() | EpollFlags::EPOLLOUT,
            Self::Once => EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT,
            // Even then it would tell of an error or a hang-up again and again.
            Self::Nothing => EpollFlags::EPOLLONESHOT,
        }
    }
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// For whom.
    pub token: u64,
    /// There is something to be read: bytes, the end, or an error.
    pub readable: bool,
    /// There is room, or an error for who writes.
    pub writable: bool,
    /// The other side has ended what it sends, or all: there is an end to be read behind the bytes.
    pub end: bool,
}

/// An epoll instance.
///
/// # Design
/// A descriptor must be taken out with [`Poller::remove`] before it is closed. Closing alone
/// does not suffice: while a child is between clone and exec it holds a copy of every
/// descriptor, the kernel keeps the registration alive, and a stale event would name a number
/// that by then may be something else.
///
/// It need not where news is told and tokens are never used twice: then a stale event finds nobody, and
/// comes only once.
///
/// With thousands of streams in both directions a level would cost a system call for each change of mind about
/// what is wanted. For news a connection is registered once.
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

    /// Watches `fd` for something to read, as [`Interest::Level`]. `token` comes back with its events.
    pub fn add(&self, fd: impl AsFd, token: u64) -> Result<(), SysError> {
        self.watch(fd, token, Interest::Level)
    }

    /// Watches `fd` for what is wanted. What is true already is news, too.
    pub fn watch(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<(), SysError> {
        self.epoll.add(fd, EpollEvent::new(interest.flags(), token)).doing("watching a descriptor")
    }

    /// Changes what is to be told. What is true already is news again.
    pub fn change(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<(), SysError> {
        let mut event = EpollEvent::new(interest.flags(), token);
        self.epoll.modify(fd, &mut event).doing("watching a descriptor for something else")
    }

    /// Stops watching `fd`.
    pub fn remove(&self, fd: impl AsFd) -> Result<(), SysError> {
        self.epoll.delete(fd).doing("no longer watching a descriptor")
    }

    /// Waits until there is something to tell or `timeout` has passed; `None` waits for ever.
    /// Returns how many events there are.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<usize, SysError> {
        let timeout = timeout.map_or(EpollTimeout::NONE, |limit| {
            // Rounded up: waking a moment too early would mean to spin until the deadline.
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

/// Wakes a [`Poller`] from another thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// A waker; the poller watches [`Waker::as_fd`].
    pub fn new() -> Result<Self, SysError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(Arc::new(EventFd::from_flags(flags).doing("making an eventfd")?)))
    }

    /// One whose poller is in another process, which has sent a descriptor of it.
    #[must_use]
    pub fn adopt(fd: OwnedFd) -> Self {
        // SAFETY: the descriptor is ours alone. If it is no eventfd, writing to it is an error that is not looked at.
        Self(Arc::new(unsafe { EventFd::from_owned_fd(fd) }))
    }

    /// Makes the poller's wait return. Several calls before it looks count as one.
    pub fn wake(&self) {
        // Full (2^64 - 2 wakes unread) is the only failure there is, and then it is awake.
        let _full = self.0.write(1);
    }

    /// Takes the wake-ups so far: the poller's thread calls it when it sees the waker's token.
    pub fn clear(&self) {
        let _nothing_there = self.0.read();
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that is put aside, to be given up when the process has run out of them.
#[derive(Debug)]
pub struct Reserve(Option<OwnedFd>);

impl Reserve {
    /// Puts a descriptor aside.
    pub fn new() -> Result<Self, SysError> {
        let mut reserve = Self(None);
        reserve.refill()?;
        Ok(reserve)
    }

    /// Frees the place in the descriptor table. False when it was free already.
    pub fn release(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Puts a descriptor aside again, if the process has one.
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
    fn what_is_watched_once_tells_once() {
        let mut poller = Poller::new().unwrap();
        let (read, mut write) = std::io::pipe().unwrap();
        poller.watch(&read, 1, Interest::Once).unwrap();
        for _ in 0..2 {
            write.write_all(b"x").unwrap();
            assert_eq!(poller.wait(None).unwrap(), 1);
            assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), 0);
            poller.change(&read, 1, Interest::Once).unwrap();
        }
        poller.change(&read, 1, Interest::Nothing).unwrap();
        assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), 0);
        poller.change(&read, 1, Interest::Once).unwrap();
        assert_eq!(poller.wait(None).unwrap(), 1, "it has not been read");
    }

    #[test]
    fn a_removed_descriptor_is_silent() {
        let mut poller = Poller::new().unwrap();
        let (read, mut write) = std::io::pipe().unwrap();
        poller.add(&read, 1).unwrap();
        write.write_all(b"x").unwrap();
        assert_eq!(poller.wait(None).unwrap(), 1);
        poller.remove(&read).unwrap();
        assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), 0);
    }
}
