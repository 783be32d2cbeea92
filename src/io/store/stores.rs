//! The stores of this thread, by their names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::persist::Restored;
use super::refusal::Refusal;
use super::served::{Place, Served};
use super::shared::{Common, Shared};
use super::status::status;
use crate::io::clock::now;
use rcluster_core::control::operator::StoreStatus;
use rcluster_core::frames::StoreOptions;
use rcluster_core::ids::WorkerId;
use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::Poller;

/// The maximum number of stores.
pub(super) const MAX_STORES: usize = 256;

/// The maximum number of stores that one worker may have open.
const MAX_OPEN: usize = 64;

/// How long an expired key may wait for others that expire at about the same time, in ms.
const EXPIRY_STEP: u64 = 20;

/// A request to open a store, with the content of its file if it is kept in one.
pub(super) struct OpenStore {
    pub(super) name: String,
    pub(super) options: StoreOptions,
    pub(super) restored: Option<Restored>,
}

/// See the module.
#[derive(Default)]
pub(super) struct StoreRoom {
    stores: HashMap<String, Shared>,
    common: Common,
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

    /// The server of a store has answered, or has sent an event.
    pub(super) fn on_served(&mut self, Served { store, outputs }: Served) {
        if let Some(shared) = self.stores.get_mut(&store) {
            shared.on_served(outputs, &mut self.common.unanswered);
        }
    }

    /// Answers requests. Returns false if there were none.
    pub(super) fn work(&mut self, poller: &Poller) -> bool {
        let now = now();
        let mut broken = Vec::new();
        let each = self.stores.values_mut();
        let served =
            each.fold(false, |served, shared| shared.work(now, &mut self.common, &mut broken) | served);
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
        self.stores.values().fold(true, |asleep, shared| shared.sleep(&self.common) & asleep)
    }

    /// A process has hung up or died.
    pub(super) fn remove(&mut self, poller: &Poller, token: u64) {
        for shared in self.stores.values_mut() {
            shared.remove(poller, token, &mut self.common);
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

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::mpsc::channel;

    use serde_json::json;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use rcluster_core::store::geometry::MIN_SIZE;
    use rcluster_core::store::ring::Pushed;
    use rcluster_sys::epoll::Waker;
    use rcluster_sys::passing::{Loss, Received, message_pair, receive};
    use rcluster_testing::{alone_as_user, without_new_threads};

    use crate::io::store::line::Line;
    use crate::io::store::{Hub, persist};

    const WORKER: Option<WorkerId> = Some(WorkerId(1));

    struct World {
        poller: Poller,
        room: StoreRoom,
        next_token: u64,
    }

    impl World {
        fn new() -> Self {
            Self { poller: Poller::new().unwrap(), room: StoreRoom::default(), next_token: 2 }
        }

        /// Opens a store, and returns the socket of the process that has done so.
        fn open(&mut self, name: &str, size: u64, worker: Option<WorkerId>) -> Result<OwnedFd, Refusal> {
            self.open_restored(name, size, worker, None)
        }

        fn open_restored(
            &mut self,
            name: &str,
            size: u64,
            worker: Option<WorkerId>,
            restored: Option<Restored>,
        ) -> Result<OwnedFd, Refusal> {
            let (ours, theirs) = message_pair().unwrap();
            let options = StoreOptions { size: Some(size), ..StoreOptions::default() };
            let open = OpenStore { name: name.to_owned(), options, restored };
            let token = self.next_token;
            self.next_token += 2;
            let who = (Descriptor::own(ours), worker);
            let admitted = self.room.admit(&self.poller, &Place::default(), token, open, who);
            admitted.map(|()| theirs).map_err(|(_, refusal)| refusal)
        }

        /// How many processes have each store open, by its name.
        fn clients(&self) -> Vec<(String, usize)> {
            let mut all: Vec<_> = self.room.status().into_iter().map(|it| (it.name, it.clients)).collect();
            all.sort();
            all
        }
    }

    #[test]
    fn opening_a_store_yields_its_memory_a_page_and_a_bell() {
        let mut world = World::new();
        let socket = world.open("a", MIN_SIZE, WORKER).unwrap();
        let (mut bytes, mut fds) = ([0; 64], Vec::new());
        let received = receive(socket.as_fd(), &mut bytes, &mut fds).unwrap();
        assert!(matches!(received, Received::Message { len: 2, loss: Loss::Nothing }), "{received:?}");
        assert_eq!((&bytes[..2], fds.len()), (&b"{}"[..], 3));
        assert!(world.room.has("a") && !world.room.has("b"));
    }

    #[test]
    fn a_store_is_created_once_and_stays_when_its_processes_have_left() {
        let mut world = World::new();
        let _sockets = [None, WORKER].map(|worker| world.open("a", MIN_SIZE, worker).unwrap());
        assert_eq!(world.clients(), [("a".to_owned(), 2)]);
        let refusal = world.open("a", 2 * MIN_SIZE, WORKER).unwrap_err();
        assert_eq!(refusal.code, "ERR_RCLUSTER_SHARED_OPTIONS");
        for token in [2, 4, 6] {
            world.room.remove(&world.poller, token);
        }
        assert_eq!(world.clients(), [("a".to_owned(), 0)]);
    }

    #[test]
    fn a_store_that_cannot_be_created_is_not_there() {
        let mut world = World::new();
        assert_eq!(world.open("a", 1, WORKER).unwrap_err().code, "ERR_OUT_OF_RANGE");
        assert!(!world.room.has("a"));
        world.open("a", MIN_SIZE, WORKER).unwrap();
    }

    /// In a separate process, because it changes the limit, and for a user without the privilege that is exempt from it.
    #[test]
    fn a_store_that_is_not_saved_for_want_of_a_thread_can_be_opened_later() {
        let name =
            "io::store::stores::tests::a_store_that_is_not_saved_for_want_of_a_thread_can_be_opened_later";
        if !alone_as_user(name, 54324) {
            return;
        }
        let path = std::env::temp_dir().join(format!("rcluster-unsaved-{}", std::process::id()));
        let mut world = World::new();
        let mut open = || world.open_restored("kept", MIN_SIZE, None, Some(persist::restore(&path).unwrap()));
        without_new_threads(|| assert!(open().is_err()));
        assert!(!persist::is_kept("kept"));
        let _socket = open().expect("its file is not locked any more");
        assert!(persist::is_kept("kept"));
        std::fs::remove_file(path.with_extension("lock")).unwrap();
    }

    #[test]
    fn a_worker_has_only_so_many_stores_open_and_the_primary_any_number() {
        let mut world = World::new();
        let mut sockets = vec![world.open("a", MIN_SIZE, None).unwrap()];
        sockets.extend((0..MAX_OPEN).map(|_| world.open("a", MIN_SIZE, WORKER).unwrap()));
        let refusal = world.open("a", MIN_SIZE, WORKER).unwrap_err();
        assert_eq!(refusal, Refusal::too_many_stores("This worker", MAX_OPEN));
        sockets.push(world.open("a", MIN_SIZE, Some(WorkerId(2))).unwrap());
        sockets.extend((0..MAX_OPEN).map(|_| world.open("a", MIN_SIZE, None).unwrap()));
        assert_eq!(world.clients(), [("a".to_owned(), 2 * MAX_OPEN + 2)]);
    }

    /// It has a server that never answers, and closes each link when the ring is full.
    #[test]
    fn a_worker_that_opens_and_closes_links_does_not_fill_the_memory() {
        let mut world = World::new();
        let (deliveries, _served) = unbounded_channel();
        let hub = Hub { commands: channel().0, waker: Waker::new().unwrap() };
        let place = Place::Servers { deliveries, stores: hub };
        let backend = json!({ "servers": { "socket": "/nowhere/rcluster" }, "wait": 86_400_000 });
        let request = vec![u64::MAX; 4096];
        let mut links = (2..1000).step_by(2);
        while world.room.common.unanswered.has_room_for(1000, WORKER) {
            let token = links.next().expect("it has no room some time");
            let (ours, theirs) = message_pair().unwrap();
            let options = json!({ "size": 16 << 20, "backend": backend });
            let options = serde_json::from_value(options).unwrap();
            let open = OpenStore { name: "a".into(), options, restored: None };
            let who = (Descriptor::own(ours), WORKER);
            world.room.admit(&world.poller, &place, token, open, who).map_err(|(_, why)| why).unwrap();
            let (line, [_segment]) = Line::connect(theirs).unwrap();
            while matches!(line.push(&request), Pushed::Done { .. }) || world.room.work(&world.poller) {}
            world.room.remove(&world.poller, token);
        }
        assert!(world.room.common.unanswered.has_room_for(1000, Some(WorkerId(2))));
    }

    #[test]
    fn without_expiry_or_requests_the_thread_may_sleep() {
        let mut world = World::new();
        let _socket = world.open("a", MIN_SIZE, WORKER).unwrap();
        assert!(!world.room.work(&world.poller));
        assert_eq!(world.room.next_deadline(), None);
        assert!(world.room.sleep());
    }
}
