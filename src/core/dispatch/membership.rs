//! Who exists and who listens where.

use super::listener::{Door, Listener};
use super::worker::{Standing, Worker};
use super::{Board, Dispatch, Output, Time};
use crate::core::ids::{ListenerId, WorkerId};

impl<C> Dispatch<C> {
    pub(super) fn add_worker(&mut self, worker: WorkerId, now: Time, board: &impl Board) {
        if self.slot(worker).is_none() {
            self.workers.push(Worker::new(worker, now, board));
        }
    }

    pub(super) fn add_listener(&mut self, listener: ListenerId) {
        if let Err(index) = self.listeners.binary_search_by_key(&listener, |listener| listener.id) {
            self.listeners.insert(index, Listener::new(listener, self.config.policy));
        }
    }

    pub(super) fn join(&mut self, worker: WorkerId, listener: ListenerId) {
        let (Some(slot), Some(index)) = (self.slot(worker), self.position(listener)) else {
            return;
        };
        if self.workers[slot].standing != Standing::Leaving {
            self.listeners[index].join(slot);
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
        let (Some(slot), Some(index)) = (self.slot(worker), self.position(listener)) else {
            return;
        };
        if self.listeners[index].leave(slot) {
            self.count_shared();
            self.workers[slot].read(now, board);
            // Among them there may be some of that listener, and whatever is not goes where it belongs.
            if self.workers[slot].in_flight() > 0 {
                self.reclaim(slot, out);
            }
        }
    }

    pub(super) fn leave_all(&mut self, worker: WorkerId, out: &mut Vec<Output<C>>) {
        let Some(slot) = self.slot(worker) else { return };
        for listener in &mut self.listeners {
            listener.leave(slot);
        }
        self.count_shared();
        self.workers[slot].standing = Standing::Leaving;
        // Whatever it has counted: the last chance to find what it has not received after all.
        self.reclaim(slot, out);
    }

    pub(super) fn remove_worker(
        &mut self,
        worker: WorkerId,
        conns: Vec<(ListenerId, C)>,
        out: &mut Vec<Output<C>>,
    ) {
        if let Some(slot) = self.slot(worker) {
            self.workers.remove(slot);
            for listener in &mut self.listeners {
                listener.leave(slot);
                for member in &mut listener.members {
                    member.slot -= usize::from(member.slot > slot);
                }
            }
            self.count_shared();
        }
        self.take_back(conns, out);
    }

    pub(super) fn remove_listener(&mut self, listener: ListenerId, out: &mut Vec<Output<C>>) {
        if let Some(index) = self.position(listener) {
            let listener = self.listeners.remove(index);
            self.waiting -= listener.queue.len();
            out.extend(listener.queue.into_iter().map(|conn| Output::Close { conn }));
            self.count_shared();
        }
    }

    pub(super) fn set_door(&mut self, worker: WorkerId, listener: ListenerId, door: Door) {
        let (Some(slot), Some(index)) = (self.slot(worker), self.position(listener)) else {
            return;
        };
        if let Some(member) = self.listeners[index].member(slot) {
            member.door = door;
        }
    }

    fn count_shared(&mut self) {
        for worker in &mut self.workers {
            worker.shared = 0;
        }
        for listener in self.listeners.iter().filter(|listener| listener.members.len() > 1) {
            for member in &listener.members {
                self.workers[member.slot].shared += 1;
            }
        }
    }
}
