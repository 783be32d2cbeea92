//! The connection to the server: its name, and when to connect again. Times are in ms.

use super::payload::EPOCH;
use crate::random::Random;

/// The shortest and the longest backoff between attempts to connect.
const FIRST_BACKOFF: u64 = 25;
const LAST_BACKOFF: u64 = 500;

/// The longest backoff while the server answers but refuses.
const REFUSED_BACKOFF: u64 = 2000;

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    /// The prefix of the names of this machine's connections.
    writer: String,
    opened: u64,
    /// It is open, or being opened.
    is_open: bool,
    /// The earliest time of the next attempt to connect.
    next_attempt: u64,
    /// The attempts that have failed since the last one that succeeded.
    failed: u32,
    random: Random,
}

impl Connection {
    /// Creates one that is due at once.
    pub(super) fn new(writer: String, seed: u64) -> Self {
        Self { writer, opened: 0, is_open: false, next_attempt: 0, failed: 0, random: Random::new(seed) }
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// The name of this connection, which no other has.
    pub(super) fn name(&self) -> String {
        format!("{}-{}", self.writer, self.opened)
    }

    /// When to connect; `None` if it is open.
    pub(super) fn next_attempt(&self) -> Option<u64> {
        (!self.is_open).then_some(self.next_attempt)
    }

    /// Begins an attempt, and returns an epoch for a store that does not exist yet.
    pub(super) fn open(&mut self) -> Vec<u8> {
        self.is_open = true;
        self.opened += 1;
        // Printable, so that an operator can read it on the server.
        (0..EPOCH).map(|_| b"0123456789abcdefghijklmnopqrstuv"[self.random.below(32)]).collect()
    }

    /// The connection works: the backoff starts again with the next failure.
    pub(super) fn on_success(&mut self) {
        self.failed = 0;
    }

    /// Closes it. The next attempt is due at once, unless [`Self::back_off`] follows.
    pub(super) fn close(&mut self, now: u64) {
        self.is_open = false;
        self.next_attempt = now;
    }

    /// Delays the next attempt after a failure. The first attempt is immediate: the server may just have closed an idle
    /// connection.
    pub(super) fn back_off(&mut self, is_refused: bool, now: u64) {
        if self.failed > 0 {
            let longest = if is_refused { REFUSED_BACKOFF } else { LAST_BACKOFF };
            let backoff = (FIRST_BACKOFF << self.failed.min(16)).min(longest);
            let spread = u32::try_from(backoff / 4).unwrap_or(0);
            self.next_attempt = now + backoff - u64::from(self.random.number(0, spread));
        }
        self.failed += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails `times` times, and returns the last wait.
    fn wait(connection: &mut Connection, times: u32, is_refused: bool) -> u64 {
        let now = 1_000_000;
        for _ in 0..times {
            connection.open();
            connection.close(now);
            connection.back_off(is_refused, now);
        }
        connection.next_attempt().unwrap() - now
    }

    #[test]
    fn each_connection_has_another_name() {
        let mut connection = Connection::new("m".into(), 1);
        connection.open();
        assert_eq!(connection.name(), "m-1");
        connection.close(5);
        connection.open();
        assert_eq!(connection.name(), "m-2");
    }

    #[test]
    fn an_epoch_is_printable_and_random() {
        let mut connection = Connection::new("m".into(), 1);
        let (one, other) = (connection.open(), connection.open());
        assert_eq!((one.len(), other.len()), (EPOCH, EPOCH));
        assert!(one.iter().all(u8::is_ascii_alphanumeric));
        assert_ne!(one, other);
    }

    #[test]
    fn the_first_attempt_after_a_failure_is_immediate_and_the_next_ones_wait_ever_longer() {
        let mut connection = Connection::new("m".into(), 1);
        assert_eq!(connection.next_attempt(), Some(0));
        assert_eq!(wait(&mut connection, 1, false), 0);
        let second = wait(&mut connection, 1, false);
        assert!((38..=50).contains(&second), "{second}");
        let last = wait(&mut connection, 40, false);
        assert!((LAST_BACKOFF * 3 / 4..=LAST_BACKOFF).contains(&last), "{last}");
        let refused = wait(&mut connection, 1, true);
        assert!((REFUSED_BACKOFF * 3 / 4..=REFUSED_BACKOFF).contains(&refused), "{refused}");
        connection.on_success();
        assert_eq!(wait(&mut connection, 1, false), 0);
    }

    #[test]
    fn an_open_connection_needs_no_attempt() {
        let mut connection = Connection::new("m".into(), 1);
        connection.open();
        assert!(connection.is_open());
        assert_eq!(connection.next_attempt(), None);
        connection.close(7);
        assert_eq!(connection.next_attempt(), Some(7));
    }
}
