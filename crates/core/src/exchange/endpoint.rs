//! The process' side of the exchange: the path of each message, and the order of reading.
//!
//! All system calls are behind [`Transport`], so that a simulation can replace them.

use std::collections::BTreeMap;

use super::backlog::Backlog;
pub use super::backlog::SendError;
use super::consequence::Consequence;
use super::declared::Declared;
use super::direct::{Direct, Received, Way};
use super::frame::{Assembler, Frame, InvalidFrame, Kind, Status};
use super::pairs::PairId;
use super::reading::{MOST, Reading, Step};
pub use super::transport::{Found, Pushed, Put, Transport};
use super::wire::Ask;
use super::{CallId, RequestId};

/// The number of packets read before other events of the event loop get their turn.
const TURN: u32 = 32;

/// The largest packet, in bytes. The buffer of a socket holds several of them.
pub const PACKET: usize = 32 << 10;

/// The result of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<T> {
    /// Nothing has arrived.
    Nothing,
    /// A frame.
    Frame(T),
    /// The primary is gone, or has cut off this process.
    End,
}

/// The endpoint: see the module.
#[derive(Debug)]
pub struct Endpoint {
    direct: Direct,
    reading: Reading,
    assembler: Assembler,
    backlog: Backlog,
    declared: Declared,
    packet: Vec<u8>,
    /// The buffer for a packet to be sent.
    outgoing: Vec<u8>,
    /// Packets that carry a mark which has not arrived. Nothing else is read from these pairs until then.
    held: BTreeMap<PairId, Vec<u8>>,
    /// A pair that has ended, the status of its requests, and how many of its packets are read first.
    ending: Option<(PairId, u8, u32)>,
    /// How many packets may still be read in this turn.
    turn: u32,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            direct: Direct::default(),
            reading: Reading::default(),
            assembler: Assembler::default(),
            backlog: Backlog::default(),
            declared: Declared::default(),
            packet: vec![0; PACKET],
            outgoing: Vec::new(),
            held: BTreeMap::new(),
            ending: None,
            turn: TURN,
        }
    }
}

impl Endpoint {
    /// Sends a message.
    ///
    /// # Errors
    /// The backlog is full, or the message is too long. Then nothing is sent.
    pub fn send(&mut self, transport: &mut impl Transport, ask: &Ask<'_>) -> Result<(), SendError> {
        match self.direct.way(ask) {
            Way::Nowhere => return Ok(()),
            Way::Pair(pair) => {
                if self.send_to(transport, pair, ask) {
                    return Ok(());
                }
            }
            Way::Exchange => {}
        }
        if self.backlog.refuses(ask) {
            return Err(SendError::Busy);
        }
        self.relay(transport, &self.direct.by_exchange(*ask))?;
        if let Some(mark) = self.direct.on_relayed(ask) {
            // A mark is short, so it is never refused.
            let _never_refused = self.relay(transport, &mark);
        }
        Ok(())
    }

    /// Sends on the socket of the pair. False if that was not possible.
    fn send_to(&mut self, transport: &mut impl Transport, pair: PairId, ask: &Ask<'_>) -> bool {
        self.outgoing.clear();
        self.direct.encode(pair, ask, &mut self.outgoing);
        match transport.send_to(pair, &self.outgoing) {
            Put::Done => {
                self.direct.on_sent(pair, ask);
                self.publish(transport, pair);
                true
            }
            Put::Full => false,
            Put::End => {
                self.give_up(transport, pair);
                false
            }
        }
    }

    fn relay(&mut self, transport: &mut impl Transport, ask: &Ask<'_>) -> Result<(), SendError> {
        self.backlog.send(ask, |words| self.declared.push(transport, words))
    }

    /// There is room in the ring again: sends the backlog.
    pub fn flush(&mut self, transport: &mut impl Transport) {
        self.backlog.flush(|words| self.declared.push(transport, words));
    }

    /// Cancels a request. Returns the worker if no outcome follows because the request was sent directly;
    /// otherwise outcomes follow if `tell` is set.
    ///
    /// # Errors
    /// As for [`Endpoint::send`].
    pub fn cancel(
        &mut self,
        transport: &mut impl Transport,
        id: RequestId,
        tell: bool,
    ) -> Result<Option<u32>, SendError> {
        let ask = Ask::Cancel { id, tell };
        let Some((pair, worker)) = self.direct.cancel(id) else {
            return self.send(transport, &ask).map(|()| None);
        };
        // If there is no room, the other process only does unneeded work.
        let _in_vain = self.send_to(transport, pair, &ask);
        self.publish(transport, pair);
        Ok(Some(worker))
    }

    fn publish(&self, transport: &mut impl Transport, pair: PairId) {
        if let Some((place, requests)) = self.direct.published(pair) {
            transport.publish(place, requests);
        }
    }

    /// Ends a pair: nothing is sent to it any more. The exchange reports when the other process has ended it as well.
    fn give_up(&mut self, transport: &mut impl Transport, pair: PairId) {
        self.direct.on_retired(pair);
        let _never_refused = self.relay(transport, &Ask::Unpair(pair));
    }

    /// The socket of a pair cannot be used any more.
    fn break_pair(&mut self, transport: &mut impl Transport, pair: PairId) {
        self.reading.forget(pair);
        transport.close(pair);
        self.give_up(transport, pair);
    }

    /// Starts a turn of the event loop.
    pub fn begin_turn(&mut self) {
        self.turn = TURN;
        self.reading.on_turn();
    }

    /// A pair, or the exchange, is readable in this turn of the event loop. The caller reports each readable
    /// socket in every turn, and none that should not be watched.
    pub fn on_ready(&mut self, pair: Option<PairId>) {
        self.turn = TURN;
        self.reading.on_ready(pair);
    }

    /// Whether a packet may be read in this turn.
    fn may_read(&mut self, pair: Option<PairId>) -> bool {
        // Packets that were held back are in memory, so the event loop does not report them.
        let is_kept = pair.is_some_and(|pair| self.held.contains_key(&pair));
        if self.ending.is_some() || self.reading.has_frames() || is_kept {
            return true;
        }
        let left = self.turn.checked_sub(1);
        self.turn = left.unwrap_or(0);
        left.is_some()
    }

    /// Reads the next frame, and returns the result of `read`.
    ///
    /// # Errors
    /// The exchange has sent invalid data.
    pub fn next<T>(
        &mut self,
        transport: &mut impl Transport,
        read: impl FnOnce(Frame<'_>) -> T,
    ) -> Result<Incoming<T>, InvalidFrame> {
        loop {
            if let Some(frame) = self.direct.take_synthetic() {
                return Ok(Incoming::Frame(read(frame)));
            }
            let step = self.ending.map_or_else(|| self.reading.next(), |(pair, ..)| Step::Pair(pair));
            match step {
                Step::Pair(pair) => {
                    if !self.may_read(Some(pair)) {
                        return Ok(Incoming::Nothing);
                    }
                    let mut packet = std::mem::take(&mut self.packet);
                    if let Some(frame) = self.read_pair(transport, pair, &mut packet) {
                        let result = read(frame);
                        self.packet = packet;
                        self.publish(transport, pair);
                        return Ok(Incoming::Frame(result));
                    }
                    self.packet = packet;
                }
                Step::Frames => {
                    let Some(frame) = self.assembler.next_frame()? else {
                        self.reading.on_taken();
                        continue;
                    };
                    if frame.kind == Kind::Answer {
                        let answer = self.direct.on_answer(PairId(frame.rest), &frame);
                        if let Some((place, requests)) = self.direct.published(PairId(frame.rest)) {
                            transport.publish(place, requests);
                        }
                        match answer {
                            Some(answer) => return Ok(Incoming::Frame(read(answer))),
                            None => continue,
                        }
                    }
                    self.direct.on_exchanged(&frame);
                    let then = Consequence::of(&frame);
                    if then == Consequence::Tell {
                        return Ok(Incoming::Frame(read(frame)));
                    }
                    self.act(transport, then);
                }
                Step::Exchange => {
                    if !self.may_read(None) {
                        return Ok(Incoming::Nothing);
                    }
                    match transport.receive(&mut self.packet) {
                        Found::Packet(length) => {
                            self.assembler.push(&self.packet[..length]);
                            self.reading.on_packet(!self.direct.is_empty());
                        }
                        Found::Nothing => {
                            self.reading.on_no_packet();
                            if self.direct.is_empty() {
                                self.assembler.shrink();
                                return Ok(Incoming::Nothing);
                            }
                        }
                        Found::End => return Ok(Incoming::End),
                    }
                }
                Step::Wait => {
                    self.assembler.shrink();
                    return Ok(Incoming::Nothing);
                }
                Step::Poll if self.direct.is_empty() => {
                    self.reading.on_polled([], true);
                }
                Step::Poll => {
                    let mut pairs = Vec::new();
                    let exchange = transport.poll(&mut pairs);
                    if !self.reading.on_polled(pairs, exchange) {
                        self.assembler.shrink();
                        return Ok(Incoming::Nothing);
                    }
                }
            }
        }
    }

    /// Reads a packet of a pair. Returns the frame for the process.
    fn read_pair<'a>(
        &mut self,
        transport: &mut impl Transport,
        pair: PairId,
        packet: &'a mut [u8],
    ) -> Option<Frame<'a>> {
        let found = match self.held.remove(&pair) {
            Some(held) => {
                packet[..held.len()].copy_from_slice(&held);
                Found::Packet(held.len())
            }
            None => transport.receive_from(pair, packet),
        };
        let frame = match found {
            Found::Packet(length) => Frame::of_packet(&packet[..length]),
            Found::Nothing | Found::End => None,
        };
        if let Some((_, status, rest)) = &mut self.ending {
            let status = *status;
            *rest = rest.saturating_sub(1);
            let heard = frame.filter(|_| *rest > 0).and_then(|frame| self.direct.on_frame(pair, &frame).ok());
            match heard {
                Some(Received::Frame(frame)) => return Some(frame),
                // The pair has ended, so the other process does not expect an answer.
                Some(_) => {}
                None => self.end_pair(transport, pair, status),
            }
            return None;
        }
        self.reading.on_read(matches!(found, Found::Packet(_)));
        if found == Found::Nothing {
            return None;
        }
        if let (Some(frame), Found::Packet(length)) = (&frame, found)
            && !self.direct.is_due(pair, frame.rest)
        {
            self.held.insert(pair, packet[..length].to_vec());
            self.reading.forget(pair);
            transport.watch(pair, false);
            return None;
        }
        match frame.and_then(|frame| self.direct.on_frame(pair, &frame).ok()) {
            Some(Received::Frame(frame)) => return Some(frame),
            Some(Received::Answer(call, status)) => self.answer(transport, call, status),
            Some(Received::Nothing) => {}
            None => {
                self.break_pair(transport, pair);
                if found != Found::End {
                    // Whoever has sent invalid data need not end the pair in turn, so nothing waits for that.
                    self.end_pair(transport, pair, Status::Gone as u8);
                }
            }
        }
        None
    }

    /// A pair has ended, and everything sent before has been read.
    fn end_pair(&mut self, transport: &mut impl Transport, pair: PairId, status: u8) {
        self.ending = None;
        self.held.remove(&pair);
        self.reading.forget(pair);
        transport.close(pair);
        if let Some(place) = self.direct.on_unpaired(pair, status) {
            transport.publish(place, 0);
        }
    }

    fn answer(&mut self, transport: &mut impl Transport, call: CallId, status: Status) {
        let _never_refused = self.send(transport, &Ask::Reply { call, status, data: &[] });
    }

    fn act(&mut self, transport: &mut impl Transport, then: Consequence) {
        match then {
            Consequence::Tell => {}
            Consequence::Flush => self.flush(transport),
            Consequence::Paired { pair, worker, place } => {
                self.direct.on_paired(pair, worker, place);
                transport.publish(place, 0);
                if !transport.adopt(pair) {
                    self.break_pair(transport, pair);
                }
            }
            Consequence::Unpaired { pair, status } => {
                // The other process waits for that.
                self.give_up(transport, pair);
                self.ending = Some((pair, status, MOST));
            }
            Consequence::Retired(pair) => self.direct.on_retired(pair),
            Consequence::End(pair) => self.give_up(transport, pair),
            Consequence::Mark { pair, number } => {
                self.direct.on_mark(pair, number);
                if self.held.contains_key(&pair) {
                    transport.watch(pair, true);
                    self.reading.resume(pair);
                }
            }
        }
    }

    /// Checks the invariants.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check_invariants(&self) {
        self.direct.check_invariants();
    }

    /// The number of pairs, and the number of those to which a message would be sent directly.
    #[must_use]
    pub fn pairs(&self) -> (usize, usize) {
        self.direct.count()
    }
}
