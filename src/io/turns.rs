//! The event loop of a native thread on epoll, shared by the dispatcher and the forwarder.

use std::time::{Duration, Instant};

use rcluster_sys::epoll::{Event, Poller, Waker};
use rcluster_sys::error::SysError;

/// A poller, and the time of its last return.
pub(super) struct Turns {
    poller: Poller,
    start: Instant,
    now: Duration,
}

impl Turns {
    /// `token` identifies `waker`.
    pub(super) fn new(waker: &Waker, token: u64) -> Result<Self, SysError> {
        let poller = Poller::new()?;
        poller.add(waker, token)?;
        Ok(Self { poller, start: Instant::now(), now: Duration::ZERO })
    }

    /// Waits for events, at most until `until` (since the start), and returns their number.
    pub(super) fn wait(&mut self, until: Option<Duration>) -> Result<usize, SysError> {
        let timeout = until.map(|until| until.saturating_sub(self.start.elapsed()));
        let ready = self.poller.wait(timeout)?;
        self.now = self.start.elapsed();
        Ok(ready)
    }

    pub(super) fn event(&self, index: usize) -> Event {
        self.poller.event(index)
    }

    pub(super) fn token(&self, index: usize) -> u64 {
        self.poller.token(index)
    }

    pub(super) fn poller(&self) -> &Poller {
        &self.poller
    }

    /// When the last wait returned, since the start.
    pub(super) fn now(&self) -> Duration {
        self.now
    }
}
