//! Waiting for many connections that are read and written until there is no more, by edges.
//!
//! [`Poller`](super::epoll::Poller) tells again and again that there is something to be read. With
//! thousands of streams in both directions that costs a system call for each change of mind about what
//! is wanted. Here every connection is registered once, and news comes once.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::error::{Doing, SysError};

/// How many events one [`Edges::wait`] brings at the most.
const BATCH: usize = 256;

/// What is to be told of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Each time something to read has come.
    News,
    /// That, and each time there is room again.
    NewsAndRoom,
    /// Again and again as long as something is to be read, as for a listening socket.
    Level,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Self::News => EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET,
            Self::NewsAndRoom => Self::News.flags() | EpollFlags::EPOLLOUT,
            Self::Level => EpollFlags::EPOLLIN,
        }
    }
}

/// One piece of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// For whom.
    pub token: u64,
    /// There is something to be read: bytes, the end, or an error.
    pub readable: bool,
    /// There is room, or an error for who writes.
    pub writable: bool,
    /// The other side has ended what it sends, or all: there is an end to be read behind the bytes.
    pub end: bool,
}

/// An epoll instance for edges.
///
/// # Design
/// Who closes a descriptor need not take it out first. While a child is between clone and exec it holds
/// a copy, and stale events may come; but tokens are never used twice here, so they find nobody, and an
/// edge comes only once, so they do not spin.
#[derive(Debug)]
pub struct Edges {
    epoll: Epoll,
    events: [EpollEvent; BATCH],
}

impl Edges {
    /// Watches nothing yet.
    pub fn new() -> Result<Self, SysError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).doing("making an epoll instance")?;
        Ok(Self { epoll, events: [EpollEvent::empty(); BATCH] })
    }

    /// Watches a descriptor. What is true already is news, too.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<(), SysError> {
        self.epoll.add(fd, EpollEvent::new(interest.flags(), token)).doing("watching a connection")
    }

    /// Changes what is to be told. What is true already is news again.
    pub fn change(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<(), SysError> {
        let mut event = EpollEvent::new(interest.flags(), token);
        self.epoll.modify(fd, &mut event).doing("watching a connection")
    }

    /// Stops watching one that stays open.
    pub fn remove(&self, fd: impl AsFd) -> Result<(), SysError> {
        self.epoll.delete(fd).doing("no longer watching a connection")
    }

    /// Waits for news or until `timeout` has passed; `None` waits for ever. Returns how much there is.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<usize, SysError> {
        let timeout = timeout.map_or(EpollTimeout::NONE, |limit| {
            // Rounded up: waking a moment too early would mean to spin until the deadline.
            let millis = limit.as_nanos().div_ceil(1_000_000);
            EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
        });
        match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => Ok(count),
            Err(Errno::EINTR) => Ok(0),
            Err(errno) => Err(errno).doing("waiting for news"),
        }
    }

    /// The news at `index` of the last [`Edges::wait`].
    #[must_use]
    pub fn edge(&self, index: usize) -> Edge {
        let event = &self.events[index];
        let failed = event.events().intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        let end = failed || event.events().intersects(EpollFlags::EPOLLRDHUP);
        Edge {
            token: event.data(),
            readable: end || event.events().intersects(EpollFlags::EPOLLIN),
            writable: failed || event.events().intersects(EpollFlags::EPOLLOUT),
            end,
        }
    }
}
