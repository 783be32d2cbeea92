//! Frames that the exchange sends to a process. They form a stream of bytes, cut into packets of any length:
//! several short frames share a packet, and a long frame spans several.

use std::sync::Arc;

use super::{MAX_DATA, MAX_NAME, Scope};

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A message of a channel. The name is the channel's, the number is the origin. The flag has [`OWN`] if
    /// this process has posted it, and [`COMMON`] if the channel spans machines.
    Message = 1,
    /// A call. The number identifies it in the answer. The flag is [`COMMON`] if it comes from another
    /// machine, or [`LEADER`] if it is for a leader on another machine: then the data begins with the name of
    /// the leader, and `rest` is the length of that name.
    Request = 2,
    /// A notice for a handler. The flag is as for a call.
    Notice = 3,
    /// The caller has cancelled a call. The number is that of the call. If the flag is 1, other machines
    /// report which outcomes are missing.
    Cancelled = 4,
    /// The outcome of a request, or of a part of it. The number is that of the request, and the flag is a
    /// [`Status`]. `rest` is the number of outcomes still to come, as far as it is known; it is 0 for the
    /// last one. The name is the id of the machine, if it is another one.
    Outcome = 5,
    /// Messages of a channel were dropped, because the process did not read them in time. The number says how
    /// many; 0 means unknown, because the server was not reachable. The flag is [`COMMON`] if the channel
    /// spans machines.
    ChannelLag = 6,
    /// Notices for a handler were dropped. The flag is [`COMMON`] if they came from other machines, and [`ANY`] if messages
    /// of more channels and handlers were dropped than can be named.
    HandlerLag = 7,
    /// There is room for requests again.
    Room = 8,
    /// This process and the worker are a pair from now on. The socket comes with the packet. `rest` is the
    /// [`PairId`](super::pairs::PairId), and the flag is the place at which this process publishes the number
    /// of its requests.
    Paired = 9,
    /// The other process has ended the pair `rest`, and everything that it has sent has arrived. This process ends it as well.
    /// The flag is the [`Status`] of its requests.
    Unpaired = 10,
    /// Nothing may be sent to the pair `rest` any more. If the flag is not 0, this process has to end it.
    Retired = 11,
    /// Everything that the other process of the pair `rest` has sent through the exchange so far has arrived.
    /// What it sends on the socket from then on carries this number, or a greater one, as its `rest`.
    Mark = 12,
    /// The outcome of a request sent to the pair `rest`. The number is that of the request, the flag is a
    /// [`Status`].
    Answer = 13,
}

/// This process has posted the message itself.
pub const OWN: u8 = 1;

/// The channel spans machines.
pub const COMMON: u8 = 2;

/// The first byte of data that is text.
pub const TEXT: u8 = 0;

/// The target is the leader under a name, on any machine.
pub const LEADER: u8 = 4;

/// Any channel or handler.
pub const ANY: u8 = 8;

/// The flag for the scope of a channel.
pub(super) fn flag_of(scope: Scope) -> u8 {
    match scope {
        Scope::Machine => 0,
        Scope::All => COMMON,
    }
}

const KINDS: [Kind; 13] = [
    Kind::Message,
    Kind::Request,
    Kind::Notice,
    Kind::Cancelled,
    Kind::Outcome,
    Kind::ChannelLag,
    Kind::HandlerLag,
    Kind::Room,
    Kind::Paired,
    Kind::Unpaired,
    Kind::Retired,
    Kind::Mark,
    Kind::Answer,
];

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// The handler has returned the data.
    Value = 0,
    /// The handler has failed with the error in the data.
    Error = 1,
    /// The target does not handle this name.
    NoHandler = 2,
    /// The target is dead or has left.
    Gone = 3,
    /// The outbox of the target is full.
    Busy = 4,
    /// There is no leader.
    NoLeader = 5,
    /// The process has too many unfinished requests.
    Limit = 6,
    /// There was an answer, but this process had no room for it.
    Lost = 7,
    /// The process has cancelled the request.
    Cancelled = 8,
    /// No process was called, because there is no worker; or no more outcomes of other machines follow.
    Nobody = 9,
    /// Other machines cannot be reached: there is no connection to the server.
    Disconnected = 10,
    /// Other machines have received the request but have not answered. The worker field is their number.
    Missing = 11,
    /// The time limit of the process is over before other machines have answered. The worker field is their
    /// number; 0 if none is known.
    Late = 12,
    /// The request was not published, because too many messages are queued for the server.
    Unsent = 13,
}

impl Status {
    /// The statuses that one process may send to another.
    pub(super) fn of_pair(flag: u8) -> Option<Self> {
        [Self::Value, Self::Error, Self::NoHandler, Self::Busy].into_iter().find(|it| *it as u8 == flag)
    }

    /// The statuses that one machine may send to another.
    pub(crate) fn of_machine(flag: u8) -> Option<Self> {
        let others = [Self::Gone, Self::Lost].into_iter().find(|it| *it as u8 == flag);
        Self::of_pair(flag).or(others)
    }
}

/// The number of bytes before the name.
const HEAD: usize = 24;

/// The longest frame, in bytes. A frame for a leader on another machine has two names.
pub const MAX_FRAME: usize = HEAD + 2 * MAX_NAME + MAX_DATA;

/// A frame to be encoded, without its data.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The kind.
    pub kind: Kind,
    /// See [`Kind`].
    pub flag: u8,
    /// The worker that sent it, or that it is about. 0 is the primary.
    pub worker: u32,
    /// See [`Kind::Outcome`].
    pub rest: u32,
    /// See [`Kind`].
    pub number: u64,
    /// See [`Kind`].
    pub name: &'a [u8],
}

impl Head<'_> {
    /// The number of bytes without the name.
    pub(super) const LENGTH: usize = HEAD;

    /// Creates a frame with all other fields zero.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, flag: 0, worker: 0, rest: 0, number: 0, name: &[] }
    }

    /// Encodes the frame without its data.
    #[must_use]
    pub fn encode(&self, data: usize) -> Box<[u8]> {
        let name = &self.name[..self.name.len().min(MAX_NAME)];
        let length = HEAD - 4 + name.len() + data;
        let mut bytes = Vec::with_capacity(HEAD + name.len());
        // Both lengths are bounded.
        bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend([self.kind as u8, self.flag]);
        bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend(self.worker.to_le_bytes());
        bytes.extend(self.rest.to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(name);
        bytes.into()
    }
}

/// A decoded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The kind.
    pub kind: Kind,
    /// See [`Kind`].
    pub flag: u8,
    /// The worker that sent it, or that it is about. 0 is the primary.
    pub worker: u32,
    /// See [`Kind::Outcome`].
    pub rest: u32,
    /// See [`Kind`].
    pub number: u64,
    /// See [`Kind`].
    pub name: &'a [u8],
    /// The data.
    pub data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Decodes a packet that is exactly one frame.
    pub(super) fn of_packet(packet: &'a [u8]) -> Option<Self> {
        let (length, rest) = packet.split_first_chunk()?;
        let is_whole = usize::try_from(u32::from_le_bytes(*length)) == Ok(rest.len());
        Self::decode(rest).filter(|_| is_whole)
    }

    /// Decodes what follows the length.
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD - 4)?;
        let [kind, flag, low, high, head @ ..] = head else { return None };
        let (worker, head) = head.split_first_chunk()?;
        let (after, head) = head.split_first_chunk()?;
        let number = head.first_chunk()?;
        let kind = KINDS.into_iter().find(|it| *it as u8 == *kind)?;
        let (name, data) = rest.split_at_checked(u16::from_le_bytes([*low, *high]).into())?;
        Some(Self {
            kind,
            flag: *flag,
            worker: u32::from_le_bytes(*worker),
            rest: u32::from_le_bytes(*after),
            number: u64::from_le_bytes(*number),
            name,
            data,
        })
    }
}

/// The frame is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an invalid frame of the exchange")]
pub struct InvalidFrame;

/// Reassembles frames from packets.
#[derive(Debug, Default)]
pub struct Assembler {
    bytes: Vec<u8>,
    /// The number of bytes already returned.
    taken: usize,
}

impl Assembler {
    /// Adds a packet.
    pub fn push(&mut self, packet: &[u8]) {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..self.taken);
        }
        self.taken = 0;
        self.bytes.extend(packet);
    }

    /// The next frame, if it is complete.
    ///
    /// # Errors
    /// It is invalid.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, InvalidFrame> {
        let Some((length, rest)) = self.bytes[self.taken..].split_first_chunk() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| InvalidFrame)?;
        if length > MAX_FRAME {
            return Err(InvalidFrame);
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        self.taken += 4 + length;
        Frame::decode(frame).ok_or(InvalidFrame).map(Some)
    }

    /// Frees the memory that a long frame has used.
    pub fn shrink(&mut self) {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
            self.bytes.shrink_to(64 << 10);
        }
    }
}

/// A frame to be sent. It owns its head, and may share its data with other frames.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub(super) head: Box<[u8]>,
    pub(super) data: Arc<[u8]>,
}

impl Outgoing {
    pub(super) fn new(head: &Head<'_>, data: &Arc<[u8]>) -> Self {
        Self { head: head.encode(data.len()), data: Arc::clone(data) }
    }

    pub(super) fn len(&self) -> usize {
        self.head.len() + self.data.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_in_packets_of_any_length() {
        let name = vec![b'n'; MAX_NAME];
        let data: Arc<[u8]> = (0..70_000).map(|i: u32| i.to_le_bytes()[0]).collect();
        let mut stream = Vec::new();
        for (number, kind) in KINDS.into_iter().enumerate() {
            let name = if number % 2 == 0 { &name[..] } else { b"" };
            let data = if number % 3 == 0 { Arc::clone(&data) } else { Arc::from([]) };
            let head =
                Head { flag: 9, worker: 7, rest: u32::MAX, number: number as u64, name, ..Head::new(kind) };
            let frame = Outgoing::new(&head, &data);
            assert_eq!(frame.len(), frame.head.len() + frame.data.len());
            stream.extend(&frame.head[..]);
            stream.extend(&frame.data[..]);
        }
        for packet in [1, 7, 24, 4096, 65_536, stream.len()] {
            let mut assembler = Assembler::default();
            let mut number = 0;
            for packet in stream.chunks(packet) {
                assembler.push(packet);
                while let Some(frame) = assembler.next_frame().unwrap() {
                    let at = usize::try_from(frame.number).unwrap();
                    assert_eq!((at, frame.kind, frame.flag, frame.worker), (number, KINDS[at], 9, 7));
                    assert_eq!(frame.rest, u32::MAX);
                    assert_eq!(frame.name, if at % 2 == 0 { &name[..] } else { b"" });
                    assert_eq!(frame.data, if at % 3 == 0 { &data[..] } else { &[] });
                    number += 1;
                }
            }
            assert_eq!(number, KINDS.len());
            assembler.shrink();
            assert!(assembler.bytes.is_empty());
        }
    }

    #[test]
    fn invalid_frames_are_refused() {
        let head = Head { name: b"name", ..Head::new(Kind::Message) };
        let good = head.encode(0);
        for (at, value) in [(3, 0xff), (0, 3), (4, 0), (4, 14), (6, 5)] {
            let mut bytes = good.to_vec();
            bytes[at] = value;
            let mut assembler = Assembler::default();
            assembler.push(&bytes);
            assert_eq!(assembler.next_frame(), Err(InvalidFrame), "{value} at {at}");
        }
    }
}
