//! The own addresses of the workers that the forwarder knows.

use std::collections::{HashMap, HashSet};

use super::own::Own;
use rcluster_core::ids::WorkerId;

#[derive(Default)]
pub(super) struct Workers {
    own: HashMap<WorkerId, Vec<Own>>,
    /// The workers that get no more connections.
    leaving: HashSet<WorkerId>,
}

impl Workers {
    /// Adds a worker, with its addresses in the order of the fronts.
    pub(super) fn insert(&mut self, worker: WorkerId, own: Vec<Own>) {
        self.own.insert(worker, own);
    }

    pub(super) fn remove(&mut self, worker: WorkerId) {
        self.own.remove(&worker);
        self.leaving.remove(&worker);
    }

    /// The worker gets no more connections. Returns false if it was leaving already, or is unknown.
    pub(super) fn set_leaving(&mut self, worker: WorkerId) -> bool {
        self.own.contains_key(&worker) && self.leaving.insert(worker)
    }

    /// Its own address for a front.
    pub(super) fn own(&mut self, worker: WorkerId, front: usize) -> Option<&mut Own> {
        self.own.get_mut(&worker)?.get_mut(front)
    }

    /// The worker listens on one of its addresses.
    pub(super) fn on_listening(&mut self, worker: WorkerId) {
        self.own.get_mut(&worker).into_iter().flatten().for_each(Own::announced);
    }
}
