//! The frames that wait for a process to read them: a bounded number of bytes, in order.
//!
//! Frames that may be dropped are dropped if there is no room, and the process is told how many, at the place
//! in the order where they are missing. No sender can use more than a part of the room, so a sender that
//! floods a process leaves room for others.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::frame::{ANY, Head, Kind, Outgoing, flag_of};
use super::pairs::PairId;
use super::{ClientId, MAX_QUEUED, MAX_QUEUED_OF_ONE, Process, Scope};

/// The overhead of a frame in bytes.
const OVERHEAD: usize = 64;

fn cost_of(length: usize) -> usize {
    length + OVERHEAD
}

/// What dropped messages belonged to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Channel(Scope, Arc<[u8]>),
    Handler(Arc<[u8]>),
    /// Topics beyond [`MAX_TOPICS`].
    Others,
}

/// The largest number of topics that are counted for other machines. Senders choose the names; a process is only sent what
/// it has subscribed to or handles.
const MAX_TOPICS: usize = 4096;

#[derive(Debug)]
struct Queued {
    frame: Outgoing,
    /// The sender whose share of the room it uses; `None` for an answer to the process itself.
    sender: Option<ClientId>,
}

impl Queued {
    fn cost(&self) -> usize {
        cost_of(self.frame.len())
    }
}

/// The outbox: see the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Queued>,
    /// The bytes of the first frame that have been sent.
    sent: usize,
    /// The bytes of all frames with a sender, and those of each sender.
    bytes: usize,
    by_sender: HashMap<ClientId, usize>,
    /// The number of frames without a sender.
    answers: usize,
    /// The number of dropped frames since the last report to the process.
    dropped: BTreeMap<Topic, u64>,
    /// Whether this is the outbox for other machines.
    is_for_machines: bool,
    /// Marks for which there was no room. A later mark of the same pair replaces them.
    marks: BTreeMap<PairId, u64>,
}

impl Outbox {
    /// The outbox of a process, or of all other machines.
    pub(super) fn of(process: Process) -> Self {
        Self { is_for_machines: process == Process::OtherMachines, ..Self::default() }
    }

    /// Queues a frame of a sender. False if there is no room for it.
    #[must_use]
    pub(super) fn offer(&mut self, sender: ClientId, frame: Outgoing) -> bool {
        if !self.has_room(sender, frame.len()) {
            return false;
        }
        let queued = Queued { frame, sender: Some(sender) };
        let cost = queued.cost();
        self.bytes += cost;
        *self.by_sender.entry(sender).or_default() += cost;
        self.queue.push_back(queued);
        true
    }

    /// Whether there is room for a frame of this length.
    pub(super) fn has_room(&self, sender: ClientId, length: usize) -> bool {
        let cost = cost_of(length);
        let its = self.by_sender.get(&sender).copied().unwrap_or(0);
        self.bytes + cost <= MAX_QUEUED && its + cost <= MAX_QUEUED_OF_ONE
    }

    /// Queues a frame that may be dropped: if there is no room, or while the process has not been notified of
    /// earlier drops of the same topic.
    pub(super) fn offer_or_drop(&mut self, sender: ClientId, topic: &Topic, frame: Outgoing) {
        if let Some(count) = self.dropped.get_mut(topic) {
            *count += 1;
        } else if self.is_for_machines && self.dropped.len() >= MAX_TOPICS {
            *self.dropped.entry(Topic::Others).or_default() += 1;
        } else if !self.offer(sender, frame) {
            self.dropped.insert(topic.clone(), 1);
        }
    }

    /// Queues a mark of a pair. It may be delayed after the frames that it follows, and is never dropped.
    pub(super) fn mark(&mut self, sender: ClientId, pair: PairId, number: u64) {
        if self.marks.contains_key(&pair) || !self.offer(sender, mark(pair, number)) {
            self.marks.insert(pair, number);
        }
    }

    /// Queues an answer to the process' own request.
    pub(super) fn answer(&mut self, frame: Outgoing) {
        self.answers += 1;
        self.queue.push_back(Queued { frame, sender: None });
    }

    /// The number of unread answers.
    pub(super) fn answers(&self) -> usize {
        self.answers
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether all frames sent so far were sent completely.
    pub(super) fn is_between_frames(&self) -> bool {
        self.sent == 0
    }

    /// Copies the next bytes, up to `limit`.
    pub(super) fn peek(&self, limit: usize, packet: &mut Vec<u8>) {
        packet.clear();
        let mut skip = self.sent;
        for Queued { frame, .. } in &self.queue {
            for bytes in [&frame.head[..], &frame.data[..]] {
                let from = skip.min(bytes.len());
                skip -= from;
                let room = limit - packet.len();
                packet.extend(&bytes[from..bytes.len().min(from + room)]);
            }
            if packet.len() == limit {
                return;
            }
        }
    }

    /// This many of the bytes copied by [`Outbox::peek`] were sent.
    pub(super) fn on_sent(&mut self, count: usize) {
        self.sent += count;
        while let Some(first) = self.queue.front() {
            let Some(rest) = self.sent.checked_sub(first.frame.len()) else { break };
            let (cost, sender) = (first.cost(), first.sender);
            self.sent = rest;
            self.queue.pop_front();
            match sender {
                Some(sender) => self.give_room(sender, cost),
                None => self.answers -= 1,
            }
        }
        if self.bytes <= MAX_QUEUED / 4 {
            self.tell_dropped();
        }
    }

    fn give_room(&mut self, sender: ClientId, cost: usize) {
        self.bytes -= cost;
        if let Some(its) = self.by_sender.get_mut(&sender) {
            *its -= cost;
            if *its == 0 {
                self.by_sender.remove(&sender);
            }
        }
    }

    /// Queues the lag frames. There are at most as many as the process has subscriptions and handlers, or [`MAX_TOPICS`].
    fn tell_dropped(&mut self) {
        for (topic, number) in std::mem::take(&mut self.dropped) {
            let (kind, flag, name) = match &topic {
                Topic::Channel(scope, name) => (Kind::ChannelLag, flag_of(*scope), name),
                Topic::Handler(name) => (Kind::HandlerLag, 0, name),
                Topic::Others => (Kind::HandlerLag, ANY, &Arc::from([])),
            };
            self.answer(Outgoing::new(&Head { flag, number, name, ..Head::new(kind) }, &Arc::from([])));
        }
        for (pair, number) in std::mem::take(&mut self.marks) {
            self.answer(mark(pair, number));
        }
    }

    /// Messages of a topic were dropped before they arrived here.
    pub(super) fn on_dropped(&mut self, topic: &Topic, count: u64) {
        let dropped = self.dropped.entry(topic.clone()).or_default();
        *dropped = dropped.saturating_add(count);
        if self.bytes <= MAX_QUEUED / 4 {
            self.tell_dropped();
        }
    }

    /// The process no longer subscribes to or handles this topic.
    pub(super) fn forget(&mut self, topic: &Topic) {
        self.dropped.remove(topic);
    }

    /// The number of waiting bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn check_invariants(&self) {
        let sum = |sender: Option<ClientId>| {
            let its = self
                .queue
                .iter()
                .filter(|it| it.sender.is_some() && (sender.is_none() || it.sender == sender));
            its.map(Queued::cost).sum::<usize>()
        };
        assert_eq!(self.bytes, sum(None), "all bytes are counted");
        assert!(self.bytes <= MAX_QUEUED, "they are bounded");
        for (sender, bytes) in &self.by_sender {
            assert_eq!(*bytes, sum(Some(*sender)), "all bytes of a sender are counted");
            assert!(*bytes > 0 && *bytes <= MAX_QUEUED_OF_ONE, "they are bounded");
        }
        let answers = self.queue.iter().filter(|it| it.sender.is_none()).count();
        assert_eq!(self.answers, answers, "all answers are counted");
        assert!(self.sent == 0 || self.queue.front().is_some_and(|first| self.sent < first.frame.len()));
        let has_told_all = self.dropped.is_empty() && self.marks.is_empty();
        assert!(has_told_all || self.bytes > 0, "who has read all has been told what was dropped");
    }
}

fn mark(pair: PairId, number: u64) -> Outgoing {
    Outgoing::new(&Head { rest: pair.0, number, ..Head::new(Kind::Mark) }, &Arc::from([]))
}

#[cfg(test)]
mod tests {
    use super::super::frame::Assembler;
    use super::*;

    const ONE: ClientId = ClientId(1);
    const OTHER: ClientId = ClientId(2);

    fn frame(number: u64, length: usize) -> Outgoing {
        Outgoing::new(&Head { number, ..Head::new(Kind::Message) }, &vec![0; length].into())
    }

    fn read_all(outbox: &mut Outbox, limit: usize) -> Vec<(Kind, u64)> {
        let (mut all, mut packet, mut assembler) = (Vec::new(), Vec::new(), Assembler::default());
        while !outbox.is_empty() {
            outbox.peek(limit, &mut packet);
            assert!(!packet.is_empty() && packet.len() <= limit);
            assembler.push(&packet);
            outbox.on_sent(packet.len());
            outbox.check_invariants();
            while let Some(frame) = assembler.next_frame().unwrap() {
                all.push((frame.kind, frame.number));
            }
        }
        all
    }

    #[test]
    fn everything_is_sent_in_order_whatever_the_packets() {
        for limit in [1, 30, 1000, 65_536] {
            let mut outbox = Outbox::default();
            for number in 0..50 {
                assert!(outbox.offer(ONE, frame(number, usize::try_from(number).unwrap() * 10)));
                outbox.check_invariants();
            }
            let expected: Vec<_> = (0..50).map(|number| (Kind::Message, number)).collect();
            assert_eq!(read_all(&mut outbox, limit), expected);
            assert_eq!(outbox.bytes(), 0);
        }
    }

    #[test]
    fn dropped_messages_are_counted_at_their_place() {
        let mut outbox = Outbox::default();
        let topic = Topic::Channel(Scope::Machine, Arc::from(&b"news"[..]));
        let mut kept = 0;
        for number in 0..100 {
            outbox.offer_or_drop(ONE, &topic, frame(number, 1 << 20));
            if outbox.dropped.is_empty() {
                kept += 1;
            }
            outbox.check_invariants();
        }
        assert!(outbox.offer(OTHER, frame(100, 1 << 20)), "a sender leaves room for others");
        // A short frame would fit, but it would come before the frame that reports the missing ones.
        outbox.offer_or_drop(OTHER, &topic, frame(101, 0));
        let all = read_all(&mut outbox, 65_536);
        let kept_numbers = (0..kept).map(|number| (Kind::Message, number));
        let mut expected: Vec<_> = kept_numbers.chain([(Kind::Message, 100)]).collect();
        expected.push((Kind::ChannelLag, 101 - kept));
        assert_eq!(all, expected);
        outbox.offer_or_drop(ONE, &topic, frame(102, 0));
        assert_eq!(read_all(&mut outbox, 65_536), [(Kind::Message, 102)]);
    }

    #[test]
    fn dropped_messages_of_any_number_of_topics_are_bounded_and_reported() {
        let mut outbox = Outbox::of(Process::OtherMachines);
        while outbox.offer(ONE, frame(0, 1 << 20)) {}
        while outbox.offer(ONE, frame(0, 0)) {}
        let topics = u64::try_from(MAX_TOPICS).unwrap() + 1000;
        for number in 0..topics {
            let topic = Topic::Channel(Scope::All, Arc::from(number.to_le_bytes()));
            outbox.offer_or_drop(ONE, &topic, frame(1, 0));
        }
        assert_eq!(outbox.dropped.len(), MAX_TOPICS + 1);
        let all = read_all(&mut outbox, 65_536);
        assert_eq!(all.iter().filter(|it| **it == (Kind::ChannelLag, 1)).count(), MAX_TOPICS);
        assert_eq!(all.iter().filter(|it| **it == (Kind::HandlerLag, 1000)).count(), 1);
    }

    #[test]
    fn a_mark_follows_its_messages_even_without_room() {
        let mut outbox = Outbox::default();
        outbox.mark(ONE, PairId(7), 1);
        let mut kept = 0;
        while outbox.offer(ONE, frame(kept, 1 << 20)) {
            kept += 1;
        }
        while outbox.offer(ONE, frame(99, 0)) {}
        for number in 2..1000 {
            outbox.mark(ONE, PairId(7), number);
        }
        outbox.mark(OTHER, PairId(8), 1);
        outbox.check_invariants();
        let all: Vec<_> =
            read_all(&mut outbox, 65_536).into_iter().filter(|it| *it != (Kind::Message, 99)).collect();
        let mut expected = vec![(Kind::Mark, 1)];
        expected.extend((0..kept).map(|number| (Kind::Message, number)));
        expected.extend([(Kind::Mark, 1), (Kind::Mark, 999)]);
        assert_eq!(all, expected);
    }
}
