//! Connections that come back from workers.

use super::listener::{Door, Listener, Member};
use super::worker::Standing;
use super::{Connection, Dispatch, Output, Refusal, Time, suspend};
use crate::ids::{ListenerId, WorkerId};
use crate::schedule::Policy;

/// The largest number of handed-over connections that wait here for a worker. Each is a descriptor of this
/// process.
pub(super) const HAND_OVER: usize = 256;

/// How a connection came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requeued {
    /// A worker returned it.
    Returned,
    /// It was reclaimed, or could not be sent.
    Reclaimed,
    /// A draining worker has handed it over.
    HandedOver,
}

impl<C: Connection> Dispatch<C> {
    /// Puts connections at the head of their queues, in this order.
    pub(super) fn requeue(
        &mut self,
        conns: impl IntoIterator<Item = (ListenerId, C)>,
        how: Requeued,
        now: Time,
        out: &mut Vec<Output<C>>,
    ) {
        for (listener, conn) in conns {
            match self.position(listener) {
                None => out.push(Output::Close { conn }),
                Some(index) => {
                    let Listener { queue, counts, plan, .. } = &mut self.listeners[index];
                    if how == Requeued::HandedOver && plan.policy == Policy::Hook {
                        // It is counted when it comes back with the answer.
                        out.push(Output::Ask { listener, conn });
                        continue;
                    }
                    match how {
                        Requeued::Returned => counts.returned += 1,
                        Requeued::Reclaimed => counts.reclaimed += 1,
                        Requeued::HandedOver => counts.handed_over += 1,
                    }
                    queue.requeue(conn, now);
                    self.waiting += 1;
                }
            }
        }
    }

    pub(super) fn on_unsent(
        &mut self,
        worker: WorkerId,
        conns: Vec<(ListenerId, C)>,
        now: Time,
        out: &mut Vec<Output<C>>,
    ) {
        if let Some(place) = self.place(worker) {
            let worker = &mut self.workers[place];
            worker.missed(conns.len());
            if !conns.is_empty() && worker.standing != Standing::Leaving {
                suspend(worker, Standing::Choked, out);
            }
        }
        self.requeue(conns, Requeued::Reclaimed, now, out);
    }

    pub(super) fn on_returned(
        &mut self,
        worker: WorkerId,
        (listener, conn): (ListenerId, C),
        why: Refusal,
        now: Time,
        out: &mut Vec<Output<C>>,
    ) {
        let handed_over = why == Refusal::HandedOver;
        let genuine = self.place(worker).is_some_and(|place| {
            let worker = &mut self.workers[place];
            // Only a leaving worker hands over what it has served. Another one returns what was handed over to it.
            let is_served = handed_over && worker.standing == Standing::Leaving;
            // A worker that has never listened on a listener cannot have had one of its connections.
            worker.has_joined(listener) && if is_served { worker.handed_over() } else { worker.returned() }
        });
        if !genuine {
            out.push(Output::Close { conn });
            return;
        }
        let door = match why {
            Refusal::Full => Door::Full,
            Refusal::NotListening | Refusal::HandedOver => {
                let until = now.saturating_add(self.config.retry_after);
                self.retry_at = Some(self.retry_at.map_or(until, |retry_at| retry_at.min(until)));
                Door::Resting(until)
            }
        };
        self.set_door(worker, listener, door);
        let how = if handed_over { Requeued::HandedOver } else { Requeued::Returned };
        self.requeue([(listener, conn)], how, now, out);
    }

    /// How many connections a leaving worker may hand over now; `None` if it is not leaving, or if no other
    /// worker takes connections of one of its former listeners, because there is none, or all are full or
    /// blocked: a connection handed over would wait here, or be closed.
    #[must_use]
    pub fn hand_over_room(&self, worker: WorkerId) -> Option<usize> {
        let worker = &self.workers[self.place(worker)?];
        let is_heir =
            |member: &Member| member.door != Door::Full && !self.workers[member.place].is_suspended();
        let has_heirs = |listener: &ListenerId| {
            self.position(*listener).is_some_and(|index| self.listeners[index].members.iter().any(is_heir))
        };
        if worker.standing != Standing::Leaving || !worker.left.iter().all(has_heirs) {
            return None;
        }
        let waiting: usize = self.listeners.iter().map(|listener| listener.queue.kept()).sum();
        Some(HAND_OVER.saturating_sub(waiting))
    }
}
