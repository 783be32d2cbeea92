//! An app with a hook that answers late, wrongly, twice, or not at all.

use std::collections::VecDeque;
use std::time::Duration;

use rcluster_core::dispatch::Input;
use rcluster_core::hook::{Answer, HookQueue};
use rcluster_core::ids::{ListenerId, WorkerId};

use crate::worker::Conn;
use crate::world::World;

pub(crate) const TIMEOUT: Duration = Duration::from_millis(3);

/// The app, and the messages in both directions.
#[derive(Default)]
pub(crate) struct App {
    pub(crate) hook: HookQueue<Conn>,
    pub(crate) blocked: bool,
    /// The batches that it has not received yet, with their numbers of connections.
    hears: VecDeque<(u32, usize)>,
    says: VecDeque<(u32, Vec<Answer>)>,
}

impl World {
    /// A client of a listener with a hook was accepted.
    pub(crate) fn wait_for_hook(&mut self, listener: ListenerId, conn: Conn) {
        let passed = self.app.hook.enter(listener, conn, self.now + TIMEOUT);
        self.check_hook();
        if let Some(conn) = passed {
            self.count("unasked");
            self.feed(Input::Accepted { listener, conn });
        }
    }

    /// The shell sends the next batch.
    pub(crate) fn ask(&mut self) -> bool {
        let Some(batch) = self.app.hook.next_batch() else { return false };
        assert!(!batch.conns.is_empty(), "a batch of nothing");
        assert!(batch.conns.iter().all(|(listener, conn)| *listener == conn.listener));
        self.app.hears.push_back((batch.number, batch.conns.len()));
        assert!(self.app.hears.len() <= 1, "one is asked while another is out");
        self.check_hook();
        true
    }

    /// The app answers at random.
    pub(crate) fn answer(&mut self) -> bool {
        if self.app.blocked {
            return false;
        }
        let Some((batch, count)) = self.app.hears.pop_front() else { return false };
        let count = if self.random.one_in(20) { self.random.below(2 * count) } else { count };
        let answers: Vec<Answer> = (0..count).map(|_| self.random_answer()).collect();
        if self.random.one_in(20) {
            self.app.says.push_back((batch, answers.clone()));
        }
        self.app.says.push_back((batch, answers));
        true
    }

    fn random_answer(&mut self) -> Answer {
        match self.random.below(8) {
            0 => Answer::Anybody,
            1 => Answer::Refused,
            // Dead workers, and workers that never existed.
            2 => Answer::Worker(WorkerId(u32::try_from(self.random.below(40)).unwrap())),
            _ => match self.random.pick(&self.workers.keys().copied().collect::<Vec<_>>()) {
                Some(worker) => Answer::Worker(worker),
                None => Answer::Anybody,
            },
        }
    }

    /// The shell receives an answer.
    pub(crate) fn hear_app(&mut self) -> bool {
        let Some((batch, answers)) = self.app.says.pop_front() else { return false };
        let decided = self.app.hook.answered(batch, answers);
        self.check_hook();
        self.count(if decided.is_empty() { "no news" } else { "answered" });
        for (listener, mut conn, chosen) in decided {
            conn.chosen = chosen;
            self.feed(Input::Accepted { listener, conn });
        }
        true
    }

    /// The shell checks the timers.
    pub(crate) fn wait_no_longer(&mut self) {
        let released = self.app.hook.overdue(self.now);
        self.check_hook();
        for (listener, conn) in released {
            self.count("late");
            self.feed(Input::Accepted { listener, conn });
        }
    }

    /// When the next timer is due.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let deadlines = [self.dispatch.next_deadline(), self.app.hook.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn check_hook(&self) {
        self.app.hook.check_invariants().unwrap();
    }
}
