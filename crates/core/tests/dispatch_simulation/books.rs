//! A record of the dispatcher's inputs and outputs, independent of its state.

use std::collections::{BTreeMap, BTreeSet};

use rcluster_core::dispatch::{Input, Refusal};
use rcluster_core::ids::{ListenerId, WorkerId};

use crate::worker::Conn;

#[derive(Default)]
pub(crate) struct Books {
    /// The memberships, and whether the worker has reported that it is full.
    members: BTreeMap<(WorkerId, ListenerId), bool>,
    told_leaving: BTreeSet<WorkerId>,
    /// The workers on whose behalf the shell accepts.
    on_behalf: BTreeSet<(WorkerId, ListenerId)>,
    /// The number of connections that wait in the dispatcher, by listener.
    waiting: BTreeMap<ListenerId, usize>,
    /// The number of these that a worker has handed over.
    kept_waiting: BTreeMap<ListenerId, usize>,
    /// The number of clients that the dispatcher has been told of, by listener.
    clients: BTreeMap<ListenerId, u64>,
}

impl Books {
    /// Records an input of the dispatcher. `is_open` says which listeners exist.
    pub(crate) fn on_input(&mut self, input: &Input<Conn>, is_open: impl Fn(ListenerId) -> bool) {
        match input {
            Input::Accepted { listener, conn } => {
                self.waits(*listener, conn);
                *self.clients.entry(*listener).or_default() += u64::from(!conn.kept);
            }
            Input::Returned { worker, listener, why, conn } => {
                self.waits(*listener, conn);
                self.set_full(*worker, *listener, *why == Refusal::Full);
            }
            Input::Reclaimed { conns, .. } | Input::Unsent { conns, .. } => self.all_wait(conns),
            Input::WorkerExited { worker, conns } => {
                self.all_wait(conns);
                self.members.retain(|(member, _), _| member != worker);
            }
            Input::WorkerLeaving { worker } => {
                self.told_leaving.insert(*worker);
                self.members.retain(|(member, _), _| member != worker);
            }
            Input::ListenerRemoved { listener } => self.members.retain(|(_, other), _| other != listener),
            Input::Joined { worker, listener } => {
                if !self.told_leaving.contains(worker) && is_open(*listener) {
                    self.members.insert((*worker, *listener), false);
                }
            }
            Input::Left { worker, listener } => {
                self.members.remove(&(*worker, *listener));
            }
            Input::Room { worker, listener } => self.set_full(*worker, *listener, false),
            Input::Full { worker, listener } => self.set_full(*worker, *listener, true),
            Input::WorkerAdded { .. }
            | Input::ListenerAdded { .. }
            | Input::Unattended { .. }
            | Input::Woke { .. }
            | Input::Tick => {}
        }
        // Nothing is accepted on behalf of a worker that is not a member any more.
        self.on_behalf.retain(|place| self.members.contains_key(place));
    }

    fn waits(&mut self, listener: ListenerId, conn: &Conn) {
        *self.waiting.entry(listener).or_default() += 1;
        *self.kept_waiting.entry(listener).or_default() += usize::from(conn.kept);
    }

    fn all_wait(&mut self, conns: &[(ListenerId, Conn)]) {
        for (listener, conn) in conns {
            self.waits(*listener, conn);
        }
    }

    fn set_full(&mut self, worker: WorkerId, listener: ListenerId, full: bool) {
        if let Some(member) = self.members.get_mut(&(worker, listener)) {
            *member = full;
        }
    }

    /// The dispatcher has sent a connection.
    pub(crate) fn on_output(&mut self, listener: ListenerId, conn: &Conn) {
        *self.waiting.get_mut(&listener).unwrap() -= 1;
        *self.kept_waiting.get_mut(&listener).unwrap() -= usize::from(conn.kept);
    }

    pub(crate) fn accept_on_behalf(&mut self, worker: WorkerId, listener: ListenerId) {
        let member = (worker, listener);
        assert!(self.members.contains_key(&member), "{worker} is no member of {listener}");
        assert!(self.on_behalf.insert(member), "{worker} is accepted for twice");
    }

    pub(crate) fn stop_accepting_on_behalf(&mut self, worker: WorkerId, listener: ListenerId) {
        let removed = self.on_behalf.remove(&(worker, listener));
        assert!(removed, "{worker} was not accepted for at {listener}");
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (WorkerId, ListenerId)> {
        self.members.keys().copied()
    }

    /// Whether a member has reported that it is full. `None` if it is not a member.
    pub(crate) fn is_full(&self, worker: WorkerId, listener: ListenerId) -> Option<bool> {
        self.members.get(&(worker, listener)).copied()
    }

    /// The number of waiting connections of a listener.
    pub(crate) fn waiting(&self, listener: ListenerId) -> usize {
        self.waiting.get(&listener).copied().unwrap_or(0)
    }

    /// The number of these that no worker has had.
    pub(crate) fn new_waiting(&self, listener: ListenerId) -> usize {
        self.waiting(listener) - self.kept_waiting.get(&listener).copied().unwrap_or(0)
    }

    pub(crate) fn total_waiting(&self) -> usize {
        self.waiting.values().sum()
    }

    pub(crate) fn clients(&self, listener: ListenerId) -> u64 {
        self.clients.get(&listener).copied().unwrap_or(0)
    }
}
