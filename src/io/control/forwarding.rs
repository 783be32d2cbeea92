//! The forwarder, for the code that starts and removes workers: once it runs, every worker that is started
//! gets addresses of its own.

use std::sync::{Arc, OnceLock};

use super::messages::{Event, Tell, describe};
use crate::io::barrier::Barrier;
use crate::io::dispatcher;
use crate::io::forward::{BoundFront, Forwarder, ForwarderEvent, Kind, Own, Report};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_sys::error::SysError;

/// The forwarder, once it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Forwarding(Arc<OnceLock<Forwarder>>);

impl Forwarding {
    /// Starts forwarding. Possible once: `EALREADY` after that.
    pub(super) fn start(&self, fronts: Vec<BoundFront>, tell: Tell) -> Result<(), SysError> {
        let forwarder = Forwarder::start(fronts, move |notice| {
            tell(match notice {
                ForwarderEvent::Exhausted(error) => describe(dispatcher::DispatcherEvent::Exhausted(error)),
                ForwarderEvent::Foreign { worker, port, uid } => Event::Warning {
                    code: "RCLUSTER_FOREIGN_LISTENER",
                    message: format!(
                        "A process of user {uid} listens on port {port}, which is set aside for {worker}: it is sent nothing"
                    ),
                },
                ForwarderEvent::Failed(why) => Event::Failed(why),
            });
        })?;
        self.0.set(forwarder).map_err(|_| SysError::twice("starting to forward"))
    }

    /// Addresses for a worker that is about to start; none if nothing is forwarded.
    pub(super) fn reserve(&self, worker: WorkerId, kind: Kind) -> Result<Vec<Own>, SysError> {
        self.0.get().map_or(Ok(Vec::new()), |forwarder| forwarder.reserve(worker, kind))
    }

    /// The worker listens on one of its own addresses.
    pub(super) fn listens(&self, worker: WorkerId) {
        if let Some(forwarder) = self.0.get() {
            forwarder.worker_listens(worker);
        }
    }

    /// From now on the worker gets connections, as soon as it listens.
    pub(super) fn add(&self, worker: WorkerId, slot: Slot, own: Vec<Own>) {
        // A worker that was started before the forwarder has none.
        if let Some(forwarder) = self.0.get().filter(|_| !own.is_empty()) {
            forwarder.add_worker(worker, slot, own);
        }
    }

    /// The worker gets no more connections.
    pub(super) fn leaving(&self, worker: WorkerId) {
        if let Some(forwarder) = self.0.get() {
            forwarder.worker_leaving(worker);
        }
    }

    /// Like [`leaving`](Self::leaving), and in effect on return: a worker that is then ordered to close its
    /// servers has received every client that was forwarded to it. The forwarder answers between two system
    /// calls, so this is quick.
    pub(super) fn take_away(&self, worker: WorkerId) {
        if let Some(forwarder) = self.0.get() {
            forwarder.worker_leaving_now(worker);
        }
    }

    /// All workers are about to leave: closes the sockets, and runs `act` when all clients are connected to workers.
    /// Dropped without running if nothing is forwarded.
    pub(super) fn last_call(&self, act: Barrier) {
        if let Some(forwarder) = self.0.get() {
            forwarder.accept_all_and_close(act);
        }
    }

    /// The worker has died.
    pub(super) fn gone(&self, worker: WorkerId) {
        if let Some(forwarder) = self.0.get() {
            forwarder.worker_exited(worker);
        }
    }

    /// Whether the forwarder was started, even if its thread has failed since.
    pub(super) fn is_running(&self) -> bool {
        self.0.get().is_some()
    }

    /// Runs this on the forwarder's thread, in order with the commands.
    pub(super) fn barrier(&self, act: Barrier) {
        if let Some(forwarder) = self.0.get() {
            forwarder.barrier(act);
        }
    }

    pub(super) fn report(&self) -> Vec<Report> {
        self.0.get().map(Forwarder::report).unwrap_or_default()
    }

    pub(super) fn remove_sockets(&self) {
        if let Some(forwarder) = self.0.get() {
            forwarder.remove_sockets();
        }
    }
}
