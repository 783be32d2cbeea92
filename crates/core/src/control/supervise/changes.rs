//! Requested changes of the cluster: other code, another number of slots, another worker in a slot.

use super::cluster::Cluster;
use super::follow::Follow;
use super::operate::{Operations, Wanted};
use super::reload::{Generations, Reload};
use super::restart::WorkerFailure;
use super::scale::Scale;
use super::{Failure, MAX_WORKERS, Time};
use crate::ids::{Request, Slot};

/// The unanswered requests and the order in which they are carried out: see the module.
#[derive(Debug)]
pub(super) struct Changes {
    reload: Reload,
    scale: Scale,
    /// Changes the number of slots while no request does.
    follow: Follow,
    operations: Operations,
}

impl Changes {
    pub(super) fn new(follows_cpus: bool) -> Self {
        Self {
            reload: Reload::default(),
            scale: Scale::default(),
            follow: Follow::new(follows_cpus),
            operations: Operations::default(),
        }
    }

    pub(super) fn is_reloading(&self) -> bool {
        self.reload.is_running()
    }

    pub(super) fn generations(&self) -> Generations {
        self.reload.generations()
    }

    /// Whether the reload waits for workers of which none is starting, or a request to scale for a slot that gets no
    /// worker. The invariants forbid it.
    pub(super) fn waits_for_nothing(&self, cluster: &Cluster) -> bool {
        let is_under_way = |slot| self.reload.is_under_way(cluster, slot);
        let reloads_nothing = self.reload.is_running() && !cluster.all_slots().any(is_under_way);
        reloads_nothing || self.scale.waits_for_nothing(cluster)
    }

    pub(super) fn follows_cpus(&self) -> bool {
        self.follow.is_on()
    }

    /// Begins a reload, or joins the running one. True if it begins.
    pub(super) fn on_reload_asked(
        &mut self,
        cluster: &mut Cluster,
        concurrency: u32,
        request: Request,
    ) -> bool {
        self.reload.ask(cluster, concurrency, request)
    }

    /// An explicit number of slots ends that they follow the CPUs.
    pub(super) fn on_scale_asked(&mut self, cluster: &mut Cluster, workers: u32, request: Request) {
        if (1..=MAX_WORKERS).contains(&workers) {
            self.follow.end();
            self.scale.ask(cluster, workers, request);
        } else {
            cluster.answer(vec![request], &Err(Failure::OutOfRange { workers }));
        }
    }

    /// From now on, there is a slot for each CPU.
    pub(super) fn on_follow_asked(&mut self) {
        self.follow.begin();
    }

    /// A request is answered once this condition holds in the slot.
    pub(super) fn add_operation(&mut self, request: Request, slot: Slot, wanted: Wanted) {
        self.operations.add(request, slot, wanted);
    }

    /// A sample of the number of CPUs.
    pub(super) fn on_cpus(&mut self, now: Time, cpus: u32) {
        self.follow.on_cpus(now, cpus);
    }

    /// A worker of a slot did not get ready: the reload to which it belonged fails, and so do requests of operators
    /// that wait for it.
    pub(super) fn on_not_ready(&mut self, cluster: &mut Cluster, slot: Slot, failure: &WorkerFailure) {
        self.reload.on_failure(cluster, slot, failure);
        self.operations.on_failure(cluster, slot, failure);
    }

    /// A worker has crashed after it was ready: if it is one of the running reload, that fails, before the others have the
    /// new code as well.
    pub(super) fn on_crash(&mut self, cluster: &mut Cluster, slot: Slot, failure: &WorkerFailure) {
        self.reload.on_failure(cluster, slot, failure);
    }

    /// A slot is without a worker: if it is a new one, the request for it fails.
    pub(super) fn on_vacated(&mut self, cluster: &mut Cluster, slot: Slot, failure: &WorkerFailure) {
        self.scale.on_failure(cluster, slot, failure);
    }

    /// A slot is emptied by order: if it is a new one, the request for it fails.
    pub(super) fn on_drained(&mut self, cluster: &mut Cluster, slot: Slot) {
        self.scale.on_drained(cluster, slot);
    }

    /// Takes the next steps. The number of slots changes between reloads, and by itself only if the cluster is not about
    /// to end.
    pub(super) fn advance(&mut self, cluster: &mut Cluster, is_about_to_end: bool) {
        self.reload.advance(cluster);
        if !self.reload.is_running() {
            self.scale.apply(cluster);
            if !self.scale.is_asked() && !is_about_to_end {
                self.follow.apply(cluster);
            }
        }
    }

    /// Whether a reload has completed since the last step: a standby has taken over the last slot.
    pub(super) fn must_advance(&self, cluster: &Cluster) -> bool {
        self.reload.is_complete(cluster)
    }

    /// Answers requests for the current number of slots.
    pub(super) fn answer_scaling(&mut self, cluster: &mut Cluster) {
        self.scale.answer(cluster);
    }

    /// Answers requests for single slots that are done, or cannot be done any more.
    pub(super) fn answer_operations(&mut self, cluster: &mut Cluster) {
        self.operations.answer(cluster);
    }

    /// The shutdown begins or is announced: requests that need another worker fail.
    pub(super) fn abandon(&mut self, cluster: &mut Cluster) {
        self.reload.abandon(cluster);
        self.scale.end(cluster, &Err(Failure::ShutDown));
        self.operations.abandon(cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::supervise::{Options, Output};

    fn cluster() -> Cluster {
        let mut cluster = Cluster::new(Options { workers: 2, ..Options::default() }, 1);
        cluster.start();
        cluster
    }

    fn answers(cluster: &mut Cluster) -> Vec<(Request, Result<(), Failure>)> {
        let mut outputs = Vec::new();
        cluster.take_outputs(&mut outputs);
        let answer = |output| match output {
            Output::Done { request, result } => Some((request, result)),
            _ => None,
        };
        outputs.into_iter().filter_map(answer).collect()
    }

    #[test]
    fn a_requested_number_of_slots_waits_for_the_reload_and_ends_following() {
        let (mut cluster, mut changes) = (cluster(), Changes::new(true));
        changes.on_reload_asked(&mut cluster, 1, Request(1));
        changes.on_scale_asked(&mut cluster, 3, Request(2));
        assert!(changes.is_reloading() && !changes.follows_cpus());
        changes.advance(&mut cluster, false);
        assert_eq!(cluster.slots().wanted(), 2);
        changes.reload.abandon(&mut cluster);
        changes.advance(&mut cluster, false);
        assert_eq!(cluster.slots().wanted(), 3);
    }

    #[test]
    fn an_impossible_number_is_refused_and_changes_nothing() {
        let (mut cluster, mut changes) = (cluster(), Changes::new(true));
        changes.on_scale_asked(&mut cluster, 0, Request(1));
        changes.on_scale_asked(&mut cluster, MAX_WORKERS + 1, Request(2));
        let refused = |request, workers| (request, Err(Failure::OutOfRange { workers }));
        assert_eq!(answers(&mut cluster), [refused(Request(1), 0), refused(Request(2), MAX_WORKERS + 1)]);
        assert!(changes.follows_cpus());
    }

    #[test]
    fn slots_follow_the_cpus_unless_the_cluster_is_about_to_end() {
        let (mut cluster, mut changes) = (cluster(), Changes::new(true));
        changes.on_cpus(Time::ZERO, 1);
        changes.advance(&mut cluster, true);
        assert_eq!(cluster.slots().wanted(), 2);
        changes.advance(&mut cluster, false);
        assert_eq!(cluster.slots().wanted(), 1);
    }

    #[test]
    fn when_the_end_begins_all_requests_for_other_workers_fail() {
        let (mut cluster, mut changes) = (cluster(), Changes::new(false));
        changes.on_reload_asked(&mut cluster, 1, Request(1));
        changes.on_scale_asked(&mut cluster, 3, Request(2));
        changes.add_operation(Request(3), Slot(0), Wanted::Other(None));
        changes.abandon(&mut cluster);
        let failed = |number| (Request(number), Err(Failure::ShutDown));
        assert_eq!(answers(&mut cluster), [failed(1), failed(2), failed(3)]);
        assert!(!changes.is_reloading());
    }
}
