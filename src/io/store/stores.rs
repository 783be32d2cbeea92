//! The stores of this thread, by their names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::clock::now;
use super::persist::Restored;
use super::refusal::Refusal;
use super::served::{Place, Served};
use super::shared::Shared;
use super::status::status;
use rcluster_core::control::operator::StoreStatus;
use rcluster_core::ids::WorkerId;
use rcluster_core::wire::StoreOptions;
use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::Poller;

/// The maximum number of stores.
pub(super) const MAX_STORES: usize = 256;

/// The maximum number of stores that one worker may have open.
const MAX_OPEN: usize = 64;

/// How long an expired key may wait for others that expire at about the same time, in ms.
const EXPIRY_STEP: u64 = 20;

/// A store to open. If it is kept in a file, with the content of that.
pub(super) struct OpenStore {
    pub(super) name: String,
    pub(super) options: StoreOptions,
    pub(super) restored: Option<Restored>,
}

/// See the module.
#[derive(Default)]
pub(super) struct StoreRoom {
    stores: HashMap<String, Shared>,
    request: Vec<u8>,
}

impl StoreRoom {
    pub(super) fn has(&self, name: &str) -> bool {
        self.stores.contains_key(name)
    }

    /// Creates the store unless it exists, and admits a process to it.
    pub(super) fn admit(
        &mut self,
        poller: &Poller,
        place: &Place,
        token: u64,
        open: OpenStore,
        (socket, worker): (Descriptor, Option<WorkerId>),
    ) -> Result<(), (Descriptor, Refusal)> {
        match self.find(place, open, worker) {
            Ok(shared) => shared.admit(poller, token, socket, worker),
            Err(refusal) => Err((socket, refusal)),
        }
    }

    fn find(
        &mut self,
        place: &Place,
        OpenStore { name, options, restored }: OpenStore,
        worker: Option<WorkerId>,
    ) -> Result<&mut Shared, Refusal> {
        let open = self.stores.values().flat_map(|shared| &shared.clients);
        let open = open.filter(|client| worker.is_some() && client.worker == worker).count();
        let count = self.stores.len();
        match self.stores.entry(name) {
            Entry::Occupied(mut found) => {
                let name = found.key().clone();
                found.get_mut().settings.agree(&name, &options)?;
                let shared = found.into_mut();
                if open < MAX_OPEN { Ok(shared) } else { Err(Refusal::too_many_stores("This worker", open)) }
            }
            Entry::Vacant(_) if count >= MAX_STORES => {
                Err(Refusal::too_many_stores("The cluster", MAX_STORES))
            }
            Entry::Vacant(free) => {
                let shared = Shared::create(free.key(), &options, restored, place)?;
                Ok(free.insert(shared))
            }
        }
    }

    /// The server of a store has answered, or has told something.
    pub(super) fn on_served(&mut self, Served { store, outputs }: Served) {
        if let Some(shared) = self.stores.get_mut(&store) {
            shared.on_served(outputs);
        }
    }

    /// Answers requests. Returns false if there were none.
    pub(super) fn work(&mut self, poller: &Poller) -> bool {
        let now = now();
        let mut broken = Vec::new();
        let each = self.stores.values_mut();
        let served =
            each.fold(false, |served, shared| shared.work(now, &mut self.request, &mut broken) | served);
        for token in broken {
            self.remove(poller, token);
        }
        served
    }

    /// Marks the thread as awake, so that processes do not wake it.
    pub(super) fn wake(&self) {
        for client in self.stores.values().flat_map(|shared| &shared.clients) {
            client.inbox.wake();
        }
    }

    /// Announces to all processes that the thread sleeps. Returns false if there is a request.
    pub(super) fn sleep(&self) -> bool {
        self.stores.values().fold(true, |asleep, shared| shared.sleep() & asleep)
    }

    /// A process has hung up or died.
    pub(super) fn remove(&mut self, poller: &Poller, token: u64) {
        for shared in self.stores.values_mut() {
            shared.remove(poller, token, &mut self.request);
        }
    }

    /// When expired keys have to be removed, in ms by [`now`].
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let next = self.stores.values().filter_map(Shared::next_expiry).min()?;
        Some(next + EXPIRY_STEP)
    }

    pub(super) fn status(&self) -> Vec<StoreStatus> {
        let each = self.stores.iter();
        each.map(|(name, shared)| status(name, &shared.store, shared.clients.len())).collect()
    }
}
