//! The order in which a process reads from its link with the exchange and from the sockets of its pairs.
//!
//! If a process sends a message directly to its partner and then another one through the exchange, the first
//! is in the socket before the second can be read. So when a packet of the exchange arrives, the sockets are
//! emptied first. A partner that keeps sending delays this for no longer than it takes to read one full
//! socket.
//!
//! If the event loop watches every socket, it reports which ones are readable, and the process polls only
//! where the order requires it. Otherwise the process polls whenever it has read everything; before that, it
//! tries the pair from which it has read last, so two processes that take turns find each other's answers
//! without polling.

use std::collections::VecDeque;

use super::pairs::PairId;

/// A limit that is larger than the number of packets in a socket.
pub(super) const MOST: u32 = 1024;

/// The number of packets read from a pair before the next pair gets its turn, if the event loop reports
/// readiness.
const BURST: u32 = 8;

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read a packet of a pair.
    Pair(PairId),
    /// Take the frames received from the exchange.
    Frames,
    /// Read a packet of the exchange.
    Exchange,
    /// Poll for readable sockets.
    Poll,
    /// Wait for the event loop.
    Wait,
}

/// The order of reading: see the module.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The readable pairs, and how many packets to read from each.
    ready: VecDeque<(PairId, u32)>,
    exchange: bool,
    /// Whether frames of a packet of the exchange are still to be processed.
    frames: bool,
    /// Whether the sockets must be polled before the frames are taken.
    must_poll: bool,
    readiness: Readiness,
    /// The pair from which a packet was last read, until a read finds none.
    last: Option<PairId>,
}

/// How a process learns that a socket is readable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Readiness {
    /// It polls.
    #[default]
    Polled,
    /// The event loop reports it.
    Reported,
}

impl Reading {
    pub(super) fn next(&self) -> Step {
        match self.ready.front() {
            _ if self.must_poll => Step::Poll,
            Some((pair, _)) => Step::Pair(*pair),
            None if self.frames => Step::Frames,
            None if self.exchange => Step::Exchange,
            None if self.readiness == Readiness::Reported => Step::Wait,
            None => Step::Poll,
        }
    }

    /// The event loop reports that a pair is readable, or the exchange.
    pub(super) fn on_ready(&mut self, pair: Option<PairId>) {
        self.readiness = Readiness::Reported;
        match pair {
            None => self.exchange = true,
            Some(pair) if self.ready.iter().any(|(it, _)| *it == pair) => {}
            Some(pair) => self.ready.push_back((pair, BURST)),
        }
    }

    /// A turn of the event loop begins, in which something is readable.
    pub(super) fn on_turn(&mut self) {
        if self.readiness == Readiness::Polled && self.ready.is_empty() {
            self.ready.extend(self.last.map(|pair| (pair, 1)));
        }
    }

    /// Whether frames that were read are still to be processed.
    pub(super) fn has_frames(&self) -> bool {
        self.frames
    }

    /// The result of polling: the readable pairs, and whether the exchange is readable. False if nothing is
    /// readable.
    pub(super) fn on_polled(&mut self, pairs: impl IntoIterator<Item = PairId>, exchange: bool) -> bool {
        let most = if self.frames { MOST } else { 1 };
        self.ready = pairs.into_iter().map(|pair| (pair, most)).collect();
        self.exchange = exchange;
        self.must_poll = false;
        self.frames || exchange || !self.ready.is_empty()
    }

    /// A packet of the first pair was read, or none was found.
    pub(super) fn on_read(&mut self, found: bool) {
        let Some((pair, rest)) = self.ready.front_mut() else { return };
        self.last = found.then_some(*pair);
        *rest -= 1;
        if !found || *rest == 0 {
            self.ready.pop_front();
        }
    }

    /// A packet of the exchange was read. With `others`, there are pairs, whose sockets must be polled first.
    pub(super) fn on_packet(&mut self, others: bool) {
        (self.exchange, self.frames, self.must_poll) = (!others, true, others);
    }

    /// No packet of the exchange was found.
    pub(super) fn on_no_packet(&mut self) {
        self.exchange = false;
    }

    /// All frames were processed.
    pub(super) fn on_taken(&mut self) {
        self.frames = false;
    }

    /// A packet of this pair that was held back may be processed now.
    pub(super) fn resume(&mut self, pair: PairId) {
        self.ready.push_back((pair, MOST));
    }

    /// Removes a pair from the readable ones.
    pub(super) fn forget(&mut self, pair: PairId) {
        self.ready.retain(|(it, _)| *it != pair);
        self.last = self.last.filter(|it| *it != pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: PairId = PairId(7);

    #[test]
    fn sockets_are_read_before_frames_of_the_exchange() {
        let mut reading = Reading::default();
        assert_eq!(reading.next(), Step::Poll);
        assert!(!reading.on_polled([], false));
        assert!(reading.on_polled([], true));
        assert_eq!(reading.next(), Step::Exchange);
        reading.on_packet(true);
        assert_eq!(reading.next(), Step::Poll, "the sockets are looked at after the packet has been read");
        assert!(reading.on_polled([PAIR], true));
        for _ in 0..3 {
            assert_eq!(reading.next(), Step::Pair(PAIR));
            reading.on_read(true);
        }
        assert_eq!(reading.next(), Step::Pair(PAIR));
        reading.on_read(false);
        assert_eq!(reading.next(), Step::Frames);
        reading.on_taken();
        assert_eq!(reading.next(), Step::Exchange);
        reading.on_packet(false);
        assert_eq!(reading.next(), Step::Frames, "without pairs nobody looks");
        reading.on_taken();
        assert_eq!(reading.next(), Step::Exchange);
        reading.on_no_packet();
        assert_eq!(reading.next(), Step::Poll);
    }

    #[test]
    fn a_turn_begins_with_the_pair_that_was_read_last() {
        let mut reading = Reading::default();
        reading.on_turn();
        assert_eq!(reading.next(), Step::Poll);
        assert!(reading.on_polled([PAIR], false));
        reading.on_read(true);
        assert_eq!(reading.next(), Step::Poll);
        reading.on_turn();
        assert_eq!(reading.next(), Step::Pair(PAIR));
        reading.on_read(true);
        assert_eq!(reading.next(), Step::Poll, "others have their turn");
        reading.on_turn();
        reading.on_read(false);
        reading.on_turn();
        assert_eq!(reading.next(), Step::Poll, "it has nothing more to say");
        reading.on_polled([PAIR], false);
        reading.on_read(true);
        reading.forget(PAIR);
        reading.on_turn();
        assert_eq!(reading.next(), Step::Poll);
    }

    #[test]
    fn with_reported_readiness_sockets_are_polled_only_for_the_order() {
        let mut reading = Reading::default();
        reading.on_ready(Some(PAIR));
        reading.on_ready(Some(PAIR));
        assert_eq!(reading.next(), Step::Pair(PAIR));
        reading.on_read(true);
        assert_eq!(reading.next(), Step::Pair(PAIR), "there may be more");
        reading.on_read(false);
        assert_eq!(reading.next(), Step::Wait);
        reading.on_ready(None);
        assert_eq!(reading.next(), Step::Exchange);
        reading.on_packet(true);
        assert_eq!(reading.next(), Step::Poll);
        assert!(reading.on_polled([], false));
        assert_eq!(reading.next(), Step::Frames);
        reading.on_taken();
        assert_eq!(reading.next(), Step::Wait);
        reading.on_ready(Some(PAIR));
        let read = (0..).take_while(|_| {
            reading.on_read(true);
            reading.next() == Step::Pair(PAIR)
        });
        assert_eq!(read.count(), BURST as usize - 1);
    }

    #[test]
    fn a_partner_that_keeps_sending_delays_the_exchange_only_for_a_while() {
        let mut reading = Reading::default();
        reading.on_packet(true);
        reading.on_polled([PAIR], false);
        let read = (0..).take_while(|_| {
            reading.on_read(true);
            reading.next() == Step::Pair(PAIR)
        });
        assert_eq!(read.count(), MOST as usize - 1);
        assert_eq!(reading.next(), Step::Frames);
        reading.on_polled([PAIR], false);
        reading.forget(PAIR);
        assert_eq!(reading.next(), Step::Frames);
    }
}
