//! The system calls that a process needs for the exchange.

use super::pairs::PairId;

/// The result of putting a request into the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The request is in the ring.
    Done,
    /// There is no room. [`Kind::Room`] reports when there is.
    Full,
    /// The request is longer than the ring accepts.
    TooLong,
}

/// The result of reading a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A packet of this length in bytes.
    Packet(usize),
    /// No packet has arrived.
    Nothing,
    /// The end of the socket.
    End,
}

/// The result of sending a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The packet was sent.
    Done,
    /// There is no room.
    Full,
    /// The other end is closed.
    End,
}

/// The link with the exchange, and the sockets of pairs.
pub trait Transport {
    /// Puts a request into the ring.
    fn push(&mut self, request: &[u64]) -> Pushed;

    /// Reads a packet of the exchange.
    fn receive(&mut self, packet: &mut [u8]) -> Found;

    /// Sends a packet to a pair.
    fn send_to(&mut self, pair: PairId, packet: &[u8]) -> Put;

    /// Reads a packet of a pair. A packet that does not fit counts as the end.
    fn receive_from(&mut self, pair: PairId, packet: &mut [u8]) -> Found;

    /// Polls the sockets: collects the readable pairs, and returns whether the exchange is readable.
    fn poll(&mut self, pairs: &mut Vec<PairId>) -> bool;

    /// Takes the socket that came with the last packet of the exchange for a pair. False if there was none.
    fn adopt(&mut self, pair: PairId) -> bool;

    /// Sets whether to poll a pair.
    fn watch(&mut self, pair: PairId, watch: bool);

    /// Closes the socket of a pair, if there is one.
    fn close(&mut self, pair: PairId);

    /// Publishes a number: of a pair's unfinished requests, or of declarations.
    fn publish(&mut self, place: usize, number: usize);
}
