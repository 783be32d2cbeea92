//! The encoding of a process' requests for locks, for its ring, and of the messages to it.
//!
//! A request consists of words: its kind, its number, the length of the text and the place, and the text. The
//! thread that grants locks reads them as bytes, and they may be malformed.

use super::{Mode, Notice, Otherwise, Request, RequestId, Space};
use crate::store::record::words_of;

/// A request of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Request a lock.
    Request(RequestId, Request<'a>),
    /// Request a lock across machines. Its space is a leased one.
    Lease(RequestId, Request<'a>, Terms),
    /// End a request: see [`Locks::end`](super::Locks::end).
    End(RequestId),
    /// Settle a flight: see [`Locks::settle`](super::Locks::settle).
    Settle(RequestId, &'a [u8]),
    /// List the held and pending requests.
    Query(RequestId),
}

/// What the request for a lease says besides the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// It ends after this many ms without a renewal.
    pub ttl: u32,
    /// Where the process reads when the lease ends.
    pub place: u32,
}

const REQUEST: u8 = 1;
const END: u8 = 2;
const SETTLE: u8 = 3;
const QUERY: u8 = 4;
const LEASE: u8 = 5;

const HEAD: usize = 3 * 8;

/// The number of words of the longest request.
pub const LONGEST: usize = 3 + super::MAX_OUTCOME / 8 + 1;

/// Encodes a request.
pub fn encode(ask: &Ask<'_>, words: &mut Vec<u64>) {
    let mut terms = Terms { ttl: 0, place: 0 };
    let (number, id, options, text) = match *ask {
        Ask::Request(id, Request { space, name, mode, otherwise }) => {
            (REQUEST, id, [space as u8, mode as u8, otherwise as u8], name)
        }
        Ask::Lease(id, Request { space, name, mode, otherwise }, its) => {
            terms = its;
            (LEASE, id, [space as u8, mode as u8, otherwise as u8], name)
        }
        Ask::End(id) => (END, id, [0; 3], &[][..]),
        Ask::Settle(id, outcome) => (SETTLE, id, [0; 3], outcome),
        Ask::Query(id) => (QUERY, id, [0; 3], &[][..]),
    };
    let [space, mode, otherwise] = options;
    let [a, b, c, d] = terms.ttl.to_le_bytes();
    let first = u64::from_le_bytes([number, space, mode, otherwise, a, b, c, d]);
    words.extend([first, id.0, u64::from(terms.place) << 32 | text.len() as u64]);
    words.extend(words_of(text));
}

/// Decodes a request. `None` if it is malformed.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Ask<'_>> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let word = |at: usize| Some(u64::from_le_bytes(head.get(at * 8..at * 8 + 8)?.try_into().ok()?));
    let [number, space, mode, otherwise, a, b, c, d] = word(0)?.to_le_bytes();
    let id = RequestId(word(1)?);
    let (length, place) = (word(2)? & u64::from(u32::MAX), word(2)? >> 32);
    let text = rest.get(..usize::try_from(length).ok()?)?;
    let terms = Terms { ttl: u32::from_le_bytes([a, b, c, d]), place: u32::try_from(place).ok()? };
    match number {
        REQUEST | LEASE => {
            let space = Space::ALL.into_iter().find(|it| *it as u8 == space)?;
            let mode = [Mode::Exclusive, Mode::Shared].into_iter().find(|it| *it as u8 == mode)?;
            let all = [Otherwise::Wait, Otherwise::GiveUp, Otherwise::Steal];
            let otherwise = all.into_iter().find(|it| *it as u8 == otherwise)?;
            let request = Request { space, name: text, mode, otherwise };
            match (number, space.leased()) {
                (REQUEST, None) => Some(Ask::Request(id, request)),
                (LEASE, Some(_)) if mode == Mode::Exclusive => Some(Ask::Lease(id, request, terms)),
                _ => None,
            }
        }
        END => Some(Ask::End(id)),
        SETTLE => Some(Ask::Settle(id, text)),
        QUERY => Some(Ask::Query(id)),
        _ => None,
    }
}

/// The kind of a message to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Notice::Granted`]; the number is the token.
    Granted = 1,
    /// [`Notice::Unavailable`].
    Unavailable = 2,
    /// [`Notice::Stolen`].
    Stolen = 3,
    /// [`Notice::Settled`]; the text is the outcome.
    Settled = 4,
    /// [`Notice::TooMany`].
    TooMany = 5,
    /// Part of the answer to a query, as JSON. The number says how many parts follow.
    Listed = 6,
    /// The lease of a lock is lost. The request has ended.
    Lost = 8,
    /// The server that grants leases cannot be reached; the text is the reason. The request has ended.
    Disconnected = 9,
    /// No such server is configured. The request has ended.
    NoBackend = 10,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Granted,
        Self::Unavailable,
        Self::Stolen,
        Self::Settled,
        Self::TooMany,
        Self::Listed,
        Self::Lost,
        Self::Disconnected,
        Self::NoBackend,
    ];

    /// Whether the request has ended with it.
    #[must_use]
    pub fn ends_request(self) -> bool {
        !matches!(self, Self::Granted | Self::Listed)
    }
}

/// A message to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The kind.
    pub kind: Kind,
    /// The request.
    pub request: RequestId,
    /// See [`Kind`].
    pub number: u64,
    /// See [`Kind`].
    pub text: &'a [u8],
}

/// Bytes before the text of a message.
const MESSAGE_HEAD: usize = 17;

impl<'a> Message<'a> {
    /// The message for a notice.
    #[must_use]
    pub fn of(request: RequestId, notice: &'a Notice) -> Self {
        let (kind, number, text) = match notice {
            Notice::Granted { token } => (Kind::Granted, *token, &[][..]),
            Notice::Unavailable => (Kind::Unavailable, 0, &[][..]),
            Notice::Stolen => (Kind::Stolen, 0, &[][..]),
            Notice::Settled(outcome) => (Kind::Settled, 0, &outcome[..]),
            Notice::TooMany => (Kind::TooMany, 0, &[][..]),
        };
        Self { kind, request, number, text }
    }

    /// Encodes the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MESSAGE_HEAD + self.text.len());
        bytes.push(self.kind as u8);
        bytes.extend(self.request.0.to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.text);
        bytes
    }

    /// Decodes a message. `None` if it is malformed.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (head, text) = bytes.split_at_checked(MESSAGE_HEAD)?;
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == head[0])?;
        let request = RequestId(u64::from_le_bytes(head[1..9].try_into().ok()?));
        let number = u64::from_le_bytes(head[9..].try_into().ok()?);
        Some(Self { kind, request, number, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(ask: &Ask<'_>) -> Vec<u8> {
        let mut words = Vec::new();
        encode(ask, &mut words);
        assert!(words.len() <= LONGEST);
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn requests_are_read_as_they_were_written() {
        let id = RequestId(u64::MAX - 1);
        let name = &b"a name"[..];
        for space in [Space::Lock, Space::Lead, Space::Flight] {
            for mode in [Mode::Exclusive, Mode::Shared] {
                for otherwise in [Otherwise::Wait, Otherwise::GiveUp, Otherwise::Steal] {
                    let ask = Ask::Request(id, Request { space, name, mode, otherwise });
                    assert_eq!(decode(&bytes(&ask)), Some(ask));
                }
            }
        }
        for space in [Space::LeasedLock, Space::LeasedLead] {
            let request = Request { space, name, mode: Mode::Exclusive, otherwise: Otherwise::Steal };
            let terms = Terms { ttl: 0x0102_0304, place: 0x0506_0708 };
            let ask = Ask::Lease(id, request, terms);
            assert_eq!(decode(&bytes(&ask)), Some(ask));
            // A request and a lease cannot be used in place of each other.
            assert_eq!(decode(&bytes(&Ask::Request(id, request))), None);
            let shared = Request { mode: Mode::Shared, ..request };
            assert_eq!(decode(&bytes(&Ask::Lease(id, shared, terms))), None);
            let local = Request { space: Space::Lock, ..request };
            assert_eq!(decode(&bytes(&Ask::Lease(id, local, terms))), None);
        }
        let outcome = [7; super::super::MAX_OUTCOME];
        for ask in [Ask::End(id), Ask::Settle(id, &outcome), Ask::Settle(id, &[]), Ask::Query(id)] {
            assert_eq!(decode(&bytes(&ask)), Some(ask));
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let request =
            Request { space: Space::Lock, name: b"12345678", mode: Mode::Shared, otherwise: Otherwise::Wait };
        let whole = bytes(&Ask::Request(RequestId(1), request));
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length} bytes");
        }
        for (at, value) in [(0, 0), (0, 9), (1, 5), (2, 2), (3, 3), (16, 9), (19, 0xff)] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            assert_eq!(decode(&bytes), None, "{value} at {at}");
        }
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        for notice in [
            Notice::Granted { token: 1 << 60 },
            Notice::Unavailable,
            Notice::Stolen,
            Notice::Settled([1, 2].into()),
            Notice::TooMany,
        ] {
            let message = Message::of(RequestId(9), &notice);
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        assert_eq!(Message::decode(&[1; 16]), None);
        assert_eq!(Message::decode(&[0; 17]), None);
    }
}
