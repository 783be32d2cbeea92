//! The connections of a listener for which no worker had room: of new clients, and handed over by workers.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Connection, Time};

/// In the order in which they are to be served.
#[derive(Debug)]
pub(super) struct Queue<C> {
    waiting: VecDeque<Waiting<C>>,
    /// The number of connections at the head that had been sent before and were requeued.
    requeued: usize,
    /// The number of connections handed over by a worker.
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

    /// The number of new clients. Handed-over connections have limits of their own.
    pub(super) fn clients(&self) -> usize {
        self.waiting.len() - self.kept
    }

    /// The number of handed-over connections.
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

    /// Adds a connection that has not been sent before.
    pub(super) fn push(&mut self, conn: C, now: Time) {
        self.kept += usize::from(conn.is_kept());
        self.waiting.push_back(Waiting { conn, since: now });
    }

    /// Requeues a connection: ahead of those that have not been sent before, behind those that came back
    /// earlier, so that all keep their order.
    pub(super) fn requeue(&mut self, conn: C, now: Time) {
        self.kept += usize::from(conn.is_kept());
        self.waiting.insert(self.requeued, Waiting { conn, since: now });
        self.requeued += 1;
    }

    /// The connection at this place, and since when it has waited.
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

    /// When the next connection will have waited for `how_long`, of those that have not yet.
    pub(super) fn next_due(&self, how_long: Duration, now: Time) -> Option<Time> {
        let due = self.waiting.iter().map(|waiting| waiting.since.saturating_add(how_long));
        due.filter(|due| *due > now).min()
    }

    pub(super) fn into_all(self) -> impl Iterator<Item = C> {
        self.waiting.into_iter().map(|waiting| waiting.conn)
    }
}
