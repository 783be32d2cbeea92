//! The queue of connections for which a hook, a function of the app, chooses the worker.
//!
//! The hook is called with batches, one at a time: while it handles one, the next is collected. So there is
//! one message each way for many connections when the app is busy, and for few when it is not.
//!
//! A connection without an answer in time is scheduled without one, and from then on the app counts as
//! *unresponsive*: until the answers to that batch arrive, no connection waits and no batch is sent.

use serde::Serialize;
use std::time::Duration;

use super::ids::{ListenerId, WorkerId};
use super::pending::Pending;

/// The largest number of connections that wait for answers. The hook is not called for further ones.
pub const CROWD: usize = 512;

/// The hook's answer for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This worker.
    Worker(WorkerId),
    /// Any worker: the schedule decides.
    Anybody,
    /// The answer is invalid.
    Refused,
}

/// Connections for which the hook is called together.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<'a, C> {
    /// The number that identifies the answers.
    pub number: u32,
    /// The connections, grouped by listener.
    pub conns: Vec<(ListenerId, &'a C)>,
}

/// Counts of the connections of listeners with a hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookCounts {
    /// Sent to the hook.
    pub asked: u64,
    /// Answered in time, with a worker or without a choice.
    pub answered: u64,
    /// Not answered in time.
    pub late: u64,
    /// Answered with an invalid answer.
    pub refused: u64,
    /// Not sent to the hook: the app was unresponsive, or too many connections were waiting.
    pub unasked: u64,
}

/// The queue: see the module.
#[derive(Debug)]
pub struct HookQueue<C> {
    pending: Pending<C>,
    /// The connections of the next batch; all of them are pending.
    gathered: Vec<u32>,
    out: Option<Out>,
    /// A connection of the current batch was not answered in time.
    unresponsive: bool,
    batches: u32,
    counts: HookCounts,
}

/// The batch that the hook handles. Some of its connections may have been released.
#[derive(Debug)]
struct Out {
    batch: u32,
    numbers: Vec<u32>,
}

impl<C> Default for HookQueue<C> {
    fn default() -> Self {
        Self {
            pending: Pending::default(),
            gathered: Vec::new(),
            out: None,
            unresponsive: false,
            batches: 0,
            counts: HookCounts::default(),
        }
    }
}

impl<C> HookQueue<C> {
    /// Adds a connection that waits for an answer until `until`. Returns it if it is to be scheduled at once.
    pub fn enter(&mut self, listener: ListenerId, conn: C, until: Duration) -> Option<C> {
        if self.unresponsive || self.pending.len() >= CROWD {
            self.counts.unasked += 1;
            return Some(conn);
        }
        self.gathered.push(self.pending.enter(listener, conn, until));
        None
    }

    /// The next batch, if one is to be sent now. The caller must send it.
    #[must_use]
    pub fn next_batch(&mut self) -> Option<Batch<'_, C>> {
        if self.out.is_some() || self.gathered.is_empty() {
            return None;
        }
        let mut numbers = std::mem::take(&mut self.gathered);
        // A stable sort: the connections of each listener keep their order.
        numbers.sort_by_key(|number| self.pending.get(*number).map(|(listener, _)| listener));
        let conns: Vec<_> = numbers.iter().filter_map(|number| self.pending.get(*number)).collect();
        self.batches = self.batches.wrapping_add(1);
        self.counts.asked += conns.len() as u64;
        self.out = Some(Out { batch: self.batches, numbers });
        Some(Batch { number: self.batches, conns })
    }

    /// Processes the answers to a batch, in its order. Returns the released connections, each with its worker
    /// if the hook chose one. Late or repeated answers are ignored.
    #[must_use]
    pub fn answered(
        &mut self,
        batch: u32,
        answers: impl IntoIterator<Item = Answer>,
    ) -> Vec<(ListenerId, C, Option<WorkerId>)> {
        let Some(out) = self.out.take_if(|out| out.batch == batch) else { return Vec::new() };
        self.unresponsive = false;
        // Connections without an answer need not wait either.
        let answers = answers.into_iter().chain(std::iter::repeat(Answer::Refused));
        let mut decided = Vec::with_capacity(out.numbers.len());
        for (number, answer) in out.numbers.into_iter().zip(answers) {
            let Some((listener, conn)) = self.pending.take(number) else { continue };
            let worker = match answer {
                Answer::Worker(worker) => Some(worker),
                Answer::Anybody | Answer::Refused => None,
            };
            match answer {
                Answer::Refused => self.counts.refused += 1,
                Answer::Worker(_) | Answer::Anybody => self.counts.answered += 1,
            }
            decided.push((listener, conn, worker));
        }
        decided
    }

    /// The connections that need not wait any longer, because their time is over or because the app is
    /// unresponsive.
    #[must_use]
    pub fn overdue(&mut self, now: Duration) -> Vec<(ListenerId, C)> {
        let mut released = Vec::new();
        while let Some(number) = self.pending.overdue(now) {
            self.unresponsive = self.out.is_some();
            if let Some(place) = self.gathered.iter().position(|gathered| *gathered == number) {
                self.gathered.remove(place);
                self.counts.unasked += 1;
            } else {
                self.counts.late += 1;
            }
            released.extend(self.pending.take(number));
        }
        if self.unresponsive {
            let gathered = std::mem::take(&mut self.gathered);
            self.counts.unasked += gathered.len() as u64;
            released.extend(gathered.into_iter().filter_map(|number| self.pending.take(number)));
        }
        released
    }

    /// When to call [`HookQueue::overdue`] at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.pending.next_deadline()
    }

    /// The number of waiting connections.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> HookCounts {
        self.counts
    }

    /// Checks the invariants.
    ///
    /// # Errors
    /// The broken invariant, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        let is_there = |number: &&u32| self.pending.get(**number).is_some();
        let out = self.out.iter().flat_map(|out| &out.numbers).filter(is_there).count();
        let gathered = self.gathered.iter().filter(is_there).count();
        let HookCounts { asked, answered, late, refused, .. } = self.counts;
        for (holds, rule) in [
            (gathered == self.gathered.len(), "somebody is to be asked about who has gone in"),
            (gathered + out == self.pending.len(), "somebody waits for no answer"),
            (self.pending.len() <= CROWD, "there are too many"),
            (
                !self.unresponsive || self.out.is_some(),
                "the app counts as unresponsive and has not been asked",
            ),
            (!self.unresponsive || self.gathered.is_empty(), "somebody waits for an unresponsive app"),
            (asked == answered + late + refused + out as u64, "what was asked is not accounted for"),
        ] {
            if !holds {
                return Err(format!("{rule}: {gathered} gathered, {out} out, {:?}", self.counts));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENER: ListenerId = ListenerId(7);
    const TWO: WorkerId = WorkerId(2);

    /// A queue of letters, each of which waits for 100 ms.
    #[derive(Default)]
    struct Play {
        hook: HookQueue<char>,
        now: u64,
    }

    impl Play {
        /// Adds connections. Returns those that need not wait.
        fn enter(&mut self, letters: &str) -> String {
            let until = Duration::from_millis(self.now + 100);
            let passed = letters.chars().filter_map(|letter| self.hook.enter(LISTENER, letter, until));
            let passed = passed.collect();
            self.hook.check_invariants().unwrap();
            passed
        }

        fn ask(&mut self) -> Option<(u32, String)> {
            let batch = self.hook.next_batch()?;
            let asked = (batch.number, batch.conns.iter().map(|(_, letter)| **letter).collect());
            self.hook.check_invariants().unwrap();
            Some(asked)
        }

        fn answer(&mut self, batch: u32, answers: &[Answer]) -> Vec<(char, Option<WorkerId>)> {
            let decided = self.hook.answered(batch, answers.iter().copied());
            self.hook.check_invariants().unwrap();
            decided.into_iter().map(|(_, letter, worker)| (letter, worker)).collect()
        }

        fn at(&mut self, now: u64) -> String {
            self.now = now;
            let released = self.hook.overdue(Duration::from_millis(now));
            self.hook.check_invariants().unwrap();
            released.into_iter().map(|(_, letter)| letter).collect()
        }
    }

    #[test]
    fn while_one_batch_is_out_the_next_gathers() {
        let mut play = Play::default();
        assert_eq!(play.ask(), None);
        assert_eq!(play.enter("ab"), "");
        assert_eq!(play.ask(), Some((1, "ab".into())));
        assert_eq!(play.enter("cde"), "");
        assert_eq!(play.ask(), None);
        assert_eq!(play.answer(1, &[Answer::Worker(TWO), Answer::Anybody]), [('a', Some(TWO)), ('b', None)]);
        assert_eq!(play.ask(), Some((2, "cde".into())));
        // Two invalid answers, one of which is missing.
        assert_eq!(
            play.answer(2, &[Answer::Worker(TWO), Answer::Refused]),
            [('c', Some(TWO)), ('d', None), ('e', None)]
        );
        let counts = HookCounts { asked: 5, answered: 3, refused: 2, ..HookCounts::default() };
        assert_eq!((play.hook.counts(), play.hook.next_deadline()), (counts, None));
    }

    #[test]
    fn nobody_waits_for_an_app_that_is_late_until_it_has_answered() {
        let mut play = Play::default();
        play.enter("a");
        play.ask();
        play.at(40);
        play.enter("b");
        assert_eq!(play.at(99), "");
        // One was sent to the hook without an answer; the other one does not wait for its batch.
        assert_eq!(play.at(100), "ab");
        assert_eq!(play.enter("cd"), "cd");
        assert_eq!(play.ask(), None);
        // First answers to another batch, then to this one: they are late, but count as answers.
        assert_eq!(play.answer(9, &[Answer::Worker(TWO)]), []);
        assert_eq!(play.enter("e"), "e");
        assert_eq!(play.answer(1, &[Answer::Worker(TWO)]), []);
        assert_eq!(play.answer(1, &[Answer::Worker(TWO)]), [], "twice");
        assert_eq!(play.enter("f"), "");
        assert_eq!(play.ask(), Some((2, "f".into())));
        let counts = HookCounts { asked: 2, late: 1, unasked: 4, ..HookCounts::default() };
        assert_eq!(play.hook.counts(), counts);
    }

    #[test]
    fn in_a_crowd_nobody_more_is_asked_about() {
        let mut play = Play::default();
        assert_eq!(play.enter(&"x".repeat(CROWD)), "");
        assert_eq!(play.enter("y"), "y");
        play.ask();
        assert_eq!(play.enter("y"), "y");
        assert_eq!(play.answer(1, &[Answer::Anybody; CROWD]).len(), CROWD);
        assert_eq!(play.enter("z"), "");
    }

    #[test]
    fn a_batch_has_the_connections_of_each_listener_together() {
        let mut hook = HookQueue::default();
        for (listener, letter) in [(2, 'a'), (1, 'b'), (2, 'c'), (1, 'd')] {
            assert_eq!(hook.enter(ListenerId(listener), letter, Duration::from_secs(1)), None);
        }
        let asked: String = hook.next_batch().unwrap().conns.iter().map(|(_, letter)| **letter).collect();
        assert_eq!(asked, "bdac");
        let to = |worker| Answer::Worker(WorkerId(worker));
        let decided = hook.answered(1, [to(1), to(2), to(3), to(4)]);
        let decided: Vec<_> = decided
            .into_iter()
            .map(|(listener, letter, worker)| (listener.0, letter, worker.unwrap().0))
            .collect();
        assert_eq!(decided, [(1, 'b', 1), (1, 'd', 2), (2, 'a', 3), (2, 'c', 4)]);
    }
}
