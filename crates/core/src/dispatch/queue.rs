//! The connections of a listener that nobody had room for: new clients, and those that a worker has handed over.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Connection, Time};

/// In the order in which they are to be served.
#[derive(Debug)]
pub(super) struct Queue<C> {
    waiting: VecDeque<Waiting<C>>,
    /// How many at the head had been handed out before and came back.
    requeued: usize,
    /// How many have been handed over by a worker that they were with before.
    kept: usize,
}

#[derive(Debug)]
struct Waiting<C> {
    conn: C,
    since: Time,
}

impl<C: Connection> Queue<C> {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), requeued: 0, kept: 0 }
    }

    /// How many of them are new clients. Those that are handed over have limits of their own.
    pub(super) fn clients(&self) -> usize {
        self.waiting.len() - self.kept
    }

    /// How many of them are handed over.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// The place of the last new client.
    pub(super) fn last_client(&self) -> Option<usize> {
        self.waiting.iter().rposition(|waiting| !waiting.conn.is_kept())
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn requeued(&self) -> usize {
        self.requeued
    }

    /// One that has not been handed out yet.
    pub(super) fn push(&mut self, conn: C, now: Time) {
        self.kept += usize::from(conn.is_kept());
        self.waiting.push_back(Waiting { conn, since: now });
    }

    /// Back into the queue: ahead of those who have not been handed out yet, behind those who came back
    /// earlier, so that all keep their order.
    pub(super) fn requeue(&mut self, conn: C, now: Time) {
        self.kept += usize::from(conn.is_kept());
        self.waiting.insert(self.requeued, Waiting { conn, since: now });
        self.requeued += 1;
    }

    /// The one at this place in the line, and since when it has been there.
    pub(super) fn get(&self, index: usize) -> Option<(&C, Time)> {
        self.waiting.get(index).map(|waiting| (&waiting.conn, waiting.since))
    }

    pub(super) fn take(&mut self, index: usize) -> Option<C> {
        let Waiting { conn, .. } = self.waiting.remove(index)?;
        self.requeued -= usize::from(index < self.requeued);
        self.kept -= usize::from(conn.is_kept());
        Some(conn)
    }

    /// The first new client that has waited for `how_long`.
    pub(super) fn overdue(&self, how_long: Duration, now: Time) -> Option<usize> {
        let is_due = |waiting: &Waiting<C>| waiting.since.saturating_add(how_long) <= now;
        self.waiting.iter().position(|waiting| !waiting.conn.is_kept() && is_due(waiting))
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
