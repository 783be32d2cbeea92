//! What the control thread remembers of each worker besides its listeners and its slot.

use std::collections::BTreeMap;

use crate::ids::WorkerId;

/// A worker, from its start until its process is gone.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(super) struct Worker {
    /// It is an external program, which does not know its link to the primary.
    pub(super) external: bool,
    pub(super) supervised: bool,
    /// It gets no more connections.
    withdrawn: bool,
    /// The listeners know that it is leaving.
    leaving: bool,
}

impl Worker {
    pub(super) fn new(external: bool, supervised: bool) -> Self {
        Self { external, supervised, withdrawn: false, leaving: false }
    }
}

/// All workers.
#[derive(Debug, Default)]
pub(super) struct Workers(BTreeMap<WorkerId, Worker>);

impl Workers {
    pub(super) fn add(&mut self, id: WorkerId, worker: Worker) {
        self.0.insert(id, worker);
    }

    pub(super) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        self.0.remove(&id)
    }

    pub(super) fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.0.get(&id)
    }

    pub(super) fn is_supervised(&self, id: WorkerId) -> bool {
        self.get(id).is_some_and(|worker| worker.supervised)
    }

    pub(super) fn is_leaving(&self, id: WorkerId) -> bool {
        self.get(id).is_some_and(|worker| worker.leaving)
    }

    pub(super) fn on_leaving(&mut self, id: WorkerId) {
        if let Some(worker) = self.0.get_mut(&id) {
            worker.leaving = true;
        }
    }

    /// Marks a worker as withdrawn. True the first time.
    pub(super) fn is_to_withdraw(&mut self, id: WorkerId) -> bool {
        self.0.get_mut(&id).is_some_and(|worker| !std::mem::replace(&mut worker.withdrawn, true))
    }
}
