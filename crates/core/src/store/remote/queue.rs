//! Requests that wait for the server, and answers that wait until their revision has been applied.

use std::collections::VecDeque;

use super::batch::Checked;
use crate::store::ops::{Outcome, Status};

/// The largest number of requests in a batch, and its approximate size in bytes.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 1 << 20;

/// A request of a process.
#[derive(Debug)]
pub(super) struct Item {
    /// The process that sent it. Answers go to it in the order of its requests.
    peer: u64,
    request: Checked,
    /// How long it waits for an unreachable server.
    deadline: u64,
}

/// Requests that were sent together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    items: Vec<Item>,
}

/// Answers that are held back until the store has reached a revision.
#[derive(Debug)]
struct Held {
    revision: u64,
    deadline: u64,
    answers: Vec<(u64, Outcome)>,
}

/// The queue: see the module. All requests are in order: held, then sent, then waiting.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Item>,
    sent: Option<Batch>,
    held: VecDeque<Held>,
    last_batch: u64,
    /// The next N requests are sent singly, because their batch was refused and the cause is unknown.
    one_by_one: usize,
}

impl Batch {
    pub(super) fn arguments(&self) -> Vec<Vec<u8>> {
        let arguments = self.items.iter().filter_map(|item| match &item.request {
            Checked::Arguments(arguments) => Some(arguments.as_slice()),
            Checked::Refused(_) => None,
        });
        arguments.flatten().cloned().collect()
    }

    /// The number of its requests that the server answers.
    pub(super) fn asked(&self) -> usize {
        self.items.iter().filter(|item| matches!(item.request, Checked::Arguments(_))).count()
    }
}

impl Queue {
    pub(super) fn push(&mut self, peer: u64, request: Checked, deadline: u64) {
        self.waiting.push_back(Item { peer, request, deadline });
    }

    /// The number of unanswered requests.
    pub(super) fn len(&self) -> usize {
        let held: usize = self.held.iter().map(|held| held.answers.len()).sum();
        held + self.sent.as_ref().map_or(0, |batch| batch.items.len()) + self.waiting.len()
    }

    pub(super) fn is_sending(&self) -> bool {
        self.sent.is_some()
    }

    pub(super) fn sent(&self) -> Option<&Batch> {
        self.sent.as_ref()
    }

    /// Assembles the next batch. It may be empty if something else is sent with it.
    pub(super) fn send(&mut self) -> &Batch {
        let most = if self.one_by_one > 0 { 1 } else { BATCH };
        self.one_by_one = self.one_by_one.saturating_sub(1);
        let (mut bytes, mut items) = (0, Vec::new());
        while let Some(item) = self.waiting.front() {
            if let Checked::Arguments(arguments) = &item.request {
                bytes += arguments.iter().map(Vec::len).sum::<usize>();
            }
            if items.len() == most || (bytes > BATCH_BYTES && !items.is_empty()) {
                break;
            }
            items.extend(self.waiting.pop_front());
        }
        self.last_batch += 1;
        self.sent.insert(Batch { number: self.last_batch, items })
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The batch was executed. `outcomes` are those of the requests that were sent to the server.
    pub(super) fn on_answer(&mut self, revision: u64, outcomes: Vec<Outcome>) {
        let Some(batch) = self.sent.take() else { return };
        let deadline = batch.items.last().map_or(0, |item| item.deadline);
        let mut outcomes = outcomes.into_iter();
        let answers = batch.items.into_iter().map(|item| {
            let outcome = match item.request {
                Checked::Arguments(_) => outcomes.next(),
                Checked::Refused(outcome) => Some(outcome),
            };
            (item.peer, outcome.unwrap_or(Outcome::refused(Status::Invalid, 0)))
        });
        let answers: Vec<_> = answers.collect();
        if !answers.is_empty() {
            self.held.push_back(Held { revision, deadline, answers });
        }
    }

    /// The server refused the batch and executed none of it. False if its requests are to be retried singly.
    pub(super) fn on_refusal(&mut self, status: Status) -> bool {
        let Some(batch) = &self.sent else { return true };
        if batch.asked() > 1 {
            self.one_by_one += batch.items.len();
            self.unsend();
            return false;
        }
        self.on_answer(0, vec![Outcome::refused(status, 0)]);
        true
    }

    /// It is unknown how much of the batch was executed.
    pub(super) fn on_torn(&mut self) {
        let asked = self.sent.as_ref().map_or(0, Batch::asked);
        self.on_answer(0, vec![Outcome::refused(Status::Disconnected, 0); asked]);
    }

    /// The batch was not executed: its requests are sent again.
    pub(super) fn unsend(&mut self) {
        if let Some(batch) = self.sent.take() {
            batch.items.into_iter().rev().for_each(|item| self.waiting.push_front(item));
        }
    }

    /// The server had reached this revision. It has lost any acknowledged changes beyond it.
    pub(super) fn on_greeting(&mut self, revision: u64) {
        self.on_leap(revision, u64::MAX);
    }

    /// The server has no changes after the revision `before`, and continues at `after`.
    pub(super) fn on_leap(&mut self, before: u64, after: u64) {
        let is_lost = |held: &&mut Held| before < held.revision && held.revision < after;
        for held in self.held.iter_mut().filter(is_lost) {
            held.revision = before;
            for (_, outcome) in &mut held.answers {
                *outcome = Outcome::refused(Status::Disconnected, 0);
            }
        }
    }

    /// The answers that are due now that the store has reached `revision`.
    pub(super) fn take_answers(&mut self, revision: u64) -> Vec<(u64, Outcome)> {
        let mut answers = Vec::new();
        while self.held.front().is_some_and(|held| held.revision <= revision) {
            answers.extend(self.held.pop_front().into_iter().flat_map(|held| held.answers));
        }
        answers
    }

    /// The deadline of the oldest request.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let held = self.held.front().map(|held| held.deadline);
        let sent = || self.sent.as_ref().and_then(|batch| batch.items.last()).map(|item| item.deadline);
        held.or_else(sent).or_else(|| self.waiting.front().map(|item| item.deadline))
    }

    /// Fails the requests whose deadline has passed.
    pub(super) fn give_up(&mut self, now: u64) -> Vec<(u64, Outcome)> {
        let lost = Outcome::refused(Status::Disconnected, 0);
        let mut answers = Vec::new();
        while self.held.front().is_some_and(|held| held.deadline <= now) {
            let held = self.held.pop_front().into_iter().flat_map(|held| held.answers);
            answers.extend(held.map(|(peer, _)| (peer, lost)));
        }
        if !self.held.is_empty() {
            return answers;
        }
        if let Some(batch) = &mut self.sent {
            if batch.items.last().is_some_and(|item| item.deadline > now) {
                return answers;
            }
            // The batch may have been executed. Its result is no longer requested.
            answers.extend(batch.items.drain(..).map(|item| (item.peer, lost)));
            self.sent = None;
        }
        while self.waiting.front().is_some_and(|item| item.deadline <= now) {
            answers.extend(self.waiting.pop_front().map(|item| (item.peer, lost)));
            self.one_by_one = self.one_by_one.saturating_sub(1);
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Checked {
        Checked::Arguments(vec![vec![0; 3]; 3])
    }

    fn done(revision: u64) -> Outcome {
        Outcome { status: Status::Done, revision, number: 0.0 }
    }

    #[test]
    fn answers_come_in_the_order_of_the_requests_and_when_their_revision_does() {
        let mut queue = Queue::default();
        queue.push(1, asked(), 10);
        queue.push(2, Checked::Refused(Outcome::refused(Status::TooLarge, 0)), 10);
        queue.push(1, asked(), 10);
        assert_eq!((queue.send().asked(), queue.len()), (2, 3));
        queue.push(3, asked(), 20);
        queue.on_answer(8, vec![done(7), done(8)]);
        assert!(queue.take_answers(7).is_empty());
        let answers = queue.take_answers(8);
        assert_eq!(answers.iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!((answers[1].1.status, answers[2].1.revision), (Status::TooLarge, 8));
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn acknowledged_changes_that_were_lost_are_not_waited_for() {
        let mut queue = Queue::default();
        queue.push(1, asked(), 10);
        queue.send();
        queue.on_answer(8, vec![done(8)]);
        queue.on_greeting(8);
        assert!(queue.take_answers(7).is_empty());
        queue.on_greeting(7);
        assert_eq!(queue.take_answers(7), [(1, Outcome::refused(Status::Disconnected, 0))]);
    }

    #[test]
    fn what_a_leap_skips_was_lost() {
        let mut queue = Queue::default();
        for (peer, revision) in [(1, 7), (2, 8), (3, 90)] {
            queue.push(peer, asked(), 10);
            queue.send();
            queue.on_answer(revision, vec![done(revision)]);
        }
        queue.on_leap(7, 90);
        let answers = queue.take_answers(90);
        let statuses: Vec<_> = answers.iter().map(|(peer, outcome)| (*peer, outcome.status)).collect();
        assert_eq!(statuses, [(1, Status::Done), (2, Status::Disconnected), (3, Status::Done)]);
    }

    #[test]
    fn a_refused_batch_is_retried_one_by_one() {
        let mut queue = Queue::default();
        (0..3).for_each(|peer| queue.push(peer, asked(), 10));
        assert_eq!(queue.send().number, 1);
        assert!(!queue.on_refusal(Status::ServerFull));
        queue.push(9, asked(), 10);
        for peer in 0..3 {
            assert_eq!(queue.send().asked(), 1);
            assert!(queue.on_refusal(Status::ServerFull));
            assert_eq!(queue.take_answers(0), [(peer, Outcome::refused(Status::ServerFull, 0))]);
        }
        queue.push(10, asked(), 10);
        assert_eq!(queue.send().asked(), 2);
    }

    #[test]
    fn requests_past_their_deadline_fail_in_order() {
        let mut queue = Queue::default();
        (0..2).for_each(|peer| queue.push(peer, asked(), 10));
        queue.send();
        queue.push(5, asked(), 20);
        assert_eq!(queue.next_deadline(), Some(10));
        assert!(queue.give_up(9).is_empty());
        assert_eq!(queue.give_up(10).len(), 2);
        assert_eq!(queue.next_deadline(), Some(20));
        assert_eq!(queue.give_up(20), [(5, Outcome::refused(Status::Disconnected, 0))]);
        assert_eq!((queue.len(), queue.next_deadline()), (0, None));
    }
}
