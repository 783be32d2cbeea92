//! The failure of a worker: whether it is restarted, and when.

use super::budget::Budget;
use super::changes::Changes;
use super::cluster::Cluster;
use super::options::Options;
use super::start_up::StartUp;
use super::worker::{Role, Worker};
use super::{Cause, Event, ExitKind, Failure, Phase, Reason, RestartPolicy, Scope, StderrTail, Time, Why};
use crate::ids::{Slot, WorkerId};

/// The failure of a worker. Also a retirement, or an end that the policy may not count as a failure.
#[derive(Clone, Debug)]
pub(super) struct WorkerFailure {
    pub(super) worker: Option<WorkerId>,
    pub(super) why: Why,
    pub(super) phase: Phase,
    /// The generation of the worker.
    pub(super) generation: u32,
    /// The cause of its replacement.
    pub(super) cause: Cause,
    /// Whether it keeps serving until its replacement is ready.
    pub(super) stays: bool,
    pub(super) stderr: StderrTail,
}

impl WorkerFailure {
    /// The answer to requests that waited for a worker in this slot.
    pub(super) fn at(&self, slot: Slot) -> Failure {
        let (why, stderr) = (self.why.clone(), self.stderr.clone());
        match self.phase {
            Phase::StartUp => Failure::NotReady { slot, why, stderr },
            Phase::Service => Failure::Crashed { slot, why, stderr },
        }
    }

    /// Whether the program has ended itself with an error, after it was ready.
    pub(super) fn is_crash(&self) -> bool {
        let has_failed = matches!(self.why, Why::Exited(ExitKind::Code(code)) if code != 0);
        has_failed && self.phase == Phase::Service
    }

    pub(super) fn of(worker: &Worker, why: Why) -> Self {
        Self {
            worker: worker.id(),
            phase: if worker.is_ready() { Phase::Service } else { Phase::StartUp },
            generation: worker.generation(),
            cause: match why {
                Why::Retired(_) => Cause::Retire,
                Why::Unresponsive => Cause::Unresponsive,
                _ => Cause::Restart,
            },
            stays: matches!(worker.role(), Role::Current(_))
                && worker.is_ready()
                && matches!(&why, Why::Retired(reason) if *reason != Reason::Disconnect),
            stderr: worker.stderr(),
            why,
        }
    }
}

/// The restarts of the whole cluster. Those of one slot are in its record.
#[derive(Debug)]
pub(super) struct Restarts {
    budget: Budget,
    count: u64,
    start_up: StartUp,
    /// The last failure, if the budget is used up. Evaluated after everything else.
    gave_up: Option<Why>,
}

impl Restarts {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            budget: Budget::new(options.total_intensity),
            count: 0,
            start_up: StartUp::default(),
            gave_up: None,
        }
    }

    /// The total number of restarts.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn is_within_budget(&self) -> bool {
        self.budget.is_kept()
    }

    /// Workers are started for the first time, or with code that may have changed.
    pub(super) fn on_new_code(&mut self, now: Time) {
        self.start_up.begin(now);
    }

    /// A worker is ready, so the program can start.
    pub(super) fn on_ready(&mut self) {
        self.start_up.succeed();
    }

    /// The last failure, if a slot was given up since the last call.
    pub(super) fn take_gave_up(&mut self) -> Option<Why> {
        self.gave_up.take()
    }

    /// Replaces a worker, or does not if the policy says so.
    pub(super) fn replace_by_policy(
        &mut self,
        cluster: &mut Cluster,
        changes: &mut Changes,
        slot: Option<Slot>,
        failure: WorkerFailure,
    ) {
        if calls_for_another(cluster.options(), &failure.why) {
            self.replace(cluster, changes, slot, failure);
        } else {
            cluster.record_mut(slot).stop(Some(failure.why.clone()).filter(Why::is_failure));
            if let Some(slot) = slot {
                changes.on_vacated(cluster, slot, &failure);
            }
            let WorkerFailure { worker, why, phase, stderr, .. } = failure;
            cluster.tell(Event::Stopped { worker, slot, why, phase, stderr });
        }
    }

    /// Counts a failure and schedules the replacement. True if it starts at once.
    pub(super) fn replace(
        &mut self,
        cluster: &mut Cluster,
        changes: &mut Changes,
        slot: Option<Slot>,
        failure: WorkerFailure,
    ) -> bool {
        // Promoting a standby needs no backoff.
        let at_once = slot.is_some() && cluster.promotable(changes.generations().oldest).is_some();
        let wait = cluster.count_failure(slot, failure.phase);
        let delay = if at_once { Time::ZERO } else { wait };
        let (now, at) = (cluster.now(), cluster.in_time(delay));
        // A worker that keeps serving until it is replaced costs no availability, so only the backoff limits
        // it, not the budget.
        if !failure.stays {
            if let Some(scope) = self.limit(cluster, slot, &failure, at) {
                self.give_up(cluster, changes, slot, failure, (scope, at));
                return false;
            }
            cluster.record_mut(slot).spend(now, at);
            self.budget.spend(now, at);
        }
        let record = cluster.record_mut(slot);
        record.restart(at, failure.cause);
        let failures = record.failures();
        self.count += 1;
        // A retirement has its own event.
        if failure.cause != Cause::Retire {
            tell_restart(cluster, slot, &failure, delay);
        }
        if !delay.is_zero() {
            cluster.tell(Event::Backoff { slot, delay, failures });
        }
        delay.is_zero()
    }

    /// The limit that forbids one more restart at that time, if any.
    fn limit(
        &self,
        cluster: &mut Cluster,
        slot: Option<Slot>,
        failure: &WorkerFailure,
        at: Time,
    ) -> Option<Scope> {
        let start_up_limit = cluster.options().start_up_limit;
        let record = cluster.record_mut(slot);
        if self.start_up.is_over(at, failure.phase, record.failures(), start_up_limit) {
            Some(Scope::StartUp)
        } else if !record.has_budget(at) {
            Some(Scope::Slot)
        } else if !self.budget.admits(at) {
            Some(Scope::Total)
        } else {
            None
        }
    }

    fn give_up(
        &mut self,
        cluster: &mut Cluster,
        changes: &mut Changes,
        slot: Option<Slot>,
        failure: WorkerFailure,
        (scope, at): (Scope, Time),
    ) {
        let now = cluster.now();
        let record = cluster.record_mut(slot);
        record.give_up(failure.why.clone());
        let (restarts, period) = match scope {
            Scope::Slot => (record.recent_restarts(at), record.intensity().period),
            Scope::Total => (self.budget.used(at), self.budget.intensity().period),
            Scope::StartUp => {
                let restarts = u32::try_from(record.restarts()).unwrap_or(u32::MAX);
                (restarts, self.start_up.tried_for(now))
            }
        };
        self.gave_up = Some(failure.why.clone());
        if let Some(slot) = slot {
            changes.on_vacated(cluster, slot, &failure);
        }
        let WorkerFailure { worker, why, phase, stderr, .. } = failure;
        cluster.tell(Event::GaveUp { slot, worker, scope, restarts, period, why, phase, stderr });
    }
}

fn calls_for_another(options: &Options, why: &Why) -> bool {
    let code = match why {
        Why::Exited(ExitKind::Code(code)) => Some(*code),
        _ => None,
    };
    match options.restart {
        _ if code.is_some_and(|code| options.stop_exit_codes.contains(&code)) => false,
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => code != Some(0),
        RestartPolicy::Never => false,
    }
}

pub(super) fn tell_restart(cluster: &mut Cluster, slot: Option<Slot>, failure: &WorkerFailure, delay: Time) {
    let now = cluster.now();
    let restarts = cluster.record_mut(slot).recent_restarts(now);
    let WorkerFailure { worker, why, phase, stderr, .. } = failure.clone();
    cluster.tell(Event::Restart { slot, worker, why, phase, delay, restarts, stderr });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::supervise::Intensity;
    use crate::control::supervise::slot_record::Standing;

    const SLOT: Slot = Slot(0);

    fn failure(why: Why) -> WorkerFailure {
        let (phase, cause) = (Phase::Service, Cause::Restart);
        WorkerFailure { worker: None, why, phase, generation: 0, cause, stays: false, stderr: None }
    }

    fn fail(restarts: &mut Restarts, cluster: &mut Cluster, failure: WorkerFailure) -> Standing {
        restarts.replace_by_policy(cluster, &mut Changes::new(false), Some(SLOT), failure);
        cluster.record(SLOT).standing()
    }

    #[test]
    fn a_slot_gets_another_worker_until_the_total_budget_is_used_up() {
        let total_intensity = Intensity { max: 1, ..Options::default().total_intensity };
        let options = Options { total_intensity, ..Options::default() };
        let (mut restarts, mut cluster) = (Restarts::new(&options), Cluster::new(options, 1));
        cluster.start();
        let crash = || failure(Why::Exited(ExitKind::Code(1)));
        let due = Standing::Due { at: Time::ZERO, cause: Cause::Restart };
        assert_eq!(fail(&mut restarts, &mut cluster, crash()), due);
        assert_eq!((restarts.count(), restarts.take_gave_up()), (1, None));
        assert_eq!(fail(&mut restarts, &mut cluster, crash()), Standing::GivenUp);
        assert_eq!(restarts.count(), 1);
        assert_eq!(restarts.take_gave_up(), Some(Why::Exited(ExitKind::Code(1))));
        assert_eq!(restarts.take_gave_up(), None);
        assert!(restarts.is_within_budget());
    }

    #[test]
    fn the_policy_says_which_ends_are_final_and_only_failures_are_remembered() {
        let options = Options { restart: RestartPolicy::OnFailure, ..Options::default() };
        let (mut restarts, mut cluster) = (Restarts::new(&options), Cluster::new(options, 1));
        cluster.start();
        let done = failure(Why::Exited(ExitKind::Code(0)));
        assert_eq!(fail(&mut restarts, &mut cluster, done), Standing::Stopped);
        assert_eq!((cluster.record(SLOT).failure(), restarts.count()), (None, 0));
    }
}
