//! Requests for which the ring to the exchange has no room.

use std::collections::VecDeque;

use super::MAX_QUEUED;
use super::transport::Pushed;
use super::wire::{Ask, encode};

/// Replies up to this many bytes are never refused, so that a handler can always report why there is no other
/// reply.
const SHORT: usize = 1024;

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The backlog on this side is full.
    #[error("too many messages are queued")]
    Busy,
    /// The message is too long.
    #[error("a message is too long")]
    TooLong,
}

/// The requests, in order.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    queue: VecDeque<Vec<u64>>,
    words: usize,
}

impl Backlog {
    /// Whether so much waits that this message is refused.
    pub(super) fn refuses(&self, ask: &Ask<'_>) -> bool {
        self.words * 8 > MAX_QUEUED && may_be_refused(ask)
    }

    /// Sends a request by `push`, or adds it if others wait or there is no room.
    pub(super) fn send(
        &mut self,
        ask: &Ask<'_>,
        push: impl FnOnce(&[u64]) -> Pushed,
    ) -> Result<(), SendError> {
        let mut words = Vec::new();
        encode(ask, &mut words);
        if self.queue.is_empty() {
            match push(&words) {
                Pushed::Done => return Ok(()),
                Pushed::TooLong => return Err(SendError::TooLong),
                Pushed::Full => {}
            }
        }
        self.words += words.len();
        self.queue.push_back(words);
        Ok(())
    }

    /// There is room again: sends what waits, as far as it fits.
    pub(super) fn flush(&mut self, mut push: impl FnMut(&[u64]) -> Pushed) {
        while let Some(words) = self.queue.front() {
            if push(words) == Pushed::Full {
                return;
            }
            self.words -= words.len();
            self.queue.pop_front();
        }
    }
}

/// Whether a full backlog refuses this message. All others are short, and their number is limited by that of
/// names and calls.
fn may_be_refused(ask: &Ask<'_>) -> bool {
    match ask {
        Ask::Post { .. } | Ask::Request { .. } | Ask::Notify { .. } => true,
        Ask::Reply { data, .. } => data.len() > SHORT,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::frame::Status;
    use crate::exchange::{CallId, Target};

    fn notice(data: &[u8]) -> Ask<'_> {
        Ask::Notify { target: Target::All, name: b"name", data }
    }

    fn words(ask: &Ask<'_>) -> Vec<u64> {
        let mut words = Vec::new();
        encode(ask, &mut words);
        words
    }

    #[test]
    fn waiting_requests_are_sent_first() {
        let mut backlog = Backlog::default();
        backlog.send(&notice(b"a"), |_| Pushed::Full).unwrap();
        backlog.send(&notice(b"b"), |_| panic!("it would overtake the other")).unwrap();
        let mut sent = Vec::new();
        backlog.flush(|words| {
            sent.push(words.to_vec());
            if sent.len() == 2 { Pushed::Full } else { Pushed::Done }
        });
        backlog.flush(|words| {
            sent.push(words.to_vec());
            Pushed::Done
        });
        let (a, b) = (words(&notice(b"a")), words(&notice(b"b")));
        assert_eq!(sent, [a, b.clone(), b], "what did not fit is tried again");
        backlog.send(&notice(b"c"), |_| Pushed::Done).unwrap();
        backlog.flush(|_| panic!("nothing waits"));
    }

    #[test]
    fn a_message_that_is_too_long_does_not_wait() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.send(&notice(b"a"), |_| Pushed::TooLong), Err(SendError::TooLong));
        backlog.flush(|_| panic!("nothing waits"));
    }

    #[test]
    fn a_full_backlog_refuses_messages_but_no_short_reply_until_there_is_room_again() {
        let mut backlog = Backlog::default();
        let piece = vec![0; 1 << 20];
        let mut count = 0;
        while !backlog.refuses(&notice(b"a")) {
            backlog.send(&notice(&piece), |_| Pushed::Full).unwrap();
            count += 1;
        }
        assert!(count * piece.len() >= MAX_QUEUED - piece.len(), "{count}");
        let reply = |data| Ask::Reply { call: CallId(1), status: Status::Error, data };
        assert!(backlog.refuses(&reply(&piece)) && !backlog.refuses(&reply(&piece[..SHORT])));
        backlog.flush(|_| Pushed::Done);
        assert!(!backlog.refuses(&reply(&piece)));
    }
}
