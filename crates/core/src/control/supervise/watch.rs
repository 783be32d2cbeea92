//! Looking at workers: does the event loop turn, how much has each of everything?

use std::time::Duration;

use super::cluster::Cluster;
use super::health::Loop;
use super::options::Recycle;
use super::worker::{Role, Stage, Worker};
use super::{Event, Output, Time};
use crate::ids::WorkerId;

/// How long we wait for the stack of a worker that is unresponsive.
const CAPTURE: Duration = Duration::from_millis(500);

/// When the workers are looked at.
#[derive(Debug, Default)]
pub(super) struct Watch {
    samples_at: Option<Time>,
}

impl Watch {
    pub(super) fn samples_at(&self) -> Option<Time> {
        self.samples_at
    }

    /// Whether it is time to look at what all have shown. If it is, the next time has to be planned.
    pub(super) fn take_due(&mut self, now: Time) -> bool {
        self.samples_at.take_if(|at| *at <= now).is_some()
    }

    /// Says when to look next, if there is anything to look for.
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

/// Whether an event tells what follows from the failure of a worker.
fn follows(event: &Event) -> bool {
    matches!(
        event,
        Event::Restart { .. } | Event::Backoff { .. } | Event::GaveUp { .. } | Event::Stopped { .. }
    )
}

impl Cluster {
    /// Weighs what a worker has shown. If it is unresponsive: for how long its event loop has been blocked.
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

    /// Asks where an unresponsive worker is blocked, and gives what it has not received to others.
    pub(super) fn capture(&mut self, index: usize, worker: WorkerId, blocked_for: Duration) {
        let until = self.in_time(CAPTURE);
        self.dismiss(index, Stage::Capturing { until, blocked_for });
        self.say(Output::Reclaim { worker });
        self.say(Output::CaptureStack { worker });
    }

    /// Keeps what has followed from that since then until the stack is there. The replacement does not wait.
    pub(super) fn hold_back_what_follows(&mut self, index: usize, since: usize) {
        self.hold_back(index, since, follows);
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

    /// Tells that a worker is unresponsive, if it is and that has not been told, and then what has followed from it.
    pub(super) fn tell_blocked(&mut self, index: usize, stack: Option<String>) {
        let it = self.worker_mut(index);
        let (Some(worker), Stage::Capturing { until, blocked_for }) = (it.id(), it.stage()) else { return };
        let (slot, held_back) = (it.slot(), it.take_held_back());
        self.tell(Event::Unresponsive { worker, slot, blocked_for, stack });
        // Part of the wait is over.
        let passed = CAPTURE.saturating_sub(until.saturating_sub(self.now()));
        for mut event in held_back {
            if let Event::Restart { delay, .. } | Event::Backoff { delay, .. } = &mut event {
                *delay = delay.saturating_sub(passed);
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
    fn workers_are_looked_at_only_while_one_is_ready_and_something_is_to_be_found_out() {
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
