//! Sampling of workers: whether the event loop turns, and how much memory and how many connections each has.

use std::time::Duration;

use super::cluster::Cluster;
use super::health::Loop;
use super::options::Recycle;
use super::worker::{Role, Stage, Worker};
use super::{Event, Output, Time};
use crate::ids::WorkerId;

/// How long to wait for the stack of an unresponsive worker.
const CAPTURE: Duration = Duration::from_millis(500);

/// When the workers are sampled.
#[derive(Debug, Default)]
pub(super) struct Watch {
    samples_at: Option<Time>,
}

impl Watch {
    pub(super) fn samples_at(&self) -> Option<Time> {
        self.samples_at
    }

    /// Whether it is time to evaluate the samples. If so, the caller must plan the next time.
    pub(super) fn take_due(&mut self, now: Time) -> bool {
        self.samples_at.take_if(|at| *at <= now).is_some()
    }

    /// Plans the next sampling, if any limit needs it.
    pub(super) fn plan(&mut self, cluster: &Cluster, is_running: bool) {
        let options = cluster.options();
        let Recycle { memory, connections, .. } = options.recycle;
        let curious = options.unresponsive_after.is_some() || memory.is_some() || connections.is_some();
        if !(curious && is_running && cluster.workers().iter().any(Worker::is_ready)) {
            self.samples_at = None;
        } else if self.samples_at.is_none() {
            self.samples_at = Some(cluster.in_time(options.sample_period));
        }
    }
}

/// Whether an event is a consequence of a worker's failure.
fn follows(event: &Event) -> bool {
    matches!(
        event,
        Event::Restart { .. } | Event::Backoff { .. } | Event::GaveUp { .. } | Event::Stopped { .. }
    )
}

impl Cluster {
    /// Evaluates the sample of a worker. If it is unresponsive: how long its event loop has been blocked.
    pub(super) fn weigh(&mut self, index: usize) -> Option<(WorkerId, Duration)> {
        let now = self.now();
        let (it, options) = self.worker_and_options(index);
        let (worker, vitals) = it.id().zip(it.health_mut().take_shown())?;
        if !it.is_ready() {
            return None;
        }
        if matches!(it.role(), Role::Current(_)) {
            it.health_mut().weigh(vitals, &options.recycle);
        }
        match it.health_mut().on_turns(vitals.turns, now, options) {
            Loop::Turns => None,
            Loop::Blocked => {
                self.say(Output::Probe { worker });
                None
            }
            Loop::Unresponsive { blocked_for } => Some((worker, blocked_for)),
        }
    }

    /// Requests the stack of an unresponsive worker, and passes the connections that it has not received to
    /// others.
    pub(super) fn capture(&mut self, index: usize, worker: WorkerId, blocked_for: Duration) {
        let until = self.in_time(CAPTURE);
        self.dismiss(index, Stage::Capturing { until, blocked_for });
        self.say(Output::Reclaim { worker });
        self.say(Output::CaptureStack { worker });
    }

    /// Holds back the events about the consequences since then until the stack is there. The replacement
    /// itself is not delayed.
    pub(super) fn hold_back_what_follows(&mut self, index: usize, since: usize) {
        self.hold_back(index, since, follows);
    }

    pub(super) fn excuse(&mut self, worker: WorkerId, until: Option<Time>) {
        if let Some(index) = self.find(worker) {
            self.worker_mut(index).health_mut().excuse(until);
        }
    }

    pub(super) fn on_stack(&mut self, worker: WorkerId, text: Option<String>) {
        if let Some(index) = self.find(worker) {
            self.kill_blocked(index, text);
        }
    }

    pub(super) fn kill_blocked(&mut self, index: usize, stack: Option<String>) {
        if self.worker(index).is_capturing() {
            self.tell_blocked(index, stack);
            self.kill(index);
        }
    }

    /// Reports that a worker is unresponsive, unless it has been reported, and then the events held back.
    pub(super) fn tell_blocked(&mut self, index: usize, stack: Option<String>) {
        let it = self.worker_mut(index);
        let (Some(worker), Stage::Capturing { until, blocked_for }) = (it.id(), it.stage()) else { return };
        let (slot, held_back, last_lines) = (it.slot(), it.take_held_back(), it.stderr());
        self.tell(Event::Unresponsive { worker, slot, blocked_for, stack });
        // Part of the wait is over.
        let passed = CAPTURE.saturating_sub(until.saturating_sub(self.now()));
        for mut event in held_back {
            if let Event::Restart { delay, .. } | Event::Backoff { delay, .. } = &mut event {
                *delay = delay.saturating_sub(passed);
            }
            if let Event::Restart { stderr, .. }
            | Event::GaveUp { stderr, .. }
            | Event::Stopped { stderr, .. } = &mut event
            {
                stderr.clone_from(&last_lines);
            }
            self.tell(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::supervise::{Cause, Options};
    use crate::ids::{Slot, Ticket};

    #[test]
    fn workers_are_sampled_only_while_one_is_ready_and_a_limit_needs_it() {
        let period = Duration::from_millis(50);
        let options = Options {
            unresponsive_after: Some(Duration::from_secs(1)),
            sample_period: period,
            ..Options::default()
        };
        let (mut watch, mut cluster) = (Watch::default(), Cluster::new(options, 1));
        cluster.start();
        cluster.spawn(Role::Current(Slot(0)), Cause::Start, 0);
        watch.plan(&cluster, true);
        assert_eq!(watch.samples_at(), None, "it is starting");
        cluster.on_spawned(Ticket(0), WorkerId(1));
        cluster.on_ready(0);
        watch.plan(&cluster, true);
        assert_eq!(watch.samples_at(), Some(period));
        assert!(!watch.take_due(period / 2) && watch.take_due(period) && !watch.take_due(period));
        watch.plan(&cluster, false);
        assert_eq!(watch.samples_at(), None, "everything ends");
    }
}
