//! The format of publications between machines. They come from a server, and may contain anything.

use super::topic::MachineId;
use crate::exchange::frame::Status;
use crate::exchange::{CallId, MAX_CALLS, MAX_DATA, MAX_NAME};

/// The version of the format, which is the first byte.
const VERSION: u8 = 1;

const BEAT: u8 = 1;
const MESSAGE: u8 = 2;
const LOST: u8 = 3;
const ASK: u8 = 4;
const CANCEL: u8 = 5;
const ANNOUNCE: u8 = 6;
const OUTCOME: u8 = 7;
const LEADER_NOTICE: u8 = 8;
const ALIVE: u8 = 9;

/// The length of the version, the kind and the machine, which come before the session.
const SESSION: usize = 2 + MachineId::LENGTH;

/// The length of everything before the data.
const HEAD: usize = SESSION + 4 + 8;

/// The content of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A machine checks whether it receives its own publications.
    Beat(u64),
    /// A message of a channel, or a notice to the handlers of a name.
    Message {
        /// The sending worker; 0 is the primary.
        worker: u32,
        /// The message.
        data: &'a [u8],
    },
    /// This many messages on the topic were not published.
    Lost(u64),
    /// Call the handlers of a name, and send the outcomes to this machine.
    Ask {
        /// The machine's number for the call.
        call: CallId,
        /// The worker that makes the request; 0 is the primary.
        worker: u32,
        /// The name of the leader that should answer; `None` for all workers.
        leader: Option<&'a [u8]>,
        /// The name of the handler.
        name: &'a [u8],
        /// The argument.
        data: &'a [u8],
    },
    /// The outcomes of this call are not needed any more.
    Cancel(CallId),
    /// The machine has received a request, and these workers will answer. `None` if it has too many
    /// unanswered ones.
    Announce {
        /// The number of the call.
        call: CallId,
        /// One outcome follows for each.
        workers: Option<Workers<'a>>,
    },
    /// The outcome of one worker.
    Outcome {
        /// The number of the call.
        call: CallId,
        /// The worker; 0 is the primary.
        worker: u32,
        /// How the call ended.
        status: Status,
        /// The result, or the error.
        data: &'a [u8],
    },
    /// A notice to a leader.
    LeaderNotice {
        /// The sending worker; 0 is the primary.
        worker: u32,
        /// The name of the leader.
        leader: &'a [u8],
        /// The name of the handler.
        name: &'a [u8],
        /// The message.
        data: &'a [u8],
    },
    /// A sign of life.
    Alive,
}

/// The numbers of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers<'a>(&'a [[u8; 4]]);

impl<'a> Workers<'a> {
    /// Parses the numbers. `None` if there are too many.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks();
        (rest.is_empty() && numbers.len() <= MAX_CALLS).then_some(Self(numbers))
    }

    /// Wraps encoded numbers.
    #[must_use]
    pub fn new(numbers: &'a [[u8; 4]]) -> Self {
        Self(numbers)
    }

    /// The numbers.
    pub fn iter(self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

/// A publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication<'a> {
    /// The machine that publishes it.
    pub machine: MachineId,
    /// The number of that machine's connection to the server.
    pub session: u32,
    /// The content.
    pub content: Content<'a>,
}

/// Sets the session. A publication may be sent on a later connection than the one open when it was encoded.
pub(super) fn set_session(bytes: &mut [u8], session: u32) {
    if let Some(place) = bytes.get_mut(SESSION..SESSION + 4) {
        place.copy_from_slice(&session.to_le_bytes());
    }
}

impl<'a> Publication<'a> {
    /// Encodes the publication.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, number, parts) = match self.content {
            Content::Beat(number) => (BEAT, number, Parts::default()),
            Content::Message { worker, data } => (MESSAGE, worker.into(), Parts { data, ..Parts::default() }),
            Content::Lost(count) => (LOST, count, Parts::default()),
            Content::Ask { call, worker, leader, name, data } => {
                let flag = leader.is_some().into();
                let names = Some([name, leader.unwrap_or_default()]);
                (ASK, call.0, Parts { flag: Some(flag), worker: Some(worker), names, data })
            }
            Content::Cancel(call) => (CANCEL, call.0, Parts::default()),
            Content::Announce { call, workers } => {
                let data = workers.map_or(&[][..], |workers| workers.0.as_flattened());
                let flag = Some(workers.is_some().into());
                (ANNOUNCE, call.0, Parts { flag, data, ..Parts::default() })
            }
            Content::Outcome { call, worker, status, data } => {
                let flag = Some(status as u8);
                (OUTCOME, call.0, Parts { flag, worker: Some(worker), names: None, data })
            }
            Content::LeaderNotice { worker, leader, name, data } => (
                LEADER_NOTICE,
                worker.into(),
                Parts { names: Some([name, leader]), data, ..Parts::default() },
            ),
            Content::Alive => (ALIVE, 0, Parts::default()),
        };
        let mut bytes = Vec::with_capacity(HEAD + 16 + parts.data.len());
        bytes.extend([VERSION, kind]);
        bytes.extend(self.machine.digits());
        bytes.extend(self.session.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        parts.encode(&mut bytes);
        bytes
    }

    /// Decodes a publication. `None` if it is invalid.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let ([VERSION, kind], rest) = bytes.split_first_chunk()? else { return None };
        let (machine, rest) = rest.split_at_checked(MachineId::LENGTH)?;
        let (session, rest) = rest.split_first_chunk()?;
        let (number, mut rest) = rest.split_first_chunk()?;
        let number = u64::from_le_bytes(*number);
        let call = CallId(number);
        let content = match *kind {
            BEAT => Content::Beat(number),
            MESSAGE => Content::Message { worker: u32::try_from(number).ok()?, data: take_data(&mut rest)? },
            LOST => Content::Lost(number),
            ASK => {
                let (is_leader, worker) = (take_flag(&mut rest)?, take_worker(&mut rest)?);
                let [name, leader] = take_names(&mut rest)?;
                if !is_leader && !leader.is_empty() {
                    return None;
                }
                let leader = is_leader.then_some(leader);
                Content::Ask { call, worker, leader, name, data: take_data(&mut rest)? }
            }
            CANCEL => Content::Cancel(call),
            ANNOUNCE => {
                let is_willing = take_flag(&mut rest)?;
                // A machine that refuses a request names no workers.
                let workers = if is_willing { Some(Workers::of(std::mem::take(&mut rest))?) } else { None };
                Content::Announce { call, workers }
            }
            OUTCOME => {
                let status = Status::of_machine(take_byte(&mut rest)?)?;
                let worker = take_worker(&mut rest)?;
                Content::Outcome { call, worker, status, data: take_data(&mut rest)? }
            }
            LEADER_NOTICE => {
                let [name, leader] = take_names(&mut rest)?;
                let worker = u32::try_from(number).ok()?;
                Content::LeaderNotice { worker, leader, name, data: take_data(&mut rest)? }
            }
            ALIVE if number == 0 => Content::Alive,
            _ => return None,
        };
        // Nothing may follow.
        let machine = MachineId::of(machine).filter(|_| rest.is_empty())?;
        Some(Self { machine, session: u32::from_le_bytes(*session), content })
    }
}

/// The optional fields after the head.
#[derive(Default)]
struct Parts<'a> {
    flag: Option<u8>,
    worker: Option<u32>,
    names: Option<[&'a [u8]; 2]>,
    data: &'a [u8],
}

impl Parts<'_> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.flag);
        bytes.extend(self.worker.into_iter().flat_map(u32::to_le_bytes));
        for name in self.names.iter().flatten() {
            let name = &name[..name.len().min(MAX_NAME)];
            // The length is at most `MAX_NAME`.
            bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend(name);
        }
        bytes.extend(self.data);
    }
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (byte, behind) = rest.split_first()?;
    *rest = behind;
    Some(*byte)
}

fn take_flag(rest: &mut &[u8]) -> Option<bool> {
    match take_byte(rest)? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn take_worker(rest: &mut &[u8]) -> Option<u32> {
    let (worker, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u32::from_le_bytes(*worker))
}

fn take_names<'a>(rest: &mut &'a [u8]) -> Option<[&'a [u8]; 2]> {
    let mut names = [&[][..]; 2];
    for name in &mut names {
        let (length, behind) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes(*length));
        (*name, *rest) = behind.split_at_checked(length).filter(|_| length <= MAX_NAME)?;
    }
    Some(names)
}

fn take_data<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    Some(std::mem::take(rest)).filter(|data| data.len() <= MAX_DATA)
}

#[cfg(test)]
mod tests;
