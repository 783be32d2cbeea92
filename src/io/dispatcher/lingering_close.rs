//! Lingering closes: connections that have been answered on behalf of the workers and are about to close.
//!
//! Closing a socket with unread data resets the connection, and the reset may overtake the answer. So the
//! client's data is read and discarded until the client closes its side, for a limited time and a limited
//! number of connections.

use std::collections::VecDeque;
use std::time::Duration;

use super::token::Token;
use rcluster_sys::client::{read_to_the_end, send_last};
use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::Poller;

/// How long a client has for reading the answer.
const GRACE: Duration = Duration::from_secs(1);

/// The maximum number of lingering connections; a new one closes the oldest.
const LIMIT: usize = 256;

struct Lingering {
    number: u32,
    until: Duration,
    connection: Descriptor,
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct LingeringCloses {
    /// Oldest first.
    lingering: VecDeque<Lingering>,
    next: u32,
}

impl LingeringCloses {
    /// Answers a client.
    pub(super) fn answer(&mut self, connection: Descriptor, answer: &[u8], now: Duration, poller: &Poller) {
        // A client that is gone, or has no room for a few bytes, is not waited for.
        if !send_last(&connection, answer) || read_to_the_end(&connection) {
            return;
        }
        if self.lingering.len() == LIMIT {
            self.close(0, poller);
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        // If the poller cannot add it, it closes at once, and the answer may be lost.
        if poller.add(&connection, Token::Lingering(number).pack()).is_ok() {
            self.lingering.push_back(Lingering { number, until: now + GRACE, connection });
        }
    }

    /// The client has sent something, or has closed its side.
    pub(super) fn on_event(&mut self, number: u32, poller: &Poller) {
        match self.lingering.iter().position(|it| it.number == number) {
            Some(index) if read_to_the_end(&self.lingering[index].connection) => self.close(index, poller),
            _ => {}
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.lingering.front().map(|it| it.until)
    }

    /// Closes the connections whose time is up.
    pub(super) fn expire(&mut self, now: Duration, poller: &Poller) {
        while self.lingering.front().is_some_and(|it| it.until <= now) {
            self.close(0, poller);
        }
    }

    fn close(&mut self, index: usize, poller: &Poller) {
        if let Some(it) = self.lingering.remove(index) {
            // It was added, so this cannot fail.
            let _ = poller.remove(&it.connection);
        }
    }
}
