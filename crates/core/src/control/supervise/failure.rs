//! What is known of a worker that fails, when it is decided whether there is another.

use super::worker::{Role, Worker};
use super::{Cause, Phase, Reason, Why};
use crate::ids::WorkerId;

/// The failure of a worker: also a retirement, and an end that may be none by the policy.
#[derive(Clone, Debug)]
pub(super) struct WorkerFailure {
    pub(super) worker: Option<WorkerId>,
    pub(super) why: Why,
    pub(super) phase: Phase,
    /// Which reload the worker came from.
    pub(super) generation: u32,
    /// What its replacement is spawned for.
    pub(super) cause: Cause,
    /// It is there until its replacement is ready.
    pub(super) stays: bool,
}

impl WorkerFailure {
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
            why,
        }
    }
}
