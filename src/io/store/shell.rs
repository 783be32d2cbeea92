//! The thread that owns all stores.

use std::collections::HashMap;
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::json;

use super::locks::LockRoom;
use super::peer::{Broken, Peer};
use super::persist::{Restored, keep};
use super::remote::{self, Remote};
use super::served::{Place, Served};
use super::status::status;
use super::tallies::TallyRoom;
use super::{Command, Hub, Open, What};
use crate::io::exchange::ExchangeRoom;
use rcluster_core::exchange::roster::Roster;
use rcluster_core::ids::WorkerId;
use rcluster_core::store::geometry::{Geometry, MAX_SIZE, MIN_SIZE};
use rcluster_core::store::linger::Linger;
use rcluster_core::store::ops::{Eviction, Outcome, Status};
use rcluster_core::store::remote::status::Status as LinkStatus;
use rcluster_core::store::request::decode;
use rcluster_core::store::ring::Wanted;
use rcluster_core::store::writer::Store;
use rcluster_core::wire::{StoreOptions, milliseconds};
use rcluster_sys::clock::since_boot;
use rcluster_sys::closer::{Closer, Descriptor};
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::epoll::Poller;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::send;
use rcluster_sys::segment::{Segment, reserve};

/// The name of the stores' memory in system tools.
pub(super) const NAME: &CStr = c"rcluster-store";

/// The default size of a store, in bytes.
const DEFAULT_SIZE: u64 = 64 << 20;

/// The maximum number of requests answered for one process before the next process gets its turn.
const TURN: usize = 128;

/// How many turns a process gets after it has hung up: enough to empty the ring. Limited, because a process
/// that is still alive can go on making requests.
const LAST_TURNS: usize = 16;

/// The maximum number of stores.
pub(super) const MAX_STORES: usize = 256;

/// The maximum number of stores that one worker may have open.
const MAX_OPEN: usize = 64;

/// The maximum length of a store's name, in bytes.
pub(super) const MAX_NAME: usize = 256;

/// How long an expired key may wait for others that expire at about the same time, in ms.
const EXPIRY_STEP: u64 = 20;

/// How long requests are answered before other events are polled.
const SPELL: Duration = Duration::from_millis(1);

/// The pause between two polls for requests, in iterations of a spin loop: about 1 µs.
const LOOKS_APART: u32 = 32;

const WAKER: u64 = 0;

pub(super) struct Shared {
    pub(super) store: Store<Segment>,
    /// The server of the store, if it has one.
    pub(super) remote: Option<Remote>,
    segment: OwnedFd,
    size: u64,
    eviction: Eviction,
    /// The name of its source, once a process has given it.
    source: Option<String>,
    /// The file in which the store is kept.
    persist: Option<String>,
    longest: usize,
    /// The last revision for which watchers were woken.
    pub(super) told: u64,
    pub(super) clients: Vec<Peer>,
}

/// Why a store cannot be opened.
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    fn tell(&self, socket: &Descriptor) {
        let text = json!({ "code": self.code, "message": self.message }).to_string();
        // A process that has hung up, or does not read, does not need the message.
        let _not_heard = send(socket.as_fd(), text.as_bytes(), &[]);
    }
}

impl From<SysError> for Refusal {
    fn from(error: SysError) -> Self {
        Self { code: "ERR_RCLUSTER_SHARED", message: error.to_string() }
    }
}

/// See the module documentation.
pub(super) struct Shell {
    pub(super) poller: Poller,
    /// Which stores are on this thread.
    place: Place,
    /// A handle to this thread, given to threads that send it commands.
    hub: Hub,
    commands: Receiver<Command>,
    stores: HashMap<String, Shared>,
    locks: LockRoom,
    tallies: TallyRoom,
    exchange: ExchangeRoom,
    /// Even and unique. The odd tokens are those of the sockets.
    next_token: u64,
    request: Vec<u8>,
    pub(super) linger: Linger,
}

impl Shell {
    pub(super) fn new(
        hub: Hub,
        commands: Receiver<Command>,
        roster: Roster,
        place: Place,
    ) -> Result<Self, SysError> {
        let poller = Poller::new()?;
        poller.add(&hub.waker, WAKER)?;
        let (stores, request) = (HashMap::new(), Vec::new());
        let (locks, tallies) = (LockRoom::default(), TallyRoom::default());
        let (exchange, linger) = (ExchangeRoom::new(roster), Linger::default());
        let next_token = 2;
        Ok(Self {
            poller,
            place,
            hub,
            commands,
            stores,
            locks,
            tallies,
            exchange,
            next_token,
            request,
            linger,
        })
    }

    /// Returns when no process can open a store any more, or when a system call fails.
    pub(super) fn run(&mut self) -> Result<(), SysError> {
        loop {
            let sleeps = self.work();
            let timeout = if sleeps { self.next_deadline() } else { Some(Duration::ZERO) };
            let events = self.poller.wait(timeout)?;
            self.on_awake(events);
        }
    }

    /// It sleeps no longer, and there are so many events.
    pub(super) fn on_awake(&mut self, events: usize) {
        for client in self.stores.values().flat_map(|shared| &shared.clients) {
            client.inbox.wake();
        }
        self.locks.wake();
        self.exchange.wake();
        for index in 0..events {
            let event = self.poller.event(index);
            if event.token == WAKER {
                self.hub.waker.clear();
                self.take_commands();
            } else if event.token % 2 == 1 {
                if event.end {
                    self.remove(event.token - 1);
                } else {
                    if event.writable {
                        self.locks.on_room(&self.poller, event.token - 1);
                        self.exchange.on_room(&self.poller, event.token - 1);
                    }
                    self.tallies.on_news(&self.poller, event.token - 1);
                }
            }
        }
    }

    /// The control thread's commands are handled before requests: a process that has been notified of a
    /// worker's end finds the worker dead here too.
    fn take_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.on_command(command);
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Open(open) => self.open(open),
            Command::Started(worker, slot) => self.exchange.on_started(worker, slot),
            Command::HasSlot(worker, slot) => self.exchange.on_slot(worker, slot),
            Command::Exited(worker) => {
                self.locks.on_exit(&self.poller, worker);
                self.tallies.on_exit(&self.poller, worker);
                self.exchange.on_exit(&self.poller, worker, &|name| self.locks.leader(name));
            }
            Command::Report(then) => {
                let each = self.stores.iter();
                let all: Vec<_> =
                    each.map(|(name, shared)| status(name, &shared.store, shared.clients.len())).collect();
                self.place.report(all, then);
            }
            Command::Backend(server, link) => {
                self.locks.set_server(server);
                self.exchange.set_link(&self.poller, link);
            }
            Command::Heard(outputs) => self.exchange.on_heard(&self.poller, &outputs),
            Command::Leased(outputs) => self.locks.on_leased(&self.poller, outputs),
        }
    }

    /// The server of a store has answered, or has told something.
    pub(super) fn on_served(&mut self, Served { store, outputs }: Served) {
        if let Some(shared) = self.stores.get_mut(&store) {
            shared.on_served(outputs);
        }
    }

    /// Answers requests. Returns true when there are none and all clients know that this thread sleeps; false
    /// when the time is up and other events must be polled.
    fn work(&mut self) -> bool {
        let end = since_boot() + SPELL;
        loop {
            let served = self.serve();
            let now = since_boot();
            if served {
                self.linger.on_answered(microseconds(now));
            }
            if now >= end {
                return false;
            }
            if served {
                continue;
            }
            if self.linger.is_worthwhile(microseconds(now)) {
                // When all cores are busy, a thread that yields waits for its turn again even if a request
                // arrives soon, and a thread that sleeps does not. So this one keeps its core for the moment.
                // With a single core no process could make a request meanwhile, so it lingers rarely.
                (0..LOOKS_APART).for_each(|_| std::hint::spin_loop());
            } else if self.sleep() {
                self.linger.on_sleep();
                return true;
            }
        }
    }

    /// Answers requests of all processes. Returns false if there were none.
    pub(super) fn serve(&mut self) -> bool {
        self.take_commands();
        let now = now();
        let mut served = false;
        let mut broken = Vec::new();
        for shared in self.stores.values_mut() {
            for place in 0..shared.clients.len() {
                match shared.serve(place, now, &mut self.request) {
                    Ok(count) => served |= count > 0,
                    Err(token) => broken.push(token),
                }
            }
            shared.on_expiry(now);
            shared.tell_watchers();
        }
        for token in broken {
            self.remove(token);
        }
        served |= self.locks.work(&self.poller);
        served |= self.exchange.work(&self.poller, &|name| self.locks.leader(name));
        served
    }

    /// Announces to all clients that this thread sleeps. Returns false if there is a request.
    pub(super) fn sleep(&mut self) -> bool {
        // No short circuit: every client must be told.
        let mut asleep = self.locks.sleep() & self.exchange.sleep();
        for shared in self.stores.values() {
            for client in &shared.clients {
                // Requests that are held back for lack of room are read when answers arrive.
                asleep &= client.inbox.sleep() || !shared.has_room_for(client.token);
            }
        }
        asleep
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let next = self.stores.values().filter_map(Shared::next_expiry).min()?;
        Some(Duration::from_millis((next + EXPIRY_STEP).saturating_sub(now())))
    }

    fn open(&mut self, open: Open) {
        let has_here = |name: &str| self.stores.contains_key(name);
        let open = match self.place.forward(open, has_here) {
            Ok(None) => return,
            Ok(Some(open)) => open,
            Err((socket, refusal)) => return refusal.tell(&Descriptor::own(socket)),
        };
        let Open { what, socket, worker } = open;
        let socket = match &worker {
            Some((_, closer)) => Descriptor::foreign(socket, closer),
            None => Descriptor::own(socket),
        };
        if let What::Store { name, options: StoreOptions { tallies: true, .. } } = what {
            return self.open_tallies(name, socket, worker);
        }
        let worker = worker.map(|(worker, _)| worker);
        let answer = match what {
            What::Store { name, options } => self.try_open(&name, &options, None, socket, worker),
            What::Kept { name, options, restored } => {
                self.try_open(&name, &options, Some(*restored), socket, worker)
            }
            What::Locks => self.open_locks(socket, worker),
            What::Exchange => self.open_exchange(socket, worker),
        };
        if let Err((socket, refusal)) = answer {
            refusal.tell(&socket);
        }
    }

    fn open_tallies(&mut self, name: String, socket: Descriptor, worker: Option<(WorkerId, Closer)>) {
        let id = worker.as_ref().map(|(worker, _)| *worker);
        if !(self.stores.contains_key(&name) || self.place.has(&name)) || !self.tallies.has_room_for(id) {
            let message = format!("The tallies of the store {name:?} cannot be used by this process");
            return Refusal { code: "ERR_RCLUSTER_SHARED", message }.tell(&socket);
        }
        let token = self.next_token;
        self.next_token += 2;
        if let Err((socket, error)) = self.tallies.admit(&self.poller, token, name, socket, worker) {
            Refusal::from(error).tell(&socket);
        }
    }

    fn try_open(
        &mut self,
        name: &str,
        options: &StoreOptions,
        restored: Option<Restored>,
        socket: Descriptor,
        worker: Option<WorkerId>,
    ) -> Result<(), (Descriptor, Refusal)> {
        if let Err(refusal) = self.make(name, options, restored, worker) {
            return Err((socket, refusal));
        }
        let token = self.next_token;
        self.next_token += 2;
        let Some(shared) = self.stores.get_mut(name) else { return Ok(()) };
        let segment = match duplicate(&shared.segment) {
            Ok(segment) => segment,
            Err(error) => return Err((socket, error.into())),
        };
        let admitted = Peer::admit(&self.poller, token, socket, worker, shared.longest, vec![segment]);
        shared.clients.push(admitted.map_err(|(socket, error)| (socket, error.into()))?);
        Ok(())
    }

    fn open_locks(
        &mut self,
        socket: Descriptor,
        worker: Option<WorkerId>,
    ) -> Result<(), (Descriptor, Refusal)> {
        if !self.locks.has_room_for(worker) {
            let message = "This worker uses locks in too many places".into();
            return Err((socket, Refusal { code: "ERR_RCLUSTER_SHARED", message }));
        }
        let token = self.next_token;
        self.next_token += 2;
        let admitted = self.locks.admit(&self.poller, token, socket, worker);
        admitted.map_err(|(socket, error)| (socket, error.into()))
    }

    fn open_exchange(
        &mut self,
        socket: Descriptor,
        worker: Option<WorkerId>,
    ) -> Result<(), (Descriptor, Refusal)> {
        if !self.exchange.has_room_for(worker) {
            let message = "This worker exchanges messages in too many places".into();
            return Err((socket, Refusal { code: "ERR_RCLUSTER_SHARED", message }));
        }
        let token = self.next_token;
        self.next_token += 2;
        let admitted = self.exchange.admit(&self.poller, token, socket, worker);
        admitted.map_err(|(socket, error)| (socket, error.into()))
    }

    /// Creates the store unless it exists.
    fn make(
        &mut self,
        name: &str,
        options: &StoreOptions,
        restored: Option<Restored>,
        worker: Option<WorkerId>,
    ) -> Result<(), Refusal> {
        if let Some(shared) = self.stores.get_mut(name) {
            shared.compare(name, options)?;
            let open = self.stores.values().flat_map(|shared| &shared.clients);
            let open = open.filter(|client| worker.is_some() && client.worker == worker).count();
            return if open < MAX_OPEN { Ok(()) } else { Err(too_many("This worker", open)) };
        }
        if restored.is_none() && options.persist.as_ref().is_some_and(|path| !path.is_empty()) {
            // A worker may have fewer rights than the primary, which would write to any file that the worker
            // names.
            let message =
                format!("The primary has to open the store {name:?} first: it is to be kept in a file");
            return Err(Refusal { code: "ERR_RCLUSTER_PERSIST", message });
        }
        if self.stores.len() >= MAX_STORES {
            return Err(too_many("The cluster", MAX_STORES));
        }
        if name.len() > MAX_NAME {
            let message =
                format!("The name of a store has {MAX_NAME} bytes at the most, and this {}", name.len());
            return Err(Refusal { code: "ERR_INVALID_ARG_VALUE", message });
        }
        if let Some(backend) = &options.backend {
            remote::check(backend, options)?;
        }
        let size = options.size.unwrap_or(DEFAULT_SIZE);
        let Some(geometry) = Geometry::of_size(size) else {
            let message =
                format!("The size of a store is from {MIN_SIZE} to {MAX_SIZE} bytes, and not {size}");
            return Err(Refusal { code: "ERR_OUT_OF_RANGE", message });
        };
        let eviction = options.eviction.map_or(Eviction::None, Eviction::from);
        let (memory, segment) = Segment::create_published(NAME, geometry.words())?;
        let reserved = duplicate(&segment)?;
        // Random hash keys, so that no client can choose keys that collide.
        let hash_keys = (RandomState::new().hash_one(1), RandomState::new().hash_one(2));
        let reserve = Box::new(move |range| reserve(&reserved, &range).is_ok());
        let mut store = Store::create(memory, geometry, hash_keys, eviction, reserve).map_err(|_| {
            Refusal { code: "ERR_RCLUSTER_SHARED", message: "There is no memory for another store".into() }
        })?;
        // The longest request: the longest record, and the operation's own words.
        let longest = geometry.max_record() + 64;
        let clients = Vec::new();
        let (source, mut persist) = (options.source.clone(), None);
        if let Some(restored) = restored {
            let path = options.persist.clone().unwrap_or_default();
            restored.fill(&mut store)?;
            keep(name, restored.into_file(), &segment)?;
            persist = Some(path);
        }
        let remote = match &options.backend {
            None => None,
            Some(backend) => {
                // Clients see from the start that the store has a server.
                store.tell(&LinkStatus { url: backend.to_string(), ..LinkStatus::default() });
                Some(Remote::start(name, backend, &geometry, size, self.place.deliveries()?)?)
            }
        };
        let told = 0;
        let shared =
            Shared { store, remote, segment, size, eviction, source, persist, longest, told, clients };
        self.stores.insert(name.to_owned(), shared);
        Ok(())
    }

    fn remove(&mut self, token: u64) {
        self.locks.remove(&self.poller, token);
        self.tallies.remove(&self.poller, token);
        self.exchange.remove(&self.poller, token, &|name| self.locks.leader(name));
        for shared in self.stores.values_mut() {
            let Some(place) = shared.clients.iter().position(|client| client.token == token) else {
                continue;
            };
            // Requests that the process made before its end are still carried out.
            for _ in 0..LAST_TURNS {
                if !shared.serve(place, now(), &mut self.request).is_ok_and(|count| count > 0) {
                    break;
                }
            }
            if let Some(remote) = &mut shared.remote {
                remote.forget(token);
            }
            let client = shared.clients.remove(place);
            client.leave(&self.poller);
        }
    }
}

pub(super) fn too_many(who: &str, count: usize) -> Refusal {
    Refusal {
        code: "ERR_RCLUSTER_SHARED",
        message: format!("{who} has {count} stores open, and may have no more"),
    }
}

impl Shared {
    /// Checks that the options of a further opener agree with those of the store.
    fn compare(&mut self, name: &str, options: &StoreOptions) -> Result<(), Refusal> {
        let size = options.size.filter(|size| *size != self.size);
        let eviction = options.eviction.map(Eviction::from).filter(|it| *it != self.eviction);
        let source = match (&self.source, &options.source) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                Some(format!("source is {ours:?} and not {theirs:?}"))
            }
            _ => None,
        };
        let persist =
            options.persist.as_deref().filter(|it| *it != self.persist.as_deref().unwrap_or_default());
        let ours = self.remote.as_ref().map(|remote| &remote.backend);
        let backend = options.backend.as_deref().filter(|it| Some(*it) != ours);
        let file = |path: &str| if path.is_empty() { "false".into() } else { format!("{path:?}") };
        let differs = [
            size.map(|size| format!("size is {} and not {size}", self.size)),
            eviction.map(|it| format!("eviction is {:?} and not {it:?}", self.eviction).to_lowercase()),
            source,
            persist.map(|it| {
                let ours = self.persist.as_deref().unwrap_or_default();
                format!("persist is {} and not {}", file(ours), file(it))
            }),
            backend.map(|it| match &self.remote {
                None => format!("it has no backend, and not {it}"),
                Some(remote) if remote.backend.to_string() == it.to_string() => {
                    format!("the user, the certificates, the prefix or the wait of {it}")
                }
                Some(remote) => format!("backend is {} and not {it}", remote.backend),
            }),
        ];
        let differs: Vec<String> = differs.into_iter().flatten().collect();
        if differs.is_empty() {
            // The source may be given later: a process that only reads does not know it.
            if self.source.is_none() {
                self.source.clone_from(&options.source);
            }
            return Ok(());
        }
        let differs = differs.join(", ");
        let message = format!("The store {name:?} was opened before with other options: {differs}");
        Err(Refusal { code: "ERR_RCLUSTER_SHARED_OPTIONS", message })
    }

    /// Answers some requests of a process and returns their number. `Err` is the token of a process that has
    /// broken the rules.
    fn serve(&mut self, place: usize, now: u64, request: &mut Vec<u8>) -> Result<usize, u64> {
        let mut count = 0;
        while count < TURN && self.has_room_for(self.clients[place].token) {
            let client = &mut self.clients[place];
            if !client.next(request).map_err(|Broken| client.token)? {
                break;
            }
            count += 1;
            if let Some(remote) = &mut self.remote {
                remote.ask(client.token, request);
                continue;
            }
            let outcome = match decode(request) {
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

    /// Whether further requests of this process are taken now.
    fn has_room_for(&self, token: u64) -> bool {
        self.remote.as_ref().is_none_or(|remote| remote.has_room_for(token))
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

/// The clock by which keys expire, in ms. Never 0.
pub(super) fn now() -> u64 {
    milliseconds(since_boot()).max(1)
}

pub(super) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
