//! The thread that owns all stores.

use std::collections::HashMap;
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::json;

use super::locks::LockRoom;
use super::{Command, Open, What};
use rcluster_core::ids::WorkerId;
use rcluster_core::store::geometry::{Geometry, MAX_SIZE, MIN_SIZE};
use rcluster_core::store::linger::Linger;
use rcluster_core::store::ops::{Eviction, Outcome, Status};
use rcluster_core::store::request::decode;
use rcluster_core::store::ring::{Inbox, Wanted, page_words};
use rcluster_core::store::writer::Store;
use rcluster_core::wire::{StoreOptions, milliseconds};
use rcluster_sys::clock::since_boot;
use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::{Interest, Poller, Waker};
use rcluster_sys::error::SysError;
use rcluster_sys::passing::{duplicate, send};
use rcluster_sys::segment::{Segment, reserve};

/// What the memory of stores is called where the system lists it.
pub(super) const NAME: &CStr = c"rcluster-store";

/// The size of a store, if nobody has said it.
const DEFAULT_SIZE: u64 = 64 << 20;

/// How many requests of one process are answered before it is the turn of the next one.
const TURN: usize = 128;

/// How many stores there may be.
const MAX_STORES: usize = 256;

/// How many stores one worker may have open.
const MAX_OPEN: usize = 64;

/// The longest name of a store, in bytes.
const MAX_NAME: usize = 256;

/// How much longer than its time an expired key may wait for others that expire at about the same time.
const EXPIRY_STEP: u64 = 20;

/// How long it answers requests before it looks for other news.
const SPELL: Duration = Duration::from_millis(1);

/// How long it waits between two looks for requests, in turns of a loop: about a µs.
const LOOKS_APART: u32 = 32;

const WAKER: u64 = 0;

/// A process that uses a store.
struct Client {
    token: u64,
    inbox: Inbox<Segment>,
    /// Never read, because the process has it as well: each time that it is written to is told once.
    bell: Waker,
    socket: Descriptor,
    worker: Option<WorkerId>,
}

struct Shared {
    store: Store<Segment>,
    segment: OwnedFd,
    size: u64,
    eviction: Eviction,
    longest: usize,
    /// Up to this one those who watch have been woken.
    told: u64,
    clients: Vec<Client>,
}

/// Why a store cannot be opened.
struct Refusal {
    code: &'static str,
    message: String,
}

impl From<SysError> for Refusal {
    fn from(error: SysError) -> Self {
        Self { code: "ERR_RCLUSTER_SHARED", message: error.to_string() }
    }
}

/// See the module.
pub(super) struct Shell {
    poller: Poller,
    waker: Waker,
    commands: Receiver<Command>,
    stores: HashMap<String, Shared>,
    locks: LockRoom,
    /// Even, and never used twice. The odd ones are those of the sockets.
    next_token: u64,
    request: Vec<u8>,
    linger: Linger,
}

impl Shell {
    pub(super) fn new(waker: Waker, commands: Receiver<Command>) -> Result<Self, SysError> {
        let poller = Poller::new()?;
        poller.add(&waker, WAKER)?;
        let (stores, request) = (HashMap::new(), Vec::new());
        let (locks, linger) = (LockRoom::default(), Linger::default());
        Ok(Self { poller, waker, commands, stores, locks, next_token: 2, request, linger })
    }

    /// Returns when nobody can open a store any more, or when the system fails.
    pub(super) fn run(&mut self) -> Result<(), SysError> {
        loop {
            let sleeps = self.work();
            let timeout = if sleeps { self.next_deadline() } else { Some(Duration::ZERO) };
            let events = self.poller.wait(timeout)?;
            for client in self.stores.values().flat_map(|shared| &shared.clients) {
                client.inbox.wake();
            }
            self.locks.wake();
            for index in 0..events {
                let event = self.poller.event(index);
                if event.token == WAKER {
                    self.waker.clear();
                    while let Ok(command) = self.commands.try_recv() {
                        match command {
                            Command::Open(open) => self.open(open),
                            Command::Exited(worker) => self.locks.on_exit(&self.poller, worker),
                        }
                    }
                } else if event.token % 2 == 1 {
                    if event.end {
                        self.remove(event.token - 1);
                    } else if event.writable {
                        self.locks.on_room(&self.poller, event.token - 1);
                    }
                }
            }
        }
    }

    /// Answers requests, until there are none and everybody knows that this thread sleeps: then true. False when it has
    /// taken so long that it is time to look for other news.
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
                // Where all cores are busy a thread that yields waits for its turn again, however soon it is asked, and one
                // that sleeps does not. So it keeps the core for the moment. Where that is the only one, nobody can ask
                // meanwhile, and it lingers seldom.
                (0..LOOKS_APART).for_each(|_| std::hint::spin_loop());
            } else if self.sleep() {
                self.linger.on_sleep();
                return true;
            }
        }
    }

    /// Answers requests of everybody. False if there were none.
    fn serve(&mut self) -> bool {
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
            if shared.store.next_expiry().is_some_and(|at| at <= now) {
                shared.store.expire(now);
            }
            shared.tell_watchers();
        }
        for token in broken {
            self.remove(token);
        }
        served |= self.locks.work(&self.poller);
        served
    }

    /// Tells everybody that this thread sleeps. False if there is a request.
    fn sleep(&mut self) -> bool {
        // All have to be told, so that none is left out.
        let mut asleep = self.locks.sleep();
        for client in self.stores.values().flat_map(|shared| &shared.clients) {
            asleep &= client.inbox.sleep();
        }
        asleep
    }

    fn next_deadline(&self) -> Option<Duration> {
        let next = self.stores.values().filter_map(|shared| shared.store.next_expiry()).min()?;
        Some(Duration::from_millis((next + EXPIRY_STEP).saturating_sub(now())))
    }

    fn open(&mut self, open: Open) {
        let Open { what, socket, worker } = open;
        let socket = match &worker {
            Some((_, closer)) => Descriptor::foreign(socket, closer),
            None => Descriptor::own(socket),
        };
        let worker = worker.map(|(worker, _)| worker);
        let answer = match what {
            What::Store { name, options } => self.try_open(&name, &options, socket, worker),
            What::Locks => self.open_locks(socket, worker),
        };
        if let Err((socket, Refusal { code, message })) = answer {
            let text = json!({ "code": code, "message": message }).to_string();
            // Who has hung up meanwhile, or reads nothing, does not want to know.
            let _not_heard = send(socket.as_fd(), text.as_bytes(), &[]);
        }
    }

    fn try_open(
        &mut self,
        name: &str,
        options: &StoreOptions,
        socket: Descriptor,
        worker: Option<WorkerId>,
    ) -> Result<(), (Descriptor, Refusal)> {
        if let Err(refusal) = self.make(name, options, worker) {
            return Err((socket, refusal));
        }
        let token = self.next_token;
        self.next_token += 2;
        let Some(shared) = self.stores.get_mut(name) else { return Ok(()) };
        match admit(&self.poller, shared, token, &socket) {
            Ok((inbox, bell)) => shared.clients.push(Client { token, inbox, bell, socket, worker }),
            Err(error) => return Err((socket, error.into())),
        }
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

    /// Sees to it that there is such a store.
    fn make(&mut self, name: &str, options: &StoreOptions, worker: Option<WorkerId>) -> Result<(), Refusal> {
        if let Some(shared) = self.stores.get(name) {
            let size = options.size.filter(|size| *size != shared.size);
            let eviction = options.eviction.map(Eviction::from).filter(|it| *it != shared.eviction);
            let differs = [
                size.map(|size| format!("size is {} and not {size}", shared.size)),
                eviction.map(|it| format!("eviction is {:?} and not {it:?}", shared.eviction).to_lowercase()),
            ];
            let differs: Vec<String> = differs.into_iter().flatten().collect();
            if !differs.is_empty() {
                let differs = differs.join(", ");
                let message = format!("The store {name:?} was opened before with other options: {differs}");
                return Err(Refusal { code: "ERR_RCLUSTER_SHARED_OPTIONS", message });
            }
            let open = self.stores.values().flat_map(|shared| &shared.clients);
            let open = open.filter(|client| worker.is_some() && client.worker == worker).count();
            return if open < MAX_OPEN { Ok(()) } else { Err(too_many("This worker", open)) };
        }
        if self.stores.len() >= MAX_STORES {
            return Err(too_many("The cluster", MAX_STORES));
        }
        if name.len() > MAX_NAME {
            let message =
                format!("The name of a store has {MAX_NAME} bytes at the most, and this {}", name.len());
            return Err(Refusal { code: "ERR_INVALID_ARG_VALUE", message });
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
        // Nobody who does not know them can choose keys that are all in the same place.
        let hash_keys = (RandomState::new().hash_one(1), RandomState::new().hash_one(2));
        let reserve = Box::new(move |range| reserve(&reserved, &range).is_ok());
        let store = Store::create(memory, geometry, hash_keys, eviction, reserve).map_err(|_| Refusal {
            code: "ERR_RCLUSTER_SHARED",
            message: "There is no memory for another store".into(),
        })?;
        // What is around the longest record on its way: the operation's own words.
        let longest = geometry.max_record() + 64;
        let clients = Vec::new();
        let shared = Shared { store, segment, size, eviction, longest, told: 0, clients };
        self.stores.insert(name.to_owned(), shared);
        Ok(())
    }

    fn remove(&mut self, token: u64) {
        self.locks.remove(&self.poller, token);
        for shared in self.stores.values_mut() {
            let Some(place) = shared.clients.iter().position(|client| client.token == token) else {
                continue;
            };
            // What a process has asked for before its end is done.
            while shared.serve(place, now(), &mut self.request).is_ok_and(|count| count > 0) {}
            let client = shared.clients.remove(place);
            // Both are registered; what the system says about their end is of no use.
            let _ = self.poller.remove(&client.bell);
            let _ = self.poller.remove(&client.socket);
        }
    }
}

fn too_many(who: &str, count: usize) -> Refusal {
    Refusal {
        code: "ERR_RCLUSTER_SHARED",
        message: format!("{who} has {count} stores open, and may have no more"),
    }
}

/// Makes what a process needs to use the store, and sends it.
fn admit(
    poller: &Poller,
    shared: &Shared,
    token: u64,
    socket: &Descriptor,
) -> Result<(Inbox<Segment>, Waker), SysError> {
    let (page, page_fd) = Segment::create_shared(NAME, page_words(shared.longest))?;
    let inbox = Inbox::new(page).ok_or(SysError::invalid("making a page for requests"))?;
    let bell = Waker::new()?;
    let fds = [duplicate(&shared.segment)?, page_fd, duplicate(&bell)?];
    poller.watch(&bell, token, Interest::News)?;
    if let Err(error) = poller.watch(socket, token + 1, Interest::News) {
        let _ = poller.remove(&bell);
        return Err(error);
    }
    // It is told that this thread sleeps before it can ask for anything.
    let _nothing_there = inbox.sleep();
    let sent = send(socket.as_fd(), b"{}", &fds);
    if let Err(error) = sent {
        let _ = poller.remove(&bell);
        let _ = poller.remove(socket);
        return Err(error);
    }
    Ok((inbox, bell))
}

impl Shared {
    /// Answers some requests of a process, and returns how many; an error names one that has broken the rules.
    fn serve(&mut self, place: usize, now: u64, request: &mut Vec<u8>) -> Result<usize, u64> {
        let mut count = 0;
        while count < TURN {
            let client = &mut self.clients[place];
            if !client.inbox.next(request).map_err(|_| client.token)? {
                break;
            }
            count += 1;
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
        if count > 0 && client.inbox.take_wanted(Wanted::Answers) {
            client.wake();
        }
        Ok(count)
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

impl Client {
    fn wake(&self) {
        // Full: it has been woken often enough. Gone: its end is told by its socket.
        let _full_or_gone = send(self.socket.as_fd(), &[1], &[]);
    }
}

/// The clock by which keys expire, in ms. It never says 0.
pub(super) fn now() -> u64 {
    milliseconds(since_boot()).max(1)
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
