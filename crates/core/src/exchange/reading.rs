//! The order in which a process reads from its link with the exchange and from the sockets of its pairs.
//!
//! A process that sends a message to a pair and then another one through the exchange has written the first
//! into the socket before the second can be read. So when something has arrived from the exchange, the
//! content of the sockets is reported first. A partner that keeps sending delays this for no longer than it
//! takes to read one full socket.
//!
//! A process whose event loop watches every socket is told which ones are readable, and polls only where the order requires
//! it. Other processes poll whenever they have read everything. Before that they try the pair of which they have read last:
//! two processes that take turns need not poll to find each other's answers.

use std::collections::VecDeque;

use super::pairs::PairId;

/// More packets than the socket of a pair can hold.
pub(super) const MOST: u32 = 1024;

/// How many packets of a pair are read before the next pair has its turn, where the event loop reports readiness.
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
    Look,
    /// Wait until the event loop tells of something.
    Wait,
}

/// The order of reading: see the module.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The readable pairs, and how many packets to read from each.
    ready: VecDeque<(PairId, u32)>,
    exchange: bool,
    /// Whether a packet of the exchange was read whose frames have not been taken.
    frames: bool,
    /// Whether the sockets must be polled before the frames are taken.
    look: bool,
    news: News,
    /// The pair whose packet was read last, until there is none.
    last: Option<PairId>,
}

/// How a process finds out where there is something to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum News {
    /// It looks for itself.
    #[default]
    Looked,
    /// Its event loop tells it.
    Told,
}

impl Reading {
    pub(super) fn next(&self) -> Step {
        match self.ready.front() {
            _ if self.look => Step::Look,
            Some((pair, _)) => Step::Pair(*pair),
            None if self.frames => Step::Frames,
            None if self.exchange => Step::Exchange,
            None if self.news == News::Told => Step::Wait,
            None => Step::Look,
        }
    }

    /// The event loop says that there is something to be read from a pair, or from the exchange.
    pub(super) fn on_ready(&mut self, pair: Option<PairId>) {
        self.news = News::Told;
        match pair {
            None => self.exchange = true,
            Some(pair) if self.ready.iter().any(|(it, _)| *it == pair) => {}
            Some(pair) => self.ready.push_back((pair, BURST)),
        }
    }

    /// A turn of the event loop begins, with something to be read somewhere.
    pub(super) fn on_turn(&mut self) {
        if self.news == News::Looked && self.ready.is_empty() {
            self.ready.extend(self.last.map(|pair| (pair, 1)));
        }
    }

    /// Whether something that has been read waits to be taken.
    pub(super) fn has_frames(&self) -> bool {
        self.frames
    }

    /// The result of polling: the readable pairs, and whether the exchange is readable. False if nothing is
    /// readable.
    pub(super) fn on_looked(&mut self, pairs: impl IntoIterator<Item = PairId>, exchange: bool) -> bool {
        let most = if self.frames { MOST } else { 1 };
        self.ready = pairs.into_iter().map(|pair| (pair, most)).collect();
        self.exchange = exchange;
        self.look = false;
        self.frames || exchange || !self.ready.is_empty()
    }

    /// A packet of the first pair was read, or there was none.
    pub(super) fn on_read(&mut self, found: bool) {
        let Some((pair, rest)) = self.ready.front_mut() else { return };
        self.last = found.then_some(*pair);
        *rest -= 1;
        if !found || *rest == 0 {
            self.ready.pop_front();
        }
    }

    /// A packet of the exchange was read. `others` is whether there are pairs, whose sockets must be polled then.
    pub(super) fn on_packet(&mut self, others: bool) {
        (self.exchange, self.frames, self.look) = (!others, true, others);
    }

    /// There was no packet of the exchange.
    pub(super) fn on_no_packet(&mut self) {
        self.exchange = false;
    }

    /// All frames have been taken.
    pub(super) fn on_taken(&mut self) {
        self.frames = false;
    }

    /// The packet of a pair that was held back is due.
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
    fn what_is_in_a_socket_comes_before_what_has_come_from_the_exchange() {
        let mut reading = Reading::default();
        assert_eq!(reading.next(), Step::Look);
        assert!(!reading.on_looked([], false));
        assert!(reading.on_looked([], true));
        assert_eq!(reading.next(), Step::Exchange);
        reading.on_packet(true);
        assert_eq!(reading.next(), Step::Look, "the sockets are looked at after the packet has been read");
        assert!(reading.on_looked([PAIR], true));
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
        assert_eq!(reading.next(), Step::Look);
    }

    #[test]
    fn a_turn_begins_with_the_pair_that_was_read_last() {
        let mut reading = Reading::default();
        reading.on_turn();
        assert_eq!(reading.next(), Step::Look);
        assert!(reading.on_looked([PAIR], false));
        reading.on_read(true);
        assert_eq!(reading.next(), Step::Look);
        reading.on_turn();
        assert_eq!(reading.next(), Step::Pair(PAIR));
        reading.on_read(true);
        assert_eq!(reading.next(), Step::Look, "others have their turn");
        reading.on_turn();
        reading.on_read(false);
        reading.on_turn();
        assert_eq!(reading.next(), Step::Look, "it has nothing more to say");
        reading.on_looked([PAIR], false);
        reading.on_read(true);
        reading.forget(PAIR);
        reading.on_turn();
        assert_eq!(reading.next(), Step::Look);
    }

    #[test]
    fn who_is_told_looks_only_at_what_may_have_come_before_a_packet_of_the_exchange() {
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
        assert_eq!(reading.next(), Step::Look);
        assert!(reading.on_looked([], false));
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
    fn a_partner_that_goes_on_sending_holds_up_the_exchange_for_a_while() {
        let mut reading = Reading::default();
        reading.on_packet(true);
        reading.on_looked([PAIR], false);
        let read = (0..).take_while(|_| {
            reading.on_read(true);
            reading.next() == Step::Pair(PAIR)
        });
        assert_eq!(read.count(), MOST as usize - 1);
        assert_eq!(reading.next(), Step::Frames);
        reading.on_looked([PAIR], false);
        reading.forget(PAIR);
        assert_eq!(reading.next(), Step::Frames);
    }
}
