//! What all parts of the dispatcher's thread use: the poller, the clock, the event callback, and the state of
//! shortages.

use std::time::Duration;

use super::DispatcherEvent;
use super::token::Token;
use crate::io::turns::Turns;
use rcluster_core::shortage::Shortage;
use rcluster_sys::epoll::{Poller, Reserve, Waker};
use rcluster_sys::error::SysError;

pub(super) struct Tools {
    turns: Turns,
    notify: Box<dyn Fn(DispatcherEvent) + Send>,
    shortage: Shortage,
    reserve: Reserve,
}

impl Tools {
    pub(super) fn new(waker: &Waker, notify: Box<dyn Fn(DispatcherEvent) + Send>) -> Result<Self, SysError> {
        Ok(Self {
            turns: Turns::new(waker, Token::Waker.pack())?,
            notify,
            shortage: Shortage::default(),
            reserve: Reserve::new()?,
        })
    }

    /// Waits for events, at most until `until`, and returns their number.
    pub(super) fn wait(&mut self, until: Option<Duration>) -> Result<usize, SysError> {
        self.turns.wait(until)
    }

    /// The meaning of the event with this index.
    pub(super) fn event(&self, index: usize) -> Token {
        Token::unpack(self.turns.token(index))
    }

    /// When the last wait returned.
    pub(super) fn now(&self) -> Duration {
        self.turns.now()
    }

    pub(super) fn poller(&self) -> &Poller {
        self.turns.poller()
    }

    pub(super) fn tell(&self, event: DispatcherEvent) {
        (self.notify)(event);
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.shortage.next_deadline()
    }

    /// Stops everything that yields descriptors, for a while.
    pub(super) fn pause(&mut self) {
        self.shortage.pause(self.now());
    }

    pub(super) fn is_paused(&self) -> bool {
        self.shortage.is_paused()
    }

    /// Whether a pause has just ended.
    pub(super) fn has_pause_ended(&mut self) -> bool {
        let ended = self.shortage.has_pause_ended(self.now());
        if ended {
            // Without a reserve the dispatcher works as before, but is not helped in the next shortage.
            let _ = self.reserve.refill();
        }
        ended
    }

    /// Accepts no clients for a while, or until [`Tools::release_clients`].
    pub(super) fn hold_clients(&mut self) {
        self.shortage.hold(self.now());
    }

    /// Whether clients may be accepted.
    pub(super) fn admits_clients(&self) -> bool {
        self.shortage.admits_clients()
    }

    /// Returns false if clients were not held.
    pub(super) fn release_clients(&mut self) -> bool {
        self.shortage.release()
    }

    /// Whether the time for which clients were held has just ended.
    pub(super) fn has_hold_ended(&mut self) -> bool {
        self.shortage.has_hold_ended(self.now())
    }

    /// Warns that clients must wait for a resource that the process or the system is short of, unless it has
    /// done so recently.
    pub(super) fn warn(&mut self, error: SysError) {
        if self.shortage.is_warning_due(self.now()) {
            self.tell(DispatcherEvent::Exhausted(error));
        }
    }

    /// Warns that this user has too many descriptors in flight, unless it has done so recently.
    pub(super) fn warn_of_jam(&mut self) {
        if self.shortage.is_jam_warning_due(self.now()) {
            self.tell(DispatcherEvent::Jammed);
        }
    }

    /// An operation for one listener or one worker has failed for lack of memory. The others continue, and it
    /// is retried after a while.
    pub(super) fn try_later(&mut self, error: SysError) {
        self.warn(error);
        self.retry_later();
    }

    pub(super) fn retry_later(&mut self) {
        self.shortage.retry_later(self.now());
    }

    /// Whether failed operations must be retried now.
    pub(super) fn is_retry_due(&mut self) -> bool {
        self.shortage.is_retry_due(self.now())
    }

    /// Releases the reserved descriptor. Returns false if there is none.
    pub(super) fn release_reserve(&mut self) -> bool {
        self.reserve.release()
    }

    /// Returns false if there is no descriptor for a reserve.
    pub(super) fn refill_reserve(&mut self) -> bool {
        self.reserve.refill().is_ok()
    }
}
