//! The connections of a listener that nobody had room for.

use std::collections::VecDeque;
use std::time::Duration;

use super::Time;

/// In the order in which they are to be served.
#[derive(Debug)]
pub(super) struct Queue<C> {
    waiting: VecDeque<Waiting<C>>,
    /// How many at the head had been handed out before and came back.
    comebacks: usize,
}

#[derive(Debug)]
struct Waiting<C> {
    conn: C,
    since: Time,
}

impl<C> Queue<C> {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), comebacks: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn comebacks(&self) -> usize {
        self.comebacks
    }

    /// One that has not been handed out yet.
    pub(super) fn push(&mut self, conn: C, now: Time) {
        self.waiting.push_back(Waiting { conn, since: now });
    }

    /// Back into the queue: ahead of those who have not been handed out yet, behind those who came back
    /// earlier, so that all keep their order.
    pub(super) fn comes_back(&mut self, conn: C, now: Time) {
        self.waiting.insert(self.comebacks, Waiting { conn, since: now });
        self.comebacks += 1;
    }

    /// The one at this place in the line, and since when it has been there.
    pub(super) fn get(&self, index: usize) -> Option<(&C, Time)> {
        self.waiting.get(index).map(|waiting| (&waiting.conn, waiting.since))
    }

    pub(super) fn take(&mut self, index: usize) -> Option<C> {
        self.comebacks -= usize::from(index < self.comebacks);
        self.waiting.remove(index).map(|waiting| waiting.conn)
    }

    /// The first that has waited for `how_long`.
    pub(super) fn overdue(&self, how_long: Duration, now: Time) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.since.saturating_add(how_long) <= now)
    }

    /// When the next one will have waited for `how_long`, of those who have not yet.
    pub(super) fn next_due(&self, how_long: Duration, now: Time) -> Option<Time> {
        let due = self.waiting.iter().map(|waiting| waiting.since.saturating_add(how_long));
        due.filter(|due| *due > now).min()
    }

    pub(super) fn into_all(self) -> impl Iterator<Item = C> {
        self.waiting.into_iter().map(|waiting| waiting.conn)
    }
}
