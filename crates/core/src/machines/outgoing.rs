//! What is to be published, in order, one batch after the other.

use std::collections::{BTreeMap, VecDeque};

use super::topic::{MachineId, Topic};
use super::wire::set_session;
use crate::exchange::CallId;

/// How long a message or a request waits for a server that is not connected, in ms.
pub const HOLD: u64 = 1000;

/// How many bytes wait to be published.
pub const MAX_HELD: usize = 16 << 20;

/// How much is published at once, about.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;

/// What a message takes besides its bytes.
const OVERHEAD: usize = 64;

/// What it is, and so what becomes of it if it cannot be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A message. Others are told how many are missing, on this topic.
    Message(Topic),
    /// A request, which ends.
    Request(CallId),
    /// About a request that ends with the connection. Nobody misses it.
    Answer,
}

/// What is to be published.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) topic: Topic,
    pub(super) bytes: Vec<u8>,
    pub(super) purpose: Purpose,
    /// How many bytes of a process it takes.
    pub(super) cost: usize,
}

/// What a batch consists of.
#[derive(Debug)]
struct Part {
    topic: Topic,
    /// The request that it makes.
    request: Option<CallId>,
    /// Where messages are missing by its failure, and how many.
    lost: Option<(Topic, u64)>,
}

/// What has come of a part of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// A request has reached so many machines, this one included.
    Request(CallId, u64),
    /// Something for a machine has not reached it.
    Nobody(MachineId),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Each with the time since which it waits.
    queue: VecDeque<(u64, Held)>,
    queued: usize,
    /// The batch that is under way.
    publishing: Option<Vec<Part>>,
    /// Bytes of what has left the queue, for which processes have room again when the batch is over.
    published: usize,
    /// What others have to be told is lost.
    unpublished: BTreeMap<Topic, u64>,
}

impl Outgoing {
    /// Queues something. Returns it if there is no room for it.
    pub(super) fn push(&mut self, held: Held, now: u64) -> Result<(), Held> {
        // What has no bytes of a process is short, and there is a bounded number of it.
        let is_bounded = held.cost == 0 && !matches!(held.purpose, Purpose::Message(_));
        if !is_bounded && self.queued + held.cost + OVERHEAD > MAX_HELD {
            return Err(held);
        }
        self.queued += held.cost + OVERHEAD;
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

    /// Bytes of a process are not needed.
    pub(super) fn release(&mut self, cost: usize) {
        self.published += cost;
    }

    /// So many messages are missing.
    pub(super) fn lose(&mut self, topic: Topic, count: u64) {
        let lost = self.unpublished.entry(topic).or_default();
        *lost = lost.saturating_add(count);
    }

    /// The connection has ended. Requests of the batch that is under way, and all that were published, end as well.
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

    /// The batch has been published, and each part has reached so many.
    pub(super) fn on_published(&mut self, counts: &[u64]) -> Vec<Reached> {
        let parts = self.publishing.take().unwrap_or_default();
        // A server that does not say how many has reached nobody.
        let counts = counts.iter().copied().chain(std::iter::repeat(0));
        let reached =
            parts.into_iter().zip(counts).filter_map(|(part, count)| match (part.request, part.topic) {
                (Some(call), _) => Some(Reached::Request(call, count)),
                (None, Topic::Machine(machine)) if count == 0 => Some(Reached::Nobody(machine)),
                _ => None,
            });
        reached.collect()
    }

    /// The next batch, if there is anything and none is under way. `is_open` says whether a request still waits, and `say_lost`
    /// how many messages are missing.
    pub(super) fn next_batch(
        &mut self,
        session: u32,
        mut is_open: impl FnMut(CallId) -> bool,
        say_lost: impl Fn(u64) -> Vec<u8>,
    ) -> Option<Vec<(Topic, Vec<u8>)>> {
        if self.publishing.is_some() {
            return None;
        }
        let (mut batch, mut parts, mut bytes) = (Vec::new(), Vec::new(), 0);
        // What is lost is older than what waits.
        while batch.len() < BATCH
            && let Some((topic, count)) = self.unpublished.pop_first()
        {
            batch.push((topic.clone(), say_lost(count)));
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

    /// Drops what has waited for too long, as the server is not connected. Returns the requests among it.
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
        self.queued -= held.cost + OVERHEAD;
        self.published += held.cost;
    }

    /// How many bytes processes have room for again. Those of a batch that is under way are kept back.
    pub(super) fn take_room(&mut self) -> usize {
        if self.publishing.is_some() { 0 } else { std::mem::take(&mut self.published) }
    }

    /// When something has waited for too long.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.queue.front().map(|(since, _)| since + HOLD)
    }

    pub(super) fn check_invariants(&self, is_open: bool) {
        assert_eq!(self.queued, self.queue.iter().map(|(_, it)| it.cost + OVERHEAD).sum::<usize>());
        let costs = self.queue.iter().map(|(_, it)| it.cost);
        assert!(costs.sum::<usize>() <= MAX_HELD, "what waits is bounded");
        assert!(is_open || self.publishing.is_none());
        assert!(is_open || self.queue.iter().all(|(_, it)| it.purpose != Purpose::Answer));
    }
}
