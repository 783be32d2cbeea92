//! How a process asks for locks, on its ring, and what it is told, in messages.
//!
//! A request is words: what it is about, its number, the length of the text, and the text. The thread that grants locks
//! reads them as bytes, and they may be anything.

use super::{Mode, News, Otherwise, Request, RequestId, Space};
use crate::store::record::words_of;

/// What a process asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// A lock.
    Request(RequestId, Request<'a>),
    /// A request is to end: see [`Locks::end`](super::Locks::end).
    End(RequestId),
    /// See [`Locks::settle`](super::Locks::settle).
    Settle(RequestId, &'a [u8]),
    /// What is held and what is pending.
    Query(RequestId),
}

const REQUEST: u8 = 1;
const END: u8 = 2;
const SETTLE: u8 = 3;
const QUERY: u8 = 4;

const HEAD: usize = 3 * 8;

/// How many words the longest request has.
pub const LONGEST: usize = 3 + super::MAX_OUTCOME / 8 + 1;

/// Writes down what is asked for.
pub fn encode(ask: &Ask<'_>, words: &mut Vec<u64>) {
    let (number, id, options, text) = match *ask {
        Ask::Request(id, Request { space, name, mode, otherwise }) => {
            (REQUEST, id, [space as u8, mode as u8, otherwise as u8], name)
        }
        Ask::End(id) => (END, id, [0; 3], &[][..]),
        Ask::Settle(id, outcome) => (SETTLE, id, [0; 3], outcome),
        Ask::Query(id) => (QUERY, id, [0; 3], &[][..]),
    };
    let [space, mode, otherwise] = options;
    let first = u64::from_le_bytes([number, space, mode, otherwise, 0, 0, 0, 0]);
    words.extend([first, id.0, text.len() as u64]);
    words.extend(words_of(text));
}

/// Reads it. `None` if it makes no sense.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Ask<'_>> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let word = |at: usize| Some(u64::from_le_bytes(head.get(at * 8..at * 8 + 8)?.try_into().ok()?));
    let [number, space, mode, otherwise, ..] = word(0)?.to_le_bytes();
    let id = RequestId(word(1)?);
    let text = rest.get(..usize::try_from(word(2)?).ok()?)?;
    match number {
        REQUEST => {
            let space =
                [Space::Lock, Space::Lead, Space::Flight].into_iter().find(|it| *it as u8 == space)?;
            let mode = [Mode::Exclusive, Mode::Shared].into_iter().find(|it| *it as u8 == mode)?;
            let all = [Otherwise::Wait, Otherwise::GiveUp, Otherwise::Steal];
            let otherwise = all.into_iter().find(|it| *it as u8 == otherwise)?;
            Some(Ask::Request(id, Request { space, name: text, mode, otherwise }))
        }
        END => Some(Ask::End(id)),
        SETTLE => Some(Ask::Settle(id, text)),
        QUERY => Some(Ask::Query(id)),
        _ => None,
    }
}

/// What kind of message a process gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`News::Granted`]; the number is the token.
    Granted = 1,
    /// [`News::Unavailable`].
    Unavailable = 2,
    /// [`News::Stolen`].
    Stolen = 3,
    /// [`News::Settled`]; the text is the outcome.
    Settled = 4,
    /// [`News::TooMany`].
    TooMany = 5,
    /// Part of an answer to a query, as JSON. The number says how many parts follow.
    Listed = 6,
}

/// A message to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What about.
    pub kind: Kind,
    /// Which request.
    pub request: RequestId,
    /// See [`Kind`].
    pub number: u64,
    /// See [`Kind`].
    pub text: &'a [u8],
}

/// Bytes before the text of a message.
const MESSAGE_HEAD: usize = 17;

impl<'a> Message<'a> {
    /// The message that tells some news.
    #[must_use]
    pub fn of(request: RequestId, news: &'a News) -> Self {
        let (kind, number, text) = match news {
            News::Granted { token } => (Kind::Granted, *token, &[][..]),
            News::Unavailable => (Kind::Unavailable, 0, &[][..]),
            News::Stolen => (Kind::Stolen, 0, &[][..]),
            News::Settled(outcome) => (Kind::Settled, 0, &outcome[..]),
            News::TooMany => (Kind::TooMany, 0, &[][..]),
        };
        Self { kind, request, number, text }
    }

    /// Writes it down.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MESSAGE_HEAD + self.text.len());
        bytes.push(self.kind as u8);
        bytes.extend(self.request.0.to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.text);
        bytes
    }

    /// Reads it. `None` if it is none.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (head, text) = bytes.split_at_checked(MESSAGE_HEAD)?;
        let all =
            [Kind::Granted, Kind::Unavailable, Kind::Stolen, Kind::Settled, Kind::TooMany, Kind::Listed];
        let kind = all.into_iter().find(|kind| *kind as u8 == head[0])?;
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
        let outcome = [7; super::super::MAX_OUTCOME];
        for ask in [Ask::End(id), Ask::Settle(id, &outcome), Ask::Settle(id, &[]), Ask::Query(id)] {
            assert_eq!(decode(&bytes(&ask)), Some(ask));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let request =
            Request { space: Space::Lock, name: b"12345678", mode: Mode::Shared, otherwise: Otherwise::Wait };
        let whole = bytes(&Ask::Request(RequestId(1), request));
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length} bytes");
        }
        for (at, value) in [(0, 0), (0, 9), (1, 3), (2, 2), (3, 3), (16, 9), (23, 0xff)] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            assert_eq!(decode(&bytes), None, "{value} at {at}");
        }
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        for news in [
            News::Granted { token: 1 << 60 },
            News::Unavailable,
            News::Stolen,
            News::Settled([1, 2].into()),
            News::TooMany,
        ] {
            let message = Message::of(RequestId(9), &news);
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        assert_eq!(Message::decode(&[1; 16]), None);
        assert_eq!(Message::decode(&[0; 17]), None);
    }
}
