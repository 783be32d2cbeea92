//! One store on its thread, and the processes that use it.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;

use super::NAME;
use super::peer::{Broken, Peer};
use super::persist::{Restored, keep};
use super::refusal::Refusal;
use super::remote::Remote;
use super::served::Place;
use super::settings::Settings;
use crate::io::clock::now;
use rcluster_core::frames::StoreOptions;
use rcluster_core::ids::WorkerId;
use rcluster_core::store::ops::{Outcome, Status};
use rcluster_core::store::remote::status::Status as LinkStatus;
use rcluster_core::store::remote::unanswered::Unanswered;
use rcluster_core::store::request::decode;
use rcluster_core::store::ring::Wanted;
use rcluster_core::store::writer::Store;
use rcluster_sys::closer::Descriptor;
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::epoll::Poller;
use rcluster_sys::segment::{Segment, reserve};

/// The maximum number of requests answered for one process before the next process gets its turn.
const TURN: usize = 128;

/// How many turns a process gets after it has hung up: enough to empty the ring. Limited, because a process
/// that is still alive can go on making requests.
const LAST_TURNS: usize = 16;

/// See the module.
pub(super) struct Shared {
    pub(super) store: Store<Segment>,
    /// The server of the store, if it has one.
    pub(super) remote: Option<Remote>,
    segment: OwnedFd,
    pub(super) settings: Settings,
    longest: usize,
    /// The last revision for which watchers were woken.
    pub(super) told: u64,
    pub(super) clients: Vec<Peer>,
}

/// What the stores of a thread have in common while they serve requests.
#[derive(Default)]
pub(super) struct Common {
    /// The requests that wait for the servers of stores.
    pub(super) unanswered: Unanswered,
    /// The current request.
    request: Vec<u8>,
}

impl Shared {
    /// Creates a store, with the content of its file if it is kept in one.
    pub(super) fn create(
        name: &str,
        options: &StoreOptions,
        restored: Option<Restored>,
        place: &Place,
    ) -> Result<Self, Refusal> {
        let settings = Settings::new(name, options, restored.is_some())?;
        let Settings { size, geometry, eviction, .. } = settings;
        let (memory, segment) = Segment::create_published(NAME, geometry.words())?;
        let reserved = duplicate(&segment)?;
        // Random hash keys, so that no client can choose keys that collide.
        let hash_keys = (RandomState::new().hash_one(1), RandomState::new().hash_one(2));
        let reserve = Box::new(move |range| reserve(&reserved, &range).is_ok());
        let mut store = Store::create(memory, geometry, hash_keys, eviction, reserve).map_err(|_| {
            Refusal { code: "ERR_RCLUSTER_SHARED", message: "There is no memory for another store".into() }
        })?;
        if let Some(restored) = restored {
            restored.fill(&mut store)?;
            keep(name, restored.into_file(), &segment)?;
        }
        let remote = match &settings.backend {
            None => None,
            Some(backend) => {
                // Clients see from the start that the store has a server.
                store.tell(&LinkStatus { url: backend.to_string(), ..LinkStatus::default() });
                Some(Remote::start(name, backend, &geometry, size, place.deliveries()?)?)
            }
        };
        // The longest request: the longest record, and the operation's own words.
        let longest = geometry.max_record() + 64;
        Ok(Self { store, remote, segment, settings, longest, told: 0, clients: Vec::new() })
    }

    /// Creates the link of a process and sends it.
    pub(super) fn admit(
        &mut self,
        poller: &Poller,
        token: u64,
        socket: Descriptor,
        worker: Option<WorkerId>,
    ) -> Result<(), (Descriptor, Refusal)> {
        let segment = match duplicate(&self.segment) {
            Ok(segment) => segment,
            Err(error) => return Err((socket, error.into())),
        };
        let admitted = Peer::admit(poller, token, socket, worker, self.longest, vec![segment]);
        self.clients.push(admitted.map_err(|(socket, error)| (socket, error.into()))?);
        Ok(())
    }

    /// Answers requests of all processes, and wakes the watchers. Returns whether there were any requests.
    /// The tokens of processes that have broken the rules are added to `broken`.
    pub(super) fn work(&mut self, now: u64, common: &mut Common, broken: &mut Vec<u64>) -> bool {
        let mut served = false;
        for place in 0..self.clients.len() {
            match self.serve(place, now, common) {
                Ok(count) => served |= count > 0,
                Err(Broken) => broken.push(self.clients[place].token),
            }
        }
        self.on_expiry(now);
        self.tell_watchers();
        served
    }

    /// Announces to all processes that the thread sleeps. Returns false if there is a request.
    pub(super) fn sleep(&self, common: &Common) -> bool {
        // No short circuit: every process must see the flag.
        self.clients.iter().fold(true, |asleep, client| {
            // Requests that are held back for lack of room are read when answers arrive.
            (client.inbox.sleep() || !self.has_room_for(client, common)) & asleep
        })
    }

    /// A process has hung up or died.
    pub(super) fn remove(&mut self, poller: &Poller, token: u64, common: &mut Common) {
        let Some(place) = self.clients.iter().position(|client| client.token == token) else { return };
        // Requests that the process made before its end are still carried out.
        for _ in 0..LAST_TURNS {
            if !self.serve(place, now(), common).is_ok_and(|count| count > 0) {
                break;
            }
        }
        self.clients.remove(place).leave(poller);
    }

    /// Answers some requests of a process and returns their number.
    fn serve(&mut self, place: usize, now: u64, common: &mut Common) -> Result<usize, Broken> {
        // Commands are about workers, on which the requests of a store do not depend.
        self.clients[place].admit_requests();
        let mut count = 0;
        while count < TURN && self.has_room_for(&self.clients[place], common) {
            let client = &mut self.clients[place];
            if !client.next(&mut common.request)? {
                break;
            }
            count += 1;
            if let Some(remote) = &self.remote {
                remote.ask(client.token, &common.request);
                common.unanswered.on_asked(client.token, client.worker, common.request.len());
                continue;
            }
            let outcome = match decode(&common.request) {
                Some(ops) => {
                    let clients = &self.clients;
                    let mut used =
                        |hash| clients.iter().fold(false, |used, it| it.inbox.take_used(hash) | used);
                    self.store.apply(&ops, now, &mut used)
                }
                None => Outcome { status: Status::Invalid, revision: 0, number: 0.0 },
            };
            self.clients[place].inbox.answer(outcome);
        }
        let client = &self.clients[place];
        // With a server the answer comes later.
        if count > 0 && self.remote.is_none() && client.waits_for_answers() {
            client.wake();
        }
        Ok(count)
    }

    /// Whether further requests of this process are taken now. Its ring can hold more than may wait for a server.
    fn has_room_for(&self, client: &Peer, common: &Common) -> bool {
        self.remote.is_none() || common.unanswered.has_room_for(client.token, client.worker)
    }

    fn tell_watchers(&mut self) {
        let revision = self.store.revision();
        if std::mem::replace(&mut self.told, revision) != revision {
            for client in self.clients.iter().filter(|client| client.inbox.take_wanted(Wanted::Changes)) {
                client.wake();
            }
        }
    }
}
