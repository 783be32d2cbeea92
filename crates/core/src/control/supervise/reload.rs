//! New workers for all slots, one or some at a time, without a moment without.

use super::cluster::Cluster;
use super::worker::{Going, Role};
use super::{Cause, Event, Failure, Reason, Time, Why};
use crate::ids::{Request, Slot};

/// Reloads are numbered. Each worker has the number of the last one before it was spawned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generations {
    /// The last reload.
    pub(super) newest: u32,
    /// Standbys from before that must not take over a slot: they would bring the old code back.
    pub(super) oldest: u32,
}

#[derive(Debug)]
struct Running {
    requests: Vec<Request>,
    concurrency: usize,
    started: Time,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reload {
    /// The number of the last reload, and of the last that came through.
    generation: u32,
    proven: u32,
    running: Option<Running>,
}

impl Reload {
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn generations(&self) -> Generations {
        let oldest = if self.is_running() { self.generation } else { self.proven };
        Generations { newest: self.generation, oldest }
    }

    /// Begins, or joins the one that is running. True if it begins.
    pub(super) fn ask(&mut self, cluster: &mut Cluster, concurrency: u32, request: Request) -> bool {
        if let Some(running) = &mut self.running {
            running.requests.push(request);
            return false;
        }
        let concurrency = concurrency.max(1);
        self.generation += 1;
        self.running = Some(Running {
            requests: vec![request],
            concurrency: concurrency as usize,
            started: cluster.now(),
        });
        cluster.tell(Event::ReloadStarted { slots: cluster.slots().wanted(), concurrency });
        true
    }

    /// Begins with the next slots, as far as there may be more at a time; ends when all are done.
    pub(super) fn advance(&mut self, cluster: &mut Cluster) {
        let Some(running) = &self.running else { return };
        let under_way = cluster.all_slots().filter(|slot| self.is_under_way(cluster, *slot)).count();
        let mut free = running.concurrency.saturating_sub(under_way);
        for slot in cluster.all_slots() {
            if free > 0 && !self.is_done(cluster, slot) && !self.is_under_way(cluster, slot) {
                free -= 1;
                self.begin_with(cluster, slot);
            }
        }
        if self.is_complete(cluster) {
            self.finish(cluster);
        }
    }

    pub(super) fn is_complete(&self, cluster: &Cluster) -> bool {
        self.is_running() && cluster.all_slots().all(|slot| self.is_done(cluster, slot))
    }

    fn is_done(&self, cluster: &Cluster, slot: Slot) -> bool {
        cluster.record(slot).generation() == self.generation
    }

    /// One with the new code is starting there, be it by the reload or because the old one has died.
    pub(super) fn is_under_way(&self, cluster: &Cluster, slot: Slot) -> bool {
        cluster.workers().iter().any(|it| {
            let here = [Role::Current(slot), Role::Successor(slot)].contains(&it.role());
            here && it.generation() == self.generation && !it.is_ready()
        })
    }

    fn begin_with(&self, cluster: &mut Cluster, slot: Slot) {
        if let Some(stale) = cluster.successor(slot) {
            cluster.send_off(stale, Reason::Reload);
        }
        if let Some(current) = cluster.current(slot) {
            cluster.worker_mut(current).go_when_replaced(Reason::Reload);
        }
        cluster.revive(Some(slot));
        cluster.spawn_for(slot, Cause::Reload, self.generations());
    }

    fn finish(&mut self, cluster: &mut Cluster) {
        let Some(running) = self.running.take() else { return };
        self.proven = self.generation;
        cluster.tell(Event::ReloadDone { took: cluster.now().saturating_sub(running.started) });
        cluster.answer(running.requests, &Ok(()));
        // Standbys come last: as long as the new code had not proved itself, they were a way back.
        for index in 0..cluster.workers().len() {
            let it = cluster.worker(index);
            if it.role() == Role::Standby && it.generation() < self.proven {
                cluster.send_off(index, Reason::Reload);
            }
        }
        cluster.revive(None);
    }

    /// A worker has failed to start. If it was a new one, that is the end of the reload.
    pub(super) fn on_failure(&mut self, cluster: &mut Cluster, slot: Slot, generation: u32, why: &Why) {
        if generation != self.generation {
            return;
        }
        let Some(running) = self.running.take() else { return };
        let failure = Failure::NotReady { slot, why: why.clone() };
        let reloaded = cluster.all_slots().filter(|slot| self.is_done(cluster, *slot)).count();
        let reloaded = u32::try_from(reloaded).unwrap_or(u32::MAX);
        cluster.tell(Event::ReloadFailed { failure: failure.clone(), reloaded });
        cluster.answer(running.requests, &Err(failure));
        // What was to be replaced stays, and those that were to replace it are not needed.
        for slot in cluster.all_slots() {
            let Some(current) = cluster.current(slot) else { continue };
            let stays = matches!(cluster.worker(current).going(), Some(Going::WhenReplaced(_)));
            let starting = cluster.successor(slot).filter(|index| {
                let it = cluster.worker(*index);
                it.generation() == self.generation && it.is_starting()
            });
            if let Some(successor) = starting.filter(|_| stays) {
                cluster.worker_mut(current).stay();
                cluster.send_off(successor, Reason::Reload);
            }
        }
    }

    /// The reload comes to nothing because everything ends.
    pub(super) fn abandon(&mut self, cluster: &mut Cluster) {
        if let Some(running) = self.running.take() {
            cluster.answer(running.requests, &Err(Failure::ShutDown));
        }
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
    fn a_second_request_joins_the_first_and_both_are_answered_together() {
        let (mut cluster, mut reload) = (cluster(), Reload::default());
        assert!(reload.ask(&mut cluster, 1, Request(1)));
        assert!(!reload.ask(&mut cluster, 2, Request(2)));
        reload.advance(&mut cluster);
        assert!(reload.is_under_way(&cluster, Slot(0)), "one at a time, as the first has said");
        assert!(!reload.is_under_way(&cluster, Slot(1)));
        reload.abandon(&mut cluster);
        let refused = Err(Failure::ShutDown);
        assert_eq!(answers(&mut cluster), [(Request(1), refused.clone()), (Request(2), refused)]);
        assert!(!reload.is_running());
    }

    #[test]
    fn a_failure_ends_the_reload_only_if_the_worker_was_a_new_one() {
        let (mut cluster, mut reload) = (cluster(), Reload::default());
        reload.ask(&mut cluster, 1, Request(1));
        reload.on_failure(&mut cluster, Slot(1), 0, &Why::NotReady);
        assert!(reload.is_running() && answers(&mut cluster).is_empty());
        reload.on_failure(&mut cluster, Slot(1), 1, &Why::NotReady);
        let failure = Failure::NotReady { slot: Slot(1), why: Why::NotReady };
        assert_eq!(answers(&mut cluster), [(Request(1), Err(failure))]);
    }

    #[test]
    fn standbys_with_the_old_code_may_take_over_again_once_the_reload_has_failed() {
        let (mut cluster, mut reload) = (cluster(), Reload::default());
        reload.ask(&mut cluster, 1, Request(1));
        assert_eq!((reload.generations().newest, reload.generations().oldest), (1, 1));
        reload.on_failure(&mut cluster, Slot(0), 1, &Why::NotReady);
        assert_eq!((reload.generations().newest, reload.generations().oldest), (1, 0));
    }
}
