//! Connections that come back from workers.

use super::listener::{Door, Listener};
use super::worker::Standing;
use super::{Connection, Dispatch, Output, Refusal, Time, suspend};
use crate::core::ids::{ListenerId, WorkerId};

/// How a connection came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comeback {
    /// A worker gave it back.
    Returned,
    /// It was taken back, or never left.
    Reclaimed,
}

impl<C: Connection> Dispatch<C> {
    /// To the head of their queues, in this order.
    pub(super) fn take_back(
        &mut self,
        conns: impl IntoIterator<Item = (ListenerId, C)>,
        how: Comeback,
        now: Time,
        out: &mut Vec<Output<C>>,
    ) {
        for (listener, conn) in conns {
            match self.position(listener) {
                None => out.push(Output::Close { conn }),
                Some(index) => {
                    let Listener { queue, counts, .. } = &mut self.listeners[index];
                    queue.comes_back(conn, now);
                    match how {
                        Comeback::Returned => counts.returned += 1,
                        Comeback::Reclaimed => counts.reclaimed += 1,
                    }
                    self.waiting += 1;
                }
            }
        }
    }

    pub(super) fn take_back_unsent(
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
        self.take_back(conns, Comeback::Reclaimed, now, out);
    }

    pub(super) fn take_back_refused(
        &mut self,
        worker: WorkerId,
        (listener, conn): (ListenerId, C),
        why: Refusal,
        now: Time,
        out: &mut Vec<Output<C>>,
    ) {
        let genuine = self.place(worker).is_some_and(|place| self.workers[place].returned());
        if !genuine {
            out.push(Output::Close { conn });
            return;
        }
        let door = match why {
            Refusal::Full => Door::Full,
            Refusal::NotListening => {
                let until = now.saturating_add(self.config.retry_after);
                self.retry_at = Some(self.retry_at.map_or(until, |retry_at| retry_at.min(until)));
                Door::Resting(until)
            }
        };
        self.set_door(worker, listener, door);
        self.take_back([(listener, conn)], Comeback::Returned, now, out);
    }
}
