//! What one machine publishes for others. It comes from a server, and may be anything.

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
const TELL: u8 = 8;
const ALIVE: u8 = 9;

/// Version, kind and machine, in front of the session.
const SESSION: usize = 2 + MachineId::LENGTH;

/// All that is in front of the data.
const HEAD: usize = SESSION + 4 + 8;

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A machine finds out whether it hears itself.
    Beat(u64),
    /// A message of a channel, or for the handlers of a name.
    Message {
        /// The worker that has sent it; 0 is the primary.
        worker: u32,
        /// The message.
        data: &'a [u8],
    },
    /// So many of these were not published.
    Lost(u64),
    /// Call the handlers of a name, and send the outcomes to the machine that asks.
    Ask {
        /// By which that machine knows it.
        call: CallId,
        /// The worker that asks; 0 is the primary.
        worker: u32,
        /// The one that leads under this name; all workers if there is none.
        leader: Option<&'a [u8]>,
        /// The name.
        name: &'a [u8],
        /// The argument.
        data: &'a [u8],
    },
    /// Nobody waits for the outcomes any more.
    Cancel(CallId),
    /// The machine has been asked, and these workers answer. `None`: it has too much to do.
    Announce {
        /// What it was asked.
        call: CallId,
        /// Each of them has one outcome.
        workers: Option<Workers<'a>>,
    },
    /// The outcome of one worker.
    Outcome {
        /// What it was asked.
        call: CallId,
        /// The worker; 0 is the primary.
        worker: u32,
        /// What has come of it.
        status: Status,
        /// The result, or the error.
        data: &'a [u8],
    },
    /// Something that the handler of a leader is told.
    Tell {
        /// The worker that has sent it; 0 is the primary.
        worker: u32,
        /// The name of the leader.
        leader: &'a [u8],
        /// The name of the handler.
        name: &'a [u8],
        /// The message.
        data: &'a [u8],
    },
    /// The machine is still there.
    Alive,
}

/// Workers by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers<'a>(&'a [[u8; 4]]);

impl<'a> Workers<'a> {
    /// Reads them, or `None` if there are too many.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks();
        (rest.is_empty() && numbers.len() <= MAX_CALLS).then_some(Self(numbers))
    }

    /// Refers to numbers that are as the format has them.
    #[must_use]
    pub fn new(numbers: &'a [[u8; 4]]) -> Self {
        Self(numbers)
    }

    /// The numbers.
    pub fn iter(self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

/// Who says it, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saying<'a> {
    /// The machine.
    pub machine: MachineId,
    /// The number of its connection with the server.
    pub session: u32,
    /// What it says.
    pub said: Said<'a>,
}

/// The connection on which it is published may be another one than that which was open when it was written.
pub(super) fn set_session(bytes: &mut [u8], session: u32) {
    if let Some(place) = bytes.get_mut(SESSION..SESSION + 4) {
        place.copy_from_slice(&session.to_le_bytes());
    }
}

impl<'a> Saying<'a> {
    /// Writes it down.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, number, parts) = match self.said {
            Said::Beat(number) => (BEAT, number, Parts::default()),
            Said::Message { worker, data } => (MESSAGE, worker.into(), Parts { data, ..Parts::default() }),
            Said::Lost(count) => (LOST, count, Parts::default()),
            Said::Ask { call, worker, leader, name, data } => {
                let flag = leader.is_some().into();
                let names = Some([name, leader.unwrap_or_default()]);
                (ASK, call.0, Parts { flag: Some(flag), worker: Some(worker), names, data })
            }
            Said::Cancel(call) => (CANCEL, call.0, Parts::default()),
            Said::Announce { call, workers } => {
                let data = workers.map_or(&[][..], |workers| workers.0.as_flattened());
                let flag = Some(workers.is_some().into());
                (ANNOUNCE, call.0, Parts { flag, data, ..Parts::default() })
            }
            Said::Outcome { call, worker, status, data } => {
                let flag = Some(status as u8);
                (OUTCOME, call.0, Parts { flag, worker: Some(worker), names: None, data })
            }
            Said::Tell { worker, leader, name, data } => {
                (TELL, worker.into(), Parts { names: Some([name, leader]), data, ..Parts::default() })
            }
            Said::Alive => (ALIVE, 0, Parts::default()),
        };
        let mut bytes = Vec::with_capacity(HEAD + 16 + parts.data.len());
        bytes.extend([VERSION, kind]);
        bytes.extend(self.machine.digits());
        bytes.extend(self.session.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        parts.encode(&mut bytes);
        bytes
    }

    /// Reads it. `None` if it makes no sense.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let ([VERSION, kind], rest) = bytes.split_first_chunk()? else { return None };
        let (machine, rest) = rest.split_at_checked(MachineId::LENGTH)?;
        let (session, rest) = rest.split_first_chunk()?;
        let (number, mut rest) = rest.split_first_chunk()?;
        let number = u64::from_le_bytes(*number);
        let call = CallId(number);
        let said = match *kind {
            BEAT => Said::Beat(number),
            MESSAGE => Said::Message { worker: u32::try_from(number).ok()?, data: take_data(&mut rest)? },
            LOST => Said::Lost(number),
            ASK => {
                let (is_leader, worker) = (take_flag(&mut rest)?, take_worker(&mut rest)?);
                let [name, leader] = take_names(&mut rest)?;
                if !is_leader && !leader.is_empty() {
                    return None;
                }
                let leader = is_leader.then_some(leader);
                Said::Ask { call, worker, leader, name, data: take_data(&mut rest)? }
            }
            CANCEL => Said::Cancel(call),
            ANNOUNCE => {
                let is_willing = take_flag(&mut rest)?;
                // One that has too much to do names nobody.
                let workers = if is_willing { Some(Workers::of(std::mem::take(&mut rest))?) } else { None };
                Said::Announce { call, workers }
            }
            OUTCOME => {
                let status = Status::of_machine(take_byte(&mut rest)?)?;
                let worker = take_worker(&mut rest)?;
                Said::Outcome { call, worker, status, data: take_data(&mut rest)? }
            }
            TELL => {
                let [name, leader] = take_names(&mut rest)?;
                let worker = u32::try_from(number).ok()?;
                Said::Tell { worker, leader, name, data: take_data(&mut rest)? }
            }
            ALIVE if number == 0 => Said::Alive,
            _ => return None,
        };
        // All that there was has been read.
        let machine = MachineId::of(machine).filter(|_| rest.is_empty())?;
        Some(Self { machine, session: u32::from_le_bytes(*session), said })
    }
}

/// What follows the head.
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
            // Its length is bounded.
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
