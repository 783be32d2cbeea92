//! The queue of publications. They are published in order, one batch at a time.

use std::collections::{BTreeMap, VecDeque};

use super::topic::{MachineId, Topic};
use super::wire::set_session;
use crate::exchange::CallId;

/// How long a message or request waits for a server that is not connected, in ms.
pub const HOLD: u64 = 1000;

/// The largest number of bytes in the queue.
pub const MAX_HELD: usize = 16 << 20;

/// The approximate limits of one batch.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;

/// The largest number of topics whose losses are counted. Processes choose the names, and a server may be away for long.
const MAX_LOST: usize = 4096;

/// The memory for a publication in addition to its bytes.
const OVERHEAD: usize = 64;

/// What a publication is for, which determines what happens if it cannot be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A message. If it is lost, subscribers of this topic are told.
    Message(Topic),
    /// A request. If it cannot be published, it ends.
    Request(CallId),
    /// Part of a request that ends with the connection. Its loss needs no report.
    Answer,
}

/// A publication in the queue.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) topic: Topic,
    pub(super) bytes: Vec<u8>,
    pub(super) purpose: Purpose,
    /// The room that it takes from the processes of this machine, in bytes.
    pub(super) cost: usize,
}

impl Held {
    /// The memory that it takes while it is in the queue. It also has names, which processes choose.
    fn memory(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// One publication of the current batch.
#[derive(Debug)]
struct Part {
    topic: Topic,
    /// The request, if it is one.
    request: Option<CallId>,
    /// The loss to report if the batch fails: the topic, and the number of messages.
    lost: Option<(Topic, u64)>,
}

/// What the server's answer says about a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// A request has reached this many machines, including this one.
    Request(CallId, u64),
    /// A publication to this machine had no subscriber.
    NoSubscriber(MachineId),
}

/// The queue: see the module.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Each entry with the time at which it was queued.
    queue: VecDeque<(u64, Held)>,
    queued: usize,
    /// The batch that is being published.
    publishing: Option<Vec<Part>>,
    /// The room of entries that have left the queue. Processes get it back when the batch is complete.
    published: usize,
    /// Losses that have not been published yet. Those of [`Topic::Requests`] are losses of topics that are not counted.
    unpublished: BTreeMap<Topic, u64>,
}

impl Outgoing {
    /// Queues a publication. Returns it if there is no room.
    pub(super) fn push(&mut self, held: Held, now: u64) -> Result<(), Held> {
        // Answers without data of a process are short, and their number is bounded. That of requests is not: their process
        // may close its link and make others on another one.
        let is_bounded = held.cost == 0 && held.purpose == Purpose::Answer;
        if !is_bounded && self.queued + held.memory() > MAX_HELD {
            return Err(held);
        }
        self.queued += held.memory();
        self.queue.push_back((now, held));
        Ok(())
    }

    /// Queues a message, or counts it as lost.
    pub(super) fn push_or_lose(&mut self, held: Held, now: u64) {
        if let Err(Held { purpose: Purpose::Message(topic), cost, .. }) = self.push(held, now) {
            self.published += cost;
            self.lose(topic, 1);
        }
    }

    /// Frees room of a process that is not needed.
    pub(super) fn release(&mut self, cost: usize) {
        self.published += cost;
    }

    /// Counts messages as lost.
    pub(super) fn lose(&mut self, topic: Topic, count: u64) {
        let has_place = self.unpublished.len() < MAX_LOST || self.unpublished.contains_key(&topic);
        let topic = if has_place { topic } else { Topic::Requests };
        let lost = self.unpublished.entry(topic).or_default();
        *lost = lost.saturating_add(count);
    }

    /// The connection has ended. Messages of the current batch count as lost, and publications that depend on
    /// the connection are dropped.
    pub(super) fn on_failed(&mut self) {
        for (topic, count) in self.publishing.take().into_iter().flatten().filter_map(|part| part.lost) {
            self.lose(topic, count);
        }
        for (since, held) in std::mem::take(&mut self.queue) {
            if held.purpose == Purpose::Answer {
                self.leave(&held);
            } else {
                self.queue.push_back((since, held));
            }
        }
    }

    /// The batch has been published. `counts` has the number of subscribers for each part.
    pub(super) fn on_published(&mut self, counts: &[u64]) -> Vec<Reached> {
        let parts = self.publishing.take().unwrap_or_default();
        // A missing count is treated as 0.
        let counts = counts.iter().copied().chain(std::iter::repeat(0));
        let reached =
            parts.into_iter().zip(counts).filter_map(|(part, count)| match (part.request, part.topic) {
                (Some(call), _) => Some(Reached::Request(call, count)),
                (None, Topic::Machine(machine)) if count == 0 => Some(Reached::NoSubscriber(machine)),
                _ => None,
            });
        reached.collect()
    }

    /// The next batch, unless one is being published or nothing waits. `is_open` tells whether a request
    /// still waits, and `encode_loss` encodes a number of lost messages.
    pub(super) fn next_batch(
        &mut self,
        session: u32,
        mut is_open: impl FnMut(CallId) -> bool,
        encode_loss: impl Fn(u64) -> Vec<u8>,
    ) -> Option<Vec<(Topic, Vec<u8>)>> {
        if self.publishing.is_some() {
            return None;
        }
        let (mut batch, mut parts, mut bytes) = (Vec::new(), Vec::new(), 0);
        // Losses are older than the entries of the queue.
        while batch.len() < BATCH
            && let Some((topic, count)) = self.unpublished.pop_first()
        {
            batch.push((topic.clone(), encode_loss(count)));
            parts.push(Part { topic: topic.clone(), request: None, lost: Some((topic, count)) });
        }
        while batch.len() < BATCH
            && bytes < BATCH_BYTES
            && let Some((_, mut held)) = self.queue.pop_front()
        {
            self.leave(&held);
            let (request, lost) = match held.purpose {
                Purpose::Message(topic) => (None, Some((topic, 1))),
                Purpose::Request(call) if !is_open(call) => continue,
                Purpose::Request(call) => (Some(call), None),
                Purpose::Answer => (None, None),
            };
            bytes += held.bytes.len();
            set_session(&mut held.bytes, session);
            parts.push(Part { topic: held.topic.clone(), request, lost });
            batch.push((held.topic, held.bytes));
        }
        (!batch.is_empty()).then(|| {
            self.publishing = Some(parts);
            batch
        })
    }

    /// Without a connection, drops entries that have waited too long. Returns the requests among them.
    pub(super) fn drop_old(&mut self, now: u64) -> Vec<CallId> {
        let mut requests = Vec::new();
        while self.queue.front().is_some_and(|(since, _)| since + HOLD <= now)
            && let Some((_, held)) = self.queue.pop_front()
        {
            self.leave(&held);
            match held.purpose {
                Purpose::Message(topic) => self.lose(topic, 1),
                Purpose::Request(call) => requests.push(call),
                Purpose::Answer => {}
            }
        }
        requests
    }

    fn leave(&mut self, held: &Held) {
        self.queued -= held.memory();
        self.published += held.cost;
    }

    /// Takes the room to give back, in bytes: 0 while a batch is being published.
    pub(super) fn take_room(&mut self) -> usize {
        if self.publishing.is_some() { 0 } else { std::mem::take(&mut self.published) }
    }

    /// When the oldest entry has waited too long.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.queue.front().map(|(since, _)| since + HOLD)
    }

    pub(super) fn check_invariants(&self, is_open: bool) {
        assert_eq!(self.queued, self.queue.iter().map(|(_, it)| it.memory()).sum::<usize>());
        let costs = self.queue.iter().map(|(_, it)| it.cost);
        assert!(costs.sum::<usize>() <= MAX_HELD, "what waits is bounded");
        assert!(self.unpublished.len() <= MAX_LOST + 1, "what is lost is bounded");
        assert!(is_open || self.publishing.is_none());
        assert!(is_open || self.queue.iter().all(|(_, it)| it.purpose != Purpose::Answer));
    }
}
