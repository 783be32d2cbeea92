//! The forwarder, as everybody who starts workers or lets them go knows it: once it is there, each worker
//! that is started has addresses of its own.

use std::sync::{Arc, OnceLock};

use super::messages::{Event, Tell, describe};
use crate::io::barrier::Barrier;
use crate::io::dispatcher;
use crate::io::forward::{BoundFront, Forwarder, ForwarderEvent, Kind, Own, Report};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_sys::error::SysError;

/// The forwarder, once there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Forwarding(Arc<OnceLock<Forwarder>>);

impl Forwarding {
    /// Begins to forward. Once only: `EALREADY` after that.
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

    /// Addresses for a worker that is about to be started; none if nothing is forwarded.
    pub(super) fn reserve(&self, worker: WorkerId, kind: Kind) -> Result<Vec<Own>, SysError> {
        self.0.get().map_or(Ok(Vec::new()), |forwarder| forwarder.reserve(worker, kind))
    }

    /// The worker listens at one of its own addresses.
    pub(super) fn listens(&self, worker: WorkerId) {
        if let Some(forwarder) = self.0.get() {
            forwarder.worker_listens(worker);
        }
    }

    /// From now on the worker gets connections, as soon as it listens.
    pub(super) fn add(&self, worker: WorkerId, slot: Slot, own: Vec<Own>) {
        // One that was started before there was anything to forward has none.
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

    /// The same, and it is so on return: so a worker that is told to close its servers afterwards
    /// finds everybody there who was sent to it. The forwarder answers between two system calls.
    pub(super) fn take_away(&self, worker: WorkerId) {
        if let Some(forwarder) = self.0.get() {
            forwarder.worker_leaving_now(worker);
        }
    }

    /// The worker is dead.
    pub(super) fn gone(&self, worker: WorkerId) {
        if let Some(forwarder) = self.0.get() {
            forwarder.worker_exited(worker);
        }
    }

    /// Whether there is a forwarder, whatever has become of its thread.
    pub(super) fn is_running(&self) -> bool {
        self.0.get().is_some()
    }

    /// Does this on the forwarder's thread, at its place among the commands.
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
