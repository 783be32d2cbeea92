//! Reload: replaces the workers of all slots, one or several at a time, without downtime.

use super::cluster::Cluster;
use super::restart::WorkerFailure;
use super::worker::{Going, Role};
use super::{Cause, Event, Failure, Reason, Time};
use crate::ids::{Request, Slot};

/// The numbers of reloads. The generation of a worker is the number of the last reload before its order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generations {
    /// The number of the last reload.
    pub(super) newest: u32,
    /// The oldest generation whose standbys may take over a slot: older ones would bring back old code.
    pub(super) oldest: u32,
}

#[derive(Debug)]
struct Running {
    requests: Vec<Request>,
    concurrency: usize,
    started: Time,
}

/// The state of reloads: see the module.
#[derive(Debug, Default)]
pub(super) struct Reload {
    /// The number of the last reload, and of the last one that succeeded.
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

    /// Begins a reload, or joins the running one. True if it begins.
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

    /// Begins with as many further slots as the concurrency allows; ends the reload when all are done.
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

    /// Whether a worker with the new code is starting in the slot, for the reload or after a failure.
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
        // Standbys come last: until the new code had been proven, they could have restored the old code.
        for index in 0..cluster.workers().len() {
            let it = cluster.worker(index);
            if it.role() == Role::Standby && it.generation() < self.proven {
                cluster.send_off(index, Reason::Reload);
            }
        }
        cluster.revive(None);
    }

    /// A worker has failed to start, or crashed. If it was a new one, the reload fails.
    pub(super) fn on_failure(&mut self, cluster: &mut Cluster, slot: Slot, failure: &WorkerFailure) {
        if failure.generation != self.generation {
            return;
        }
        let Some(running) = self.running.take() else { return };
        let failure = failure.at(slot);
        let reloaded = cluster.all_slots().filter(|slot| self.is_done(cluster, *slot)).count();
        let reloaded = u32::try_from(reloaded).unwrap_or(u32::MAX);
        cluster.tell(Event::ReloadFailed { failure: failure.clone(), reloaded });
        cluster.answer(running.requests, &Err(failure));
        // The old workers stay, and their successors are not needed.
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

    /// The reload fails because the shutdown begins.
    pub(super) fn abandon(&mut self, cluster: &mut Cluster) {
        if let Some(running) = self.running.take() {
            cluster.answer(running.requests, &Err(Failure::ShutDown));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::supervise::{Options, Output, Phase, Why};

    fn cluster() -> Cluster {
        let mut cluster = Cluster::new(Options { workers: 2, ..Options::default() }, 1);
        cluster.start();
        cluster
    }

    fn not_ready(generation: u32) -> WorkerFailure {
        let stderr = Some(["the last line".to_owned()].into());
        let (phase, cause) = (Phase::StartUp, Cause::Reload);
        WorkerFailure {
            worker: None,
            why: Why::NotReady { missed: None },
            phase,
            generation,
            cause,
            stays: false,
            stderr,
        }
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
    fn a_failure_ends_the_reload_only_if_the_worker_was_new() {
        let (mut cluster, mut reload) = (cluster(), Reload::default());
        reload.ask(&mut cluster, 1, Request(1));
        reload.on_failure(&mut cluster, Slot(1), &not_ready(0));
        assert!(reload.is_running() && answers(&mut cluster).is_empty());
        reload.on_failure(&mut cluster, Slot(1), &not_ready(1));
        let stderr = Some(["the last line".to_owned()].into());
        let failure = Failure::NotReady { slot: Slot(1), why: Why::NotReady { missed: None }, stderr };
        assert_eq!(failure.stderr(), Some(&["the last line".to_owned()][..]));
        assert_eq!(answers(&mut cluster), [(Request(1), Err(failure))]);
    }

    #[test]
    fn standbys_with_the_old_code_may_take_over_again_once_the_reload_has_failed() {
        let (mut cluster, mut reload) = (cluster(), Reload::default());
        reload.ask(&mut cluster, 1, Request(1));
        assert_eq!((reload.generations().newest, reload.generations().oldest), (1, 1));
        reload.on_failure(&mut cluster, Slot(0), &not_ready(1));
        assert_eq!((reload.generations().newest, reload.generations().oldest), (1, 0));
    }
}
