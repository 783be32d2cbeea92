//! What all connections share: the poller, the clock, the buffer, the pipes, and the event callback.

use std::time::Duration;

use super::ForwarderEvent;
use super::token::Token;
use crate::io::turns::Turns;
use rcluster_core::warning_limit::WarningLimit;
use rcluster_sys::epoll::{Event, Poller, Waker};
use rcluster_sys::error::SysError;
use rcluster_sys::headroom::room_for_clients;
use rcluster_sys::stream::Pipe;

/// The maximum size of one read when bytes are copied: everything that a Unix socket holds, so that its
/// writer is woken once.
const BUFFER: usize = 256 * 1024;

/// The capacity of a pipe.
const PIPE: usize = 256 * 1024;

/// The maximum number of unused pipes that are kept.
const SPARE_PIPES: usize = 16;

pub(super) struct Tools {
    turns: Turns,
    buffer: Box<[u8]>,
    pipes: Vec<Pipe>,
    /// Creating a pipe has failed: bytes are copied until this time.
    no_pipes_until: Duration,
    notify: Box<dyn Fn(ForwarderEvent) + Send>,
    exhaustion: WarningLimit,
}

impl Tools {
    pub(super) fn new(waker: &Waker, notify: Box<dyn Fn(ForwarderEvent) + Send>) -> Result<Self, SysError> {
        Ok(Self {
            turns: Turns::new(waker, Token::Waker.pack())?,
            buffer: vec![0; BUFFER].into(),
            pipes: Vec::new(),
            no_pipes_until: Duration::ZERO,
            notify,
            exhaustion: WarningLimit::default(),
        })
    }

    /// Waits for events, at most until `until`, and returns their number.
    pub(super) fn wait(&mut self, until: Option<Duration>) -> Result<usize, SysError> {
        self.turns.wait(until)
    }

    pub(super) fn event(&self, index: usize) -> Event {
        self.turns.event(index)
    }

    pub(super) fn poller(&self) -> &Poller {
        self.turns.poller()
    }

    /// When the last wait returned.
    pub(super) fn now(&self) -> Duration {
        self.turns.now()
    }

    /// A scratch buffer whose content is only valid within one call.
    pub(super) fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    pub(super) fn tell(&self, event: ForwarderEvent) {
        (self.notify)(event);
    }

    /// Warns that the process or the system is short of a resource, unless it has done so recently.
    pub(super) fn warn(&mut self, error: SysError) {
        if self.exhaustion.is_due(self.now()) {
            self.tell(ForwarderEvent::Exhausted(error));
        }
    }

    /// `None` if no pipe can be created: copying works as well, but is slower.
    pub(super) fn take_pipe(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.pipes.pop() {
            return Some(pipe);
        }
        if self.now() < self.no_pipes_until {
            return None;
        }
        let pipe = room_for_clients(2).and_then(|()| Pipe::new(PIPE)).ok();
        if pipe.is_none() {
            self.no_pipes_until = self.now() + Duration::from_secs(1);
        }
        pipe
    }

    /// Keeps a pipe for later use. It must be empty.
    pub(super) fn keep_pipe(&mut self, pipe: Pipe) {
        if self.pipes.len() < SPARE_PIPES {
            self.pipes.push(pipe);
        }
    }
}
