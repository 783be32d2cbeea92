//! The workers, and the listeners on which they listen.

use super::listener::{Door, Listener};
use super::worker::{Standing, Worker};
use super::{Board, Connection, Dispatch, Output, Requeued, Time};
use crate::ids::{ListenerId, Slot, WorkerId};
use crate::schedule::Plan;

impl<C: Connection> Dispatch<C> {
    pub(super) fn add_worker(&mut self, worker: WorkerId, slot: Slot, now: Time, board: &impl Board) {
        if self.place(worker).is_none() {
            self.workers.push(Worker::new(worker, slot, now, board));
        }
    }

    pub(super) fn add_listener(&mut self, listener: ListenerId, plan: Plan) {
        if let Err(index) = self.listeners.binary_search_by_key(&listener, |listener| listener.id) {
            self.listeners.insert(index, Listener::new(listener, plan));
        }
    }

    pub(super) fn join(&mut self, worker: WorkerId, listener: ListenerId, now: Time) {
        let (Some(place), Some(index)) = (self.place(worker), self.position(listener)) else {
            return;
        };
        if self.workers[place].standing != Standing::Leaving {
            self.listeners[index].join(place, now);
            self.workers[place].joined(listener);
            if self.listeners[index].is_per_slot() {
                self.workers[place].accepts_again();
            }
            self.count_shared();
        }
    }

    pub(super) fn leave(
        &mut self,
        worker: WorkerId,
        listener: ListenerId,
        now: Time,
        board: &impl Board,
        out: &mut Vec<Output<C>>,
    ) {
        let (Some(place), Some(index)) = (self.place(worker), self.position(listener)) else {
            return;
        };
        if self.listeners[index].leave(place) {
            self.count_shared();
            self.workers[place].read(now, board);
            // Some of them may belong to that listener. All are reclaimed and requeued.
            if self.workers[place].in_flight() > 0 {
                self.reclaim(place, out);
            }
        }
    }

    pub(super) fn leave_all(&mut self, worker: WorkerId, out: &mut Vec<Output<C>>) {
        let Some(place) = self.place(worker) else { return };
        for listener in &mut self.listeners {
            if listener.leave(place) {
                self.workers[place].left.push(listener.id);
            }
        }
        self.count_shared();
        self.workers[place].standing = Standing::Leaving;
        self.workers[place].slot = None;
        // Reclaim regardless of its counter: this is the last chance to find connections that it has not
        // received.
        self.reclaim(place, out);
    }

    pub(super) fn remove_worker(
        &mut self,
        worker: WorkerId,
        conns: Vec<(ListenerId, C)>,
        now: Time,
        out: &mut Vec<Output<C>>,
    ) {
        if let Some(place) = self.place(worker) {
            self.workers.remove(place);
            for listener in &mut self.listeners {
                listener.leave(place);
                for member in &mut listener.members {
                    member.place -= usize::from(member.place > place);
                }
            }
            self.count_shared();
        }
        self.requeue(conns, Requeued::Reclaimed, now, out);
    }

    pub(super) fn remove_listener(&mut self, listener: ListenerId, out: &mut Vec<Output<C>>) {
        if let Some(index) = self.position(listener) {
            for worker in &mut self.workers {
                worker.forget(listener);
            }
            let listener = self.listeners.remove(index);
            self.waiting -= listener.queue.len();
            out.extend(listener.queue.into_all().map(|conn| Output::Close { conn }));
            self.count_shared();
        }
    }

    pub(super) fn set_door(&mut self, worker: WorkerId, listener: ListenerId, door: Door) {
        let (Some(place), Some(index)) = (self.place(worker), self.position(listener)) else {
            return;
        };
        if let Some(member) = self.listeners[index].member(place) {
            member.door = door;
        }
    }

    fn count_shared(&mut self) {
        for worker in &mut self.workers {
            worker.shared = 0;
        }
        for listener in self.listeners.iter().filter(|listener| listener.members.len() > 1) {
            for member in &listener.members {
                self.workers[member.place].shared += 1;
            }
        }
    }
}
