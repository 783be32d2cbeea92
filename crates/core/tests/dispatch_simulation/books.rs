//! What the brain has been told, kept apart from what it makes of it.

use rcluster_core::dispatch::{Input, Refusal};
use rcluster_core::ids::ListenerId;

use crate::worker::Conn;
use crate::world::World;

impl World {
    /// Keeps the books on what the brain has been told.
    pub(crate) fn note_input(&mut self, input: &Input<Conn>) {
        let mut waits = |listener, conn: &Conn| {
            *self.waiting.entry(listener).or_default() += 1;
            *self.kept_waiting.entry(listener).or_default() += usize::from(conn.kept);
        };
        match input {
            Input::Accepted { listener, conn } => {
                waits(*listener, conn);
                *self.clients.entry(*listener).or_default() += u64::from(!conn.kept);
            }
            Input::Returned { worker, listener, why, conn } => {
                waits(*listener, conn);
                if let Some(full) = self.members.get_mut(&(*worker, *listener)) {
                    *full = *why == Refusal::Full;
                }
            }
            Input::Reclaimed { conns, .. } | Input::Unsent { conns, .. } => {
                for (listener, conn) in conns {
                    waits(*listener, conn);
                }
            }
            Input::WorkerExited { worker, conns } => {
                for (listener, conn) in conns {
                    waits(*listener, conn);
                }
                self.members.retain(|(member, _), _| member != worker);
            }
            Input::WorkerLeaving { worker } => {
                self.told_leaving.insert(*worker);
                self.members.retain(|(member, _), _| member != worker);
            }
            Input::ListenerRemoved { listener } => self.members.retain(|(_, other), _| other != listener),
            Input::Joined { worker, listener } => {
                if !self.told_leaving.contains(worker) && self.listeners.contains_key(listener) {
                    self.members.insert((*worker, *listener), false);
                }
            }
            Input::Left { worker, listener } => {
                self.members.remove(&(*worker, *listener));
            }
            Input::Room { worker, listener } => {
                if let Some(full) = self.members.get_mut(&(*worker, *listener)) {
                    *full = false;
                }
            }
            Input::Full { worker, listener } => {
                if let Some(full) = self.members.get_mut(&(*worker, *listener)) {
                    *full = true;
                }
            }
            Input::WorkerAdded { .. }
            | Input::ListenerAdded { .. }
            | Input::Unattended { .. }
            | Input::Woke { .. }
            | Input::Tick => {}
        }
        // Who is no member any more accepts nothing that one could do for it.
        self.on_behalf.retain(|place| self.members.contains_key(place));
    }

    /// The brain has given a connection out.
    pub(crate) fn note_output(&mut self, listener: ListenerId, conn: &Conn) {
        *self.waiting.get_mut(&listener).unwrap() -= 1;
        *self.kept_waiting.get_mut(&listener).unwrap() -= usize::from(conn.kept);
    }
}
