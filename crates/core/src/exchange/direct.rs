//! Direct messages between two processes: pairs, from the side of a process.
//!
//! # Design
//! A process can send a message to another one in two ways, and all messages arrive in the order in which
//! they were sent. A message through the exchange cannot overtake an earlier direct one, because of the order
//! in which the receiver reads: see [`Reading`](super::reading::Reading). For the other direction, the
//! process sends a mark ([`Ask::Mark`]) after its messages through the exchange. Direct messages carry the
//! number of the last mark, and the receiver holds them back until that mark has arrived. A message that is
//! too long for a packet, or that finds the socket full, goes through the exchange.
//!
//! The other end of a pair is not trusted: it can make requests on this pair and answer those that were sent
//! to it on this pair, and nothing else.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::frame::{Frame, Head, Kind, Status};
use super::pair::Pair;
use super::pairs::PairId;
use super::wire::Ask;
use super::{CallId, MAX_CALLS, MAX_NAME, RequestId, Target};

/// A process with this many unfinished requests sends further ones through the exchange, which can take many
/// at once.
const MAX_DIRECT: usize = 1000;

/// The first number of the calls of pairs in this process. The exchange's own numbers are far below.
const FIRST_CALL: u64 = 1 << 52;

/// The other end of a pair has sent invalid data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// A frame for the process that does not come from a packet.
fn synthetic(kind: Kind, flag: u8, worker: u32, number: u64) -> Frame<'static> {
    Frame { kind, flag, worker, rest: 0, number, name: &[], data: &[] }
}

/// The result of processing a packet of a pair.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received<'a> {
    /// A frame for the process.
    Frame(Frame<'a>),
    /// An answer that is sent without involving the process.
    Answer(CallId, Status),
    /// Nothing to do: the packet is out of date, or refers to an unknown request or call.
    Nothing,
}

/// The way in which something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// On the socket of a pair.
    Pair(PairId),
    /// Through the exchange.
    Exchange,
    /// Not at all: the receiver no longer waits for it.
    Nowhere,
}

/// The pairs of this process: see the module.
#[derive(Debug)]
pub(super) struct Direct {
    pairs: BTreeMap<PairId, Pair>,
    by_worker: BTreeMap<u32, PairId>,
    handles: HashSet<Box<[u8]>>,
    requests: HashMap<RequestId, PairId>,
    calls: HashMap<CallId, (PairId, u64)>,
    /// The callers of the calls that have come through the exchange.
    callers: HashMap<CallId, u32>,
    /// Unanswered requests that went through the exchange.
    relayed: HashSet<RequestId>,
    next_call: u64,
    synthetic: VecDeque<Frame<'static>>,
}

impl Default for Direct {
    fn default() -> Self {
        Self {
            pairs: BTreeMap::new(),
            by_worker: BTreeMap::new(),
            handles: HashSet::new(),
            requests: HashMap::new(),
            calls: HashMap::new(),
            callers: HashMap::new(),
            relayed: HashSet::new(),
            next_call: FIRST_CALL,
            synthetic: VecDeque::new(),
        }
    }
}

impl Direct {
    /// Chooses the way of a message.
    pub(super) fn way(&self, ask: &Ask<'_>) -> Way {
        let to = match *ask {
            Ask::Request { target: Target::Worker(worker), name, data, .. }
                if self.requests.len() + self.relayed.len() < MAX_DIRECT =>
            {
                self.clean_pair(worker.0, name, data)
            }
            Ask::Notify { target: Target::Worker(worker), name, data } => {
                self.clean_pair(worker.0, name, data)
            }
            Ask::Reply { call, data, .. } if call.0 >= FIRST_CALL => match self.calls.get(&call) {
                Some((pair, _)) => self.pairs.get_key_value(pair).filter(|(_, its)| its.takes(&[], data)),
                None => return Way::Nowhere,
            },
            _ => None,
        };
        to.map_or(Way::Exchange, |(pair, _)| Way::Pair(*pair))
    }

    fn clean_pair(&self, worker: u32, name: &[u8], data: &[u8]) -> Option<(&PairId, &Pair)> {
        let pair = self.pairs.get_key_value(self.by_worker.get(&worker)?)?;
        Some(pair).filter(|(_, its)| its.takes(name, data))
    }

    /// Encodes a message for the socket of a pair.
    pub(super) fn encode(&self, pair: PairId, ask: &Ask<'_>, packet: &mut Vec<u8>) {
        let rest = self.pairs.get(&pair).map_or(0, Pair::mark);
        let head = |kind| Head { rest, ..Head::new(kind) };
        let (head, data) = match *ask {
            Ask::Request { id, name, data, .. } => (Head { number: id.0, name, ..head(Kind::Request) }, data),
            Ask::Notify { name, data, .. } => (Head { name, ..head(Kind::Notice) }, data),
            Ask::Reply { call, status, data } => {
                let number = self.calls.get(&call).map_or(0, |(_, number)| *number);
                (Head { flag: status as u8, number, ..head(Kind::Outcome) }, data)
            }
            Ask::Cancel { id, .. } => (Head { number: id.0, ..head(Kind::Cancelled) }, &[][..]),
            _ => return,
        };
        packet.extend(head.encode(data.len()));
        packet.extend(data);
    }

    /// The message was sent on the socket of the pair.
    pub(super) fn on_sent(&mut self, pair: PairId, ask: &Ask<'_>) {
        match *ask {
            Ask::Request { id, .. } => {
                self.requests.insert(id, pair);
                if let Some(its) = self.pairs.get_mut(&pair) {
                    its.requests.insert(id);
                }
            }
            Ask::Reply { call, .. } => self.end_call(call),
            _ => {}
        }
    }

    fn end_call(&mut self, call: CallId) {
        let Some((pair, number)) = self.calls.remove(&call) else { return };
        if let Some(its) = self.pairs.get_mut(&pair) {
            its.calls.remove(&number);
        }
    }

    /// Translates a message for the exchange, which does not know the calls of pairs.
    pub(super) fn by_exchange<'a>(&self, ask: Ask<'a>) -> Ask<'a> {
        match ask {
            Ask::Reply { call, status, data } => match self.calls.get(&call) {
                Some(&(pair, number)) => Ask::Answer { pair, id: RequestId(number), status, data },
                None => ask,
            },
            _ => ask,
        }
    }

    /// The message was sent through the exchange. Returns the mark that must follow.
    pub(super) fn on_relayed(&mut self, ask: &Ask<'_>) -> Option<Ask<'static>> {
        let worker = match *ask {
            Ask::Handle(name) => {
                self.handles.insert(name.into());
                return None;
            }
            Ask::Unhandle(name) => {
                self.handles.remove(name);
                return None;
            }
            Ask::Request { id, target, .. } => {
                self.relayed.insert(id);
                target_worker(target)
            }
            Ask::Cancel { id, tell } => {
                // Without `tell` no outcomes follow.
                if !tell {
                    self.relayed.remove(&id);
                }
                return None;
            }
            Ask::Notify { target, .. } => target_worker(target),
            Ask::Post { .. } => None,
            Ask::Reply { call, .. } if call.0 >= FIRST_CALL => {
                let pair = self.calls.get(&call).map(|(pair, _)| *pair)?;
                self.end_call(call);
                return self.on_relayed_to(pair);
            }
            Ask::Reply { call, .. } => self.callers.remove(&call),
            _ => return None,
        };
        if let Some(worker) = worker {
            let pair = *self.by_worker.get(&worker)?;
            return self.on_relayed_to(pair);
        }
        // The message may go to any process.
        self.pairs.values_mut().for_each(Pair::on_relayed);
        None
    }

    /// A message for the other process of a pair went through the exchange. A mark must follow, and then the
    /// next message can go directly.
    fn on_relayed_to(&mut self, pair: PairId) -> Option<Ask<'static>> {
        let number = self.pairs.get_mut(&pair)?.next_mark()?;
        Some(Ask::Mark { pair, number: number.into() })
    }

    /// Cancels a request. If it was sent directly, returns the pair and the worker.
    pub(super) fn cancel(&mut self, id: RequestId) -> Option<(PairId, u32)> {
        let pair = self.requests.remove(&id)?;
        let its = self.pairs.get_mut(&pair)?;
        its.requests.remove(&id);
        Some((pair, its.worker))
    }

    /// The place for the number of unfinished requests, and the number.
    pub(super) fn published(&self, pair: PairId) -> Option<(usize, usize)> {
        self.pairs.get(&pair).map(|its| (its.place, its.requests.len()))
    }

    /// Whether there is no pair.
    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The process has received the socket of a pair.
    pub(super) fn on_paired(&mut self, pair: PairId, worker: u32, place: usize) {
        self.pairs.insert(pair, Pair::new(worker, place));
        self.by_worker.insert(worker, pair);
    }

    /// Nothing may be sent to a pair any more.
    pub(super) fn on_retired(&mut self, pair: PairId) {
        if let Some(its) = self.pairs.get_mut(&pair) {
            its.retire();
        }
    }

    /// A pair has ended. Returns the place at which its requests were published.
    pub(super) fn on_unpaired(&mut self, pair: PairId, status: u8) -> Option<usize> {
        let its = self.pairs.remove(&pair)?;
        if self.by_worker.get(&its.worker) == Some(&pair) {
            self.by_worker.remove(&its.worker);
        }
        for id in its.requests {
            self.requests.remove(&id);
            self.synthetic.push_back(synthetic(Kind::Outcome, status, its.worker, id.0));
        }
        for call in its.calls.into_values() {
            self.calls.remove(&call);
            self.synthetic.push_back(synthetic(Kind::Cancelled, 0, 0, call.0));
        }
        Some(its.place)
    }

    /// The next frame for the process that does not come from a packet.
    pub(super) fn take_synthetic(&mut self) -> Option<Frame<'static>> {
        self.synthetic.pop_front()
    }

    /// A mark of the other process has arrived.
    pub(super) fn on_mark(&mut self, pair: PairId, number: u64) {
        if let Some(its) = self.pairs.get_mut(&pair) {
            its.on_mark(number);
        }
    }

    /// Whether everything sent before this mark has arrived.
    pub(super) fn is_due(&self, pair: PairId, mark: u32) -> bool {
        self.pairs.get(&pair).is_none_or(|its| its.is_due(mark))
    }

    /// Notes what a frame of the exchange says about requests and calls.
    pub(super) fn on_exchanged(&mut self, frame: &Frame<'_>) {
        match frame.kind {
            Kind::Request if !self.pairs.is_empty() => {
                self.callers.insert(CallId(frame.number), frame.worker);
            }
            Kind::Cancelled => {
                self.callers.remove(&CallId(frame.number));
            }
            Kind::Outcome if frame.rest == 0 => {
                self.relayed.remove(&RequestId(frame.number));
            }
            _ => {}
        }
    }

    /// An answer to a request of a pair has come through the exchange.
    pub(super) fn on_answer<'a>(&mut self, pair: PairId, frame: &Frame<'a>) -> Option<Frame<'a>> {
        let its = self.pairs.get_mut(&pair)?;
        let id = RequestId(frame.number);
        // The request was cancelled, or belongs to another pair.
        if !its.requests.remove(&id) {
            return None;
        }
        self.requests.remove(&id);
        Some(Frame { kind: Kind::Outcome, worker: its.worker, rest: 0, name: &[], ..*frame })
    }

    /// Processes a frame from the socket of a pair.
    pub(super) fn on_frame<'a>(&mut self, pair: PairId, frame: &Frame<'a>) -> Result<Received<'a>, Broken> {
        let its = self.pairs.get_mut(&pair).ok_or(Broken)?;
        let worker = its.worker;
        match frame.kind {
            Kind::Request if frame.name.len() <= MAX_NAME && !its.calls.contains_key(&frame.number) => {
                let call = CallId(self.next_call);
                self.next_call += 1;
                its.calls.insert(frame.number, call);
                self.calls.insert(call, (pair, frame.number));
                if self.calls.len() > MAX_CALLS {
                    return Ok(Received::Answer(call, Status::Busy));
                }
                if !self.handles.contains(frame.name) {
                    return Ok(Received::Answer(call, Status::NoHandler));
                }
                Ok(Received::Frame(Frame { worker, rest: 0, flag: 0, number: call.0, ..*frame }))
            }
            Kind::Notice if !self.handles.contains(frame.name) => Ok(Received::Nothing),
            Kind::Notice => Ok(Received::Frame(Frame { worker, rest: 0, flag: 0, number: 0, ..*frame })),
            Kind::Cancelled => Ok(match its.calls.remove(&frame.number) {
                Some(call) => {
                    self.calls.remove(&call);
                    Received::Frame(synthetic(Kind::Cancelled, 0, 0, call.0))
                }
                None => Received::Nothing,
            }),
            Kind::Outcome if Status::of_pair(frame.flag).is_some() => {
                Ok(self.on_answer(pair, frame).map_or(Received::Nothing, Received::Frame))
            }
            _ => Err(Broken),
        }
    }

    /// The number of pairs, and the number of clean ones.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.pairs.len(), self.pairs.values().filter(|its| its.is_clean()).count())
    }

    pub(super) fn check_invariants(&self) {
        let requests: usize = self.pairs.values().map(|its| its.requests.len()).sum();
        let calls: usize = self.pairs.values().map(|its| its.calls.len()).sum();
        assert_eq!((requests, calls), (self.requests.len(), self.calls.len()));
        assert!(self.requests.len() <= MAX_DIRECT);
        for (worker, pair) in &self.by_worker {
            assert_eq!(self.pairs[pair].worker, *worker, "a worker is found by its pair");
        }
    }
}

/// The worker of a target.
fn target_worker(target: Target<'_>) -> Option<u32> {
    match target {
        Target::Worker(worker) => Some(worker.0),
        _ => None,
    }
}
