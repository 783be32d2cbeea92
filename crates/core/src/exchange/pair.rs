//! One pair, from the side of a process: its socket, its marks, and what is under way on it.

use std::collections::{BTreeMap, BTreeSet};

use super::frame::Head;
use super::{CallId, RequestId};

/// The largest packet of a pair, in bytes.
const MAX_PACKET: usize = 16 << 10;

/// The pair: see the module.
#[derive(Debug)]
pub(super) struct Pair {
    /// The other process.
    pub(super) worker: u32,
    /// The place at which the number of unfinished requests is published.
    pub(super) place: usize,
    /// Whether messages may be sent. False if its socket has ended, or if the other process handles names on
    /// other links too.
    is_usable: bool,
    /// Whether nothing was sent through the exchange since the last mark.
    is_clean: bool,
    /// The last mark sent, and the last mark received.
    mark: u32,
    passed: u32,
    /// Unanswered requests.
    pub(super) requests: BTreeSet<RequestId>,
    /// Unanswered calls, by the number that the other process uses.
    pub(super) calls: BTreeMap<u64, CallId>,
}

impl Pair {
    /// A pair on which nothing may be sent before the first mark.
    pub(super) fn new(worker: u32, place: usize) -> Self {
        Self {
            worker,
            place,
            is_usable: true,
            is_clean: false,
            mark: 0,
            passed: 0,
            requests: BTreeSet::new(),
            calls: BTreeMap::new(),
        }
    }

    /// Whether a message can be sent on the socket, after all that was sent before.
    pub(super) fn takes(&self, name: &[u8], data: &[u8]) -> bool {
        self.is_usable && self.is_clean && Head::LENGTH + name.len() + data.len() <= MAX_PACKET
    }

    pub(super) fn is_clean(&self) -> bool {
        self.is_clean
    }

    /// The last mark sent, which messages on the socket carry.
    pub(super) fn mark(&self) -> u32 {
        self.mark
    }

    /// Nothing may be sent any more.
    pub(super) fn retire(&mut self) {
        self.is_usable = false;
    }

    /// A message went through the exchange, which may be for the other process. No mark follows.
    pub(super) fn on_relayed(&mut self) {
        self.is_clean = false;
    }

    /// A message for the other process went through the exchange. Returns the mark that must follow, after
    /// which the socket can be used again; `None` if the pair is not usable.
    pub(super) fn next_mark(&mut self) -> Option<u32> {
        if !self.is_usable {
            return None;
        }
        let next = self.mark.checked_add(1);
        self.is_clean = next.is_some();
        self.mark = next?;
        next
    }

    /// A mark of the other process has arrived.
    pub(super) fn on_mark(&mut self, number: u64) {
        self.passed = self.passed.max(u32::try_from(number).unwrap_or(u32::MAX));
    }

    /// Whether everything sent before this mark has arrived.
    pub(super) fn is_due(&self, mark: u32) -> bool {
        mark <= self.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_sent_on_the_socket_once_a_mark_has_followed_those_through_the_exchange() {
        let mut pair = Pair::new(3, 0);
        assert!(!pair.takes(b"name", b"data"));
        assert_eq!((pair.next_mark(), pair.mark()), (Some(1), 1));
        assert!(pair.is_clean() && pair.takes(b"name", b"data"));
        pair.on_relayed();
        assert!(!pair.takes(b"name", b"data"));
        assert_eq!(pair.next_mark(), Some(2));
        pair.retire();
        assert!(!pair.takes(b"name", b"data"));
        assert_eq!((pair.next_mark(), pair.mark()), (None, 2));
    }

    #[test]
    fn a_message_must_fit_into_a_packet() {
        let mut pair = Pair::new(3, 0);
        pair.next_mark();
        let data = vec![0; MAX_PACKET - Head::LENGTH];
        assert!(pair.takes(b"", &data) && !pair.takes(b"n", &data));
    }

    #[test]
    fn when_the_marks_are_used_up_everything_goes_through_the_exchange() {
        let mut pair = Pair { mark: u32::MAX - 1, ..Pair::new(3, 0) };
        assert_eq!(pair.next_mark(), Some(u32::MAX));
        assert_eq!(pair.next_mark(), None);
        assert!(!pair.takes(b"", b""));
    }

    #[test]
    fn a_message_is_due_when_its_mark_has_arrived() {
        let mut pair = Pair::new(3, 0);
        assert!(pair.is_due(0) && !pair.is_due(1));
        pair.on_mark(2);
        pair.on_mark(1);
        assert!(pair.is_due(2) && !pair.is_due(3));
        pair.on_mark(u64::MAX);
        assert!(pair.is_due(u32::MAX));
    }
}
