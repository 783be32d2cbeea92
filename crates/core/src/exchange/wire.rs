//! The encoding of a process' requests to the exchange, for its ring.
//!
//! A request consists of words: its kind, two numbers, the lengths of three texts, and the texts, each of
//! which begins at a word. The thread that delivers messages reads them as bytes, and they may be malformed.

use super::frame::Status;
use super::pairs::PairId;
use super::{CallId, MAX_DATA, MAX_NAME, RequestId, Scope, Target};
use crate::ids::{Slot, WorkerId};
use crate::store::record::words_of;

/// A request to the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Subscribe to a channel.
    Subscribe(Scope, &'a [u8]),
    /// Unsubscribe from a channel.
    Unsubscribe(Scope, &'a [u8]),
    /// Post a message to a channel.
    Post {
        /// The processes that the channel connects.
        scope: Scope,
        /// The channel.
        channel: &'a [u8],
        /// Returned with the message if the process receives it itself.
        origin: u64,
        /// Whether the process itself receives it too.
        echo: bool,
        /// The message.
        data: &'a [u8],
    },
    /// Handle a name.
    Handle(&'a [u8]),
    /// Stop handling a name.
    Unhandle(&'a [u8]),
    /// Call the handlers of a name, and report the outcomes.
    Request {
        /// The number chosen by the process.
        id: RequestId,
        /// The target.
        target: Target<'a>,
        /// The name.
        name: &'a [u8],
        /// The argument.
        data: &'a [u8],
    },
    /// Send a notice to the handlers of a name.
    Notify {
        /// The target.
        target: Target<'a>,
        /// The name.
        name: &'a [u8],
        /// The argument.
        data: &'a [u8],
    },
    /// Cancel a request.
    Cancel {
        /// The request.
        id: RequestId,
        /// Whether the outcomes of the cancelled calls are reported.
        tell: bool,
    },
    /// Answer a call.
    Reply {
        /// The call.
        call: CallId,
        /// Whether the handler has succeeded.
        status: Status,
        /// The result, or the error.
        data: &'a [u8],
    },
    /// Answer a call that came on the socket of a pair.
    Answer {
        /// The pair.
        pair: PairId,
        /// The other process' number of the request.
        id: RequestId,
        /// Whether the handler has succeeded.
        status: Status,
        /// The result, or the error.
        data: &'a [u8],
    },
    /// Send a mark to the other process of a pair: everything sent through the exchange so far comes before
    /// it.
    Mark {
        /// The pair.
        pair: PairId,
        /// Greater than all before.
        number: u64,
    },
    /// End a pair: its socket has ended, or has received invalid data.
    Unpair(PairId),
}

impl Ask<'_> {
    /// Whether its effect depends on the declarations of other processes.
    #[must_use]
    pub fn is_message(&self) -> bool {
        matches!(self, Self::Post { .. } | Self::Request { .. } | Self::Notify { .. })
    }
}

/// Whether an encoded request, which begins with its kind, says to what the process listens from now on.
#[must_use]
pub fn is_declaration(kind: u8) -> bool {
    [SUBSCRIBE, UNSUBSCRIBE, HANDLE, UNHANDLE].contains(&kind)
}

const SUBSCRIBE: u8 = 1;
const UNSUBSCRIBE: u8 = 2;
const POST: u8 = 3;
const HANDLE: u8 = 4;
const UNHANDLE: u8 = 5;
const REQUEST: u8 = 6;
const NOTIFY: u8 = 7;
const CANCEL: u8 = 8;
const REPLY: u8 = 9;
const ANSWER: u8 = 10;
const MARK: u8 = 11;
const UNPAIR: u8 = 12;

const TO_WORKER: u8 = 1;
const TO_SLOT: u8 = 2;
const TO_ANY: u8 = 3;
const TO_ALL: u8 = 4;
const TO_PRIMARY: u8 = 5;
const TO_LEADER: u8 = 6;
const TO_EVERYWHERE: u8 = 7;
const TO_LEADER_ANYWHERE: u8 = 8;

const HEAD: usize = 6 * 8;

/// The number of words of the longest request.
pub const LONGEST: usize = HEAD / 8 + (MAX_DATA + 2 * MAX_NAME) / 8 + 3;

/// The parts of an encoded request.
#[derive(Default)]
struct Parts<'a> {
    number: u8,
    option: u8,
    a: u64,
    b: u64,
    texts: [&'a [u8]; 3],
}

impl<'a> Parts<'a> {
    fn named(number: u8, name: &'a [u8]) -> Self {
        Self { number, texts: [name, &[], &[]], ..Self::default() }
    }

    fn to(number: u8, id: u64, target: Target<'a>, name: &'a [u8], data: &'a [u8]) -> Self {
        let (option, b, leader) = match target {
            Target::Worker(worker) => (TO_WORKER, worker.0.into(), &[][..]),
            Target::Slot(slot) => (TO_SLOT, slot.0.into(), &[][..]),
            Target::Any => (TO_ANY, 0, &[][..]),
            Target::All => (TO_ALL, 0, &[][..]),
            Target::Primary => (TO_PRIMARY, 0, &[][..]),
            Target::Everywhere => (TO_EVERYWHERE, 0, &[][..]),
            Target::Leader(Scope::Machine, leader) => (TO_LEADER, 0, leader),
            Target::Leader(Scope::All, leader) => (TO_LEADER_ANYWHERE, 0, leader),
        };
        Self { number, option, a: id, b, texts: [name, data, leader] }
    }
}

/// Encodes a request.
pub fn encode(ask: &Ask<'_>, words: &mut Vec<u64>) {
    let parts = match *ask {
        Ask::Subscribe(scope, channel) => Parts { option: scope as u8, ..Parts::named(SUBSCRIBE, channel) },
        Ask::Unsubscribe(scope, channel) => {
            Parts { option: scope as u8, ..Parts::named(UNSUBSCRIBE, channel) }
        }
        Ask::Post { scope, channel, origin, echo, data } => {
            let b = u64::from(scope as u8);
            Parts { number: POST, option: echo.into(), a: origin, b, texts: [channel, data, &[]] }
        }
        Ask::Handle(name) => Parts::named(HANDLE, name),
        Ask::Unhandle(name) => Parts::named(UNHANDLE, name),
        Ask::Request { id, target, name, data } => Parts::to(REQUEST, id.0, target, name, data),
        Ask::Notify { target, name, data } => Parts::to(NOTIFY, 0, target, name, data),
        Ask::Cancel { id, tell } => {
            Parts { number: CANCEL, option: tell.into(), a: id.0, ..Parts::default() }
        }
        Ask::Reply { call, status, data } => {
            Parts { number: REPLY, option: status as u8, a: call.0, b: 0, texts: [&[], data, &[]] }
        }
        Ask::Answer { pair, id, status, data } => {
            Parts { number: ANSWER, option: status as u8, a: id.0, b: pair.0.into(), texts: [&[], data, &[]] }
        }
        Ask::Mark { pair, number } => Parts { number: MARK, a: number, b: pair.0.into(), ..Parts::default() },
        Ask::Unpair(pair) => Parts { number: UNPAIR, b: pair.0.into(), ..Parts::default() },
    };
    let Parts { number, option, a, b, texts } = parts;
    words.extend([u64::from_le_bytes([number, option, 0, 0, 0, 0, 0, 0]), a, b]);
    words.extend(texts.iter().map(|text| text.len() as u64));
    for text in texts {
        words.extend(words_of(text));
    }
}

/// Decodes a request. `None` if it is malformed.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Ask<'_>> {
    let (head, mut rest) = bytes.split_at_checked(HEAD)?;
    let (words, _) = head.as_chunks::<8>();
    let word = |at: usize| words.get(at).map(|word| u64::from_le_bytes(*word));
    let [number, option, ..] = *words.first()?;
    let (a, b) = (word(1)?, word(2)?);
    let mut texts: [&[u8]; 3] = [&[]; 3];
    for (at, text) in texts.iter_mut().enumerate() {
        let length = usize::try_from(word(3 + at)?).ok()?;
        let padded = length.checked_next_multiple_of(8)?;
        let (padded, behind) = rest.split_at_checked(padded)?;
        (*text, rest) = (&padded[..length], behind);
    }
    let [name, data, leader] = texts;
    if name.len() > MAX_NAME || leader.len() > MAX_NAME || data.len() > MAX_DATA {
        return None;
    }
    let flag = match option {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    let target = || {
        let number = u32::try_from(b).ok()?;
        Some(match option {
            TO_WORKER => Target::Worker(WorkerId(number)),
            TO_SLOT => Target::Slot(Slot(number)),
            TO_ANY => Target::Any,
            TO_ALL => Target::All,
            TO_PRIMARY => Target::Primary,
            TO_EVERYWHERE => Target::Everywhere,
            TO_LEADER => Target::Leader(Scope::Machine, leader),
            TO_LEADER_ANYWHERE => Target::Leader(Scope::All, leader),
            _ => return None,
        })
    };
    let scope = |number: u64| match number {
        0 => Some(Scope::Machine),
        1 => Some(Scope::All),
        _ => None,
    };
    let pair = || u32::try_from(b).ok().map(PairId);
    let status = || Status::of_pair(option);
    Some(match number {
        SUBSCRIBE => Ask::Subscribe(scope(option.into())?, name),
        UNSUBSCRIBE => Ask::Unsubscribe(scope(option.into())?, name),
        POST => Ask::Post { scope: scope(b)?, channel: name, origin: a, echo: flag?, data },
        HANDLE => Ask::Handle(name),
        UNHANDLE => Ask::Unhandle(name),
        REQUEST => Ask::Request { id: RequestId(a), target: target()?, name, data },
        NOTIFY => Ask::Notify { target: target()?, name, data },
        CANCEL => Ask::Cancel { id: RequestId(a), tell: flag? },
        REPLY => Ask::Reply { call: CallId(a), status: status()?, data },
        ANSWER => Ask::Answer { pair: pair()?, id: RequestId(a), status: status()?, data },
        MARK => Ask::Mark { pair: pair()?, number: a },
        UNPAIR => Ask::Unpair(pair()?),
        _ => return None,
    })
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
        let (name, data) = (&b"a name"[..], &b"some data in more than one word"[..]);
        let long = (vec![1; MAX_NAME], vec![2; MAX_DATA], vec![3; MAX_NAME]);
        let mut all = vec![
            Ask::Subscribe(Scope::Machine, name),
            Ask::Subscribe(Scope::All, name),
            Ask::Unsubscribe(Scope::All, name),
            Ask::Post { scope: Scope::All, channel: name, origin: u64::MAX, echo: true, data },
            Ask::Post { scope: Scope::Machine, channel: b"", origin: 0, echo: false, data: b"" },
            Ask::Handle(name),
            Ask::Unhandle(name),
            Ask::Cancel { id: RequestId(3), tell: true },
            Ask::Cancel { id: RequestId(3), tell: false },
            Ask::Reply { call: CallId(u64::MAX), status: Status::Value, data },
            Ask::Reply { call: CallId(1), status: Status::Error, data: b"" },
            Ask::Answer { pair: PairId(u32::MAX), id: RequestId(9), status: Status::Busy, data },
            Ask::Answer { pair: PairId(0), id: RequestId(1), status: Status::NoHandler, data: b"" },
            Ask::Mark { pair: PairId(7), number: u64::MAX },
            Ask::Unpair(PairId(3)),
        ];
        for target in [
            Target::Worker(WorkerId(u32::MAX)),
            Target::Slot(Slot(7)),
            Target::Any,
            Target::All,
            Target::Primary,
            Target::Everywhere,
            Target::Leader(Scope::Machine, b"cron"),
            Target::Leader(Scope::All, b"cron"),
            Target::Leader(Scope::Machine, &long.2),
        ] {
            all.push(Ask::Request { id: RequestId(1 << 60), target, name, data });
            all.push(Ask::Notify { target, name: &long.0, data: &long.1 });
        }
        for ask in all {
            let bytes = bytes(&ask);
            assert_eq!(decode(&bytes), Some(ask));
            let declares =
                matches!(ask, Ask::Subscribe(..) | Ask::Unsubscribe(..) | Ask::Handle(_) | Ask::Unhandle(_));
            assert_eq!(is_declaration(bytes[0]), declares, "{ask:?}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let target = Target::Worker(WorkerId(1));
        let whole = bytes(&Ask::Request { id: RequestId(1), target, name: b"12345678", data: b"12345678" });
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length} bytes");
        }
        for (at, value) in
            [(0, 0), (0, 13), (1, 0), (1, 9), (20, 1), (24, 17), (31, 0xff), (39, 1), (47, 0x80)]
        {
            let mut bytes = whole.clone();
            bytes[at] = value;
            assert_eq!(decode(&bytes), None, "{value} at {at}");
        }
        let long = vec![0; MAX_NAME + 1];
        assert_eq!(decode(&bytes(&Ask::Handle(&long))), None);
        let mut words = Vec::new();
        encode(
            &Ask::Reply { call: CallId(1), status: Status::Value, data: &vec![0; MAX_DATA + 1] },
            &mut words,
        );
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(decode(&bytes), None);
    }
}
