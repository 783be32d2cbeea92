//! Takes the samples of the accept watch, which checks that workers accept by themselves. See
//! [`rcluster_core::accept_watch`].

use std::time::Duration;

use super::listeners::Listeners;
use super::tools::Tools;
use super::workers::Workers;
use rcluster_core::accept_watch::AcceptWatch;
use rcluster_core::ids::{ListenerId, WorkerId};
use rcluster_sys::schedule::is_runnable;

#[derive(Default)]
pub(super) struct Sampler(AcceptWatch);

impl Sampler {
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.0.next_deadline()
    }

    /// The listeners that are due for a sample.
    pub(super) fn due(&self, now: Duration) -> Vec<ListenerId> {
        self.0.due(now).collect()
    }

    pub(super) fn forget(&mut self, listener: ListenerId) {
        self.0.forget(listener);
    }

    /// A client has arrived at a quiet socket. Returns the workers whose sockets are unattended.
    pub(super) fn on_first_client(
        &mut self,
        listener: ListenerId,
        listeners: &mut Listeners,
        workers: &Workers,
        tools: &mut Tools,
    ) -> Vec<WorkerId> {
        if self.0.is_watching(listener) {
            return Vec::new();
        }
        // From now on the listener is sampled, so its other sockets need not report their first clients.
        listeners.watch_for_first_client(listener, false, tools);
        self.sample(listener, listeners, workers, tools)
    }

    /// Takes a sample of a listener. Returns the workers whose sockets are unattended.
    pub(super) fn sample(
        &mut self,
        listener: ListenerId,
        listeners: &mut Listeners,
        workers: &Workers,
        tools: &mut Tools,
    ) -> Vec<WorkerId> {
        listeners.replace_shut(listener, tools);
        let samples = match listeners.samples(listener, workers) {
            Some(Ok(samples)) => samples,
            None => {
                self.0.forget(listener);
                return Vec::new();
            }
            // If the sample failed, it is tried again when there is memory for it.
            Some(Err(error)) => {
                self.0.forget(listener);
                tools.try_later(error);
                return Vec::new();
            }
        };
        let is_runnable = |slot| {
            let of_slot = listeners.workers_of_slots(listener, &[slot]).into_iter();
            of_slot.filter_map(|worker| workers.pid(worker)).any(is_runnable)
        };
        let finding = self.0.look(tools.now(), listener, &samples, is_runnable);
        if finding.quiet {
            listeners.watch_for_first_client(listener, true, tools);
            return Vec::new();
        }
        listeners.workers_of_slots(listener, &finding.unattended)
    }
}
