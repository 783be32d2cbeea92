//! Operators' requests for one slot: another worker, or none.

use super::cluster::Cluster;
use super::restart::WorkerFailure;
use super::{By, Cause, Event, Failure, Reason, Supervise};
use crate::ids::{Request, Slot, Ticket};

/// An unanswered request.
#[derive(Debug)]
struct Pending {
    request: Request,
    slot: Slot,
    wanted: Wanted,
}

/// The condition that a request waits for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// The slot has a ready worker other than this one.
    Other(Option<Ticket>),
    /// This worker's process has ended.
    End(Ticket),
}

/// The unanswered requests for single slots.
#[derive(Debug, Default)]
pub(super) struct Operations(Vec<Pending>);

impl Operations {
    pub(super) fn add(&mut self, request: Request, slot: Slot, wanted: Wanted) {
        self.0.push(Pending { request, slot, wanted });
    }

    /// Answers the requests whose condition is met, or can no longer be met.
    pub(super) fn answer(&mut self, cluster: &mut Cluster) {
        for Pending { request, slot, wanted } in std::mem::take(&mut self.0) {
            match wanted.result(cluster, slot) {
                Some(result) => cluster.answer(vec![request], &result),
                None => self.add(request, slot, wanted),
            }
        }
    }

    /// A starting worker of the slot has failed: the requests that wait for one fail.
    pub(super) fn on_failure(&mut self, cluster: &mut Cluster, slot: Slot, failure: &WorkerFailure) {
        let failed = |it: &Pending| it.slot == slot && matches!(it.wanted, Wanted::Other(_));
        let requests: Vec<Request> = self.0.extract_if(.., |it| failed(it)).map(|it| it.request).collect();
        cluster.answer(requests, &Err(failure.at(slot)));
    }

    /// The shutdown begins: no worker will be started. Requests that wait for an end continue.
    pub(super) fn abandon(&mut self, cluster: &mut Cluster) {
        let starts = |it: &mut Pending| matches!(it.wanted, Wanted::Other(_));
        let requests: Vec<Request> = self.0.extract_if(.., starts).map(|it| it.request).collect();
        cluster.answer(requests, &Err(Failure::ShutDown));
    }
}

impl Wanted {
    fn result(&self, cluster: &Cluster, slot: Slot) -> Option<Result<(), Failure>> {
        match self {
            Self::Other(_) if !cluster.is_wanted(slot) => Some(Err(cluster.no_slot(slot))),
            Self::Other(old) => match cluster.current(slot).map(|index| cluster.worker(index)) {
                // The successor was ended by a reload that failed.
                Some(current) if Some(current.ticket()) == *old && current.going().is_none() => {
                    Some(Err(Failure::Reloading))
                }
                Some(current) => (current.is_ready() && Some(current.ticket()) != *old).then_some(Ok(())),
                None if cluster.record(slot).is_over() => Some(Err(match cluster.record(slot).failure() {
                    Some(why) => Failure::NotReady { slot, why: why.clone(), stderr: None },
                    None => Failure::NoWorker { slot },
                })),
                None => None,
            },
            Self::End(ticket) => {
                let is_there = cluster.workers().iter().any(|it| it.ticket() == *ticket);
                (!is_there).then_some(Ok(()))
            }
        }
    }
}

impl Cluster {
    fn is_wanted(&self, slot: Slot) -> bool {
        slot.0 < self.slots().wanted()
    }

    fn no_slot(&self, slot: Slot) -> Failure {
        Failure::NoSlot { slot, slots: self.slots().wanted() }
    }

    fn tell_operated(&mut self, index: usize, reason: Reason) {
        let (worker, slot) = (self.worker(index).id(), self.worker(index).slot());
        if let Some(worker) = worker {
            let (detail, by) = (String::new(), By::Operator);
            self.tell(Event::Retire { worker, slot, reason, detail, by });
        }
    }
}

impl Supervise {
    /// Replaces the worker of a slot: the old one drains once the new one is ready, and stays if that fails.
    /// A slot that was given up, is stopped or waits gets a worker at once.
    pub(super) fn on_restart_asked(&mut self, slot: Slot, request: Request) {
        if let Some(failure) = self.refusal_at(slot) {
            return self.cluster.answer(vec![request], &Err(failure));
        }
        let generations = self.changes.generations();
        let cluster = &mut self.cluster;
        let ready = cluster.current(slot).filter(|index| cluster.worker(*index).is_ready());
        let old = ready.map(|index| cluster.worker(index).ticket());
        if let Some(index) = ready {
            // A worker that is already being replaced needs nothing more.
            if cluster.worker(index).going().is_none() {
                cluster.tell_operated(index, Reason::Restart);
                cluster.worker_mut(index).go_when_replaced(Reason::Restart);
                cluster.spawn_for(slot, Cause::Operator, generations);
            }
        } else if cluster.current(slot).is_none() {
            cluster.revive(Some(slot));
            cluster.spawn_for(slot, Cause::Operator, generations);
        }
        self.changes.add_operation(request, slot, Wanted::Other(old));
    }

    /// Drains the worker of a slot; the slot stays empty until it is restarted or reloaded.
    pub(super) fn on_drain_asked(&mut self, slot: Slot, request: Request) {
        let others_serve =
            |it: &Self| it.cluster.all_slots().any(|other| other != slot && it.cluster.has_ready(other));
        let failure = self.refusal_at(slot).or_else(|| {
            if self.cluster.current(slot).is_none() {
                Some(Failure::NoWorker { slot })
            } else {
                (!others_serve(self)).then_some(Failure::LastSlot { slot })
            }
        });
        let Some(current) = self.cluster.current(slot).filter(|_| failure.is_none()) else {
            return self.cluster.answer(vec![request], &Err(failure.unwrap_or(Failure::NoWorker { slot })));
        };
        let cluster = &mut self.cluster;
        let ticket = cluster.worker(current).ticket();
        cluster.tell_operated(current, Reason::Drain);
        cluster.send_off(current, Reason::Drain);
        if let Some(successor) = cluster.successor(slot) {
            cluster.send_off(successor, Reason::Drain);
        }
        cluster.record_mut(Some(slot)).stop(None);
        self.changes.on_drained(cluster, slot);
        self.changes.add_operation(request, slot, Wanted::End(ticket));
    }

    /// Why requests for this slot are refused now, if they are.
    fn refusal_at(&self, slot: Slot) -> Option<Failure> {
        if let Some(failure) = self.run.refusal() {
            return Some(failure);
        }
        if !self.cluster.is_wanted(slot) {
            return Some(self.cluster.no_slot(slot));
        }
        self.changes.is_reloading().then_some(Failure::Reloading)
    }
}
