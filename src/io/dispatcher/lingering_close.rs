//! Connections that have been answered in the workers' stead and are about to close.
//!
//! A socket that closes with something unread in it is reset, and the reset may overtake the answer. So what
//! the client still sends is read and forgotten until it closes its side, for a limited time, by a limited number.

use std::collections::VecDeque;
use std::time::Duration;

use rcluster_sys::client::{read_to_the_end, send_last};
use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::Poller;

/// How long a client has for the answer.
const GRACE: Duration = Duration::from_secs(1);

/// How many may be on their way out; the oldest makes room.
const LIMIT: usize = 256;

struct Leaving {
    number: u32,
    until: Duration,
    connection: Descriptor,
}

/// See the module.
#[derive(Default)]
pub(super) struct LingeringCloses {
    /// Oldest first.
    leaving: VecDeque<Leaving>,
    next: u32,
}

impl LingeringCloses {
    /// Answers a client. `token` packs the number by which its events are known.
    pub(super) fn answer(
        &mut self,
        connection: Descriptor,
        answer: &[u8],
        now: Duration,
        poller: &Poller,
        token: impl Fn(u32) -> u64,
    ) {
        // A client that has gone, or has no room for a few bytes, is not waited for.
        if !send_last(&connection, answer) || read_to_the_end(&connection) {
            return;
        }
        if self.leaving.len() == LIMIT {
            self.close(0, poller);
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        // Without room for it in the poller it closes at once, and the answer may be lost.
        if poller.add(&connection, token(number)).is_ok() {
            self.leaving.push_back(Leaving { number, until: now + GRACE, connection });
        }
    }

    /// The client has sent something, or has closed its side.
    pub(super) fn on_event(&mut self, number: u32, poller: &Poller) {
        match self.leaving.iter().position(|leaving| leaving.number == number) {
            Some(index) if read_to_the_end(&self.leaving[index].connection) => self.close(index, poller),
            _ => {}
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.leaving.front().map(|leaving| leaving.until)
    }

    /// Closes those whose time is up.
    pub(super) fn expire(&mut self, now: Duration, poller: &Poller) {
        while self.leaving.front().is_some_and(|leaving| leaving.until <= now) {
            self.close(0, poller);
        }
    }

    fn close(&mut self, index: usize, poller: &Poller) {
        if let Some(leaving) = self.leaving.remove(index) {
            // It was added, so that nothing can go wrong.
            let _ = poller.remove(&leaving.connection);
        }
    }
}
