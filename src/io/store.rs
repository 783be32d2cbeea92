//! Stores that all processes of a cluster share: the thread that owns them, and the clients that use them.
//!
//! # Design
//! All stores have one writer, which runs on a thread of its own in the primary. The thread starts when the
//! first store is opened. A process that opens none has neither the thread nor its memory; a store works
//! without workers; and a flood of writes and the control thread do not delay each other.
//!
//! A process that wants to use a store creates a socket pair and sends one end to the thread: the primary by
//! a function call, a worker by a message on its control socket. The thread answers on that socket with the
//! read-only memory of the store, a page for requests, and an eventfd that wakes the thread. Afterwards it
//! wakes the process with messages of one byte. Of descriptors that a worker also holds, it reads only the
//! sockets of tallies, and with `MSG_DONTWAIT`, so a worker cannot block it by making one blocking.

mod client;
mod deadlines;
mod leases;
mod line;
mod lock_client;
mod locks;
pub(super) mod peer;
pub mod persist;
mod refusal;
mod remote;
mod served;
mod settings;
mod shared;
mod shell;
mod status;
mod stores;
mod tallies;
mod tally_client;

use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::io::redis::{LeaseServer, MachineLink, MachineStart};
use rcluster_core::control::operator::StoreStatus;
use rcluster_core::exchange::roster::Roster;
use rcluster_core::frames::StoreOptions;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::machines::MachineId;
use rcluster_core::store::remote::backend::Backend;
use rcluster_sys::closer::{Closer, Descriptor};
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::{Doing, SysError};

pub use client::{Client, Reader, Woken};
pub use line::{ConnectError, Line};
pub use lock_client::{Incoming, LockClient};
use persist::Restored;
use shell::Shell;
pub use tally_client::TallyClient;

/// The name of the stores' memory in system tools.
const NAME: &CStr = c"rcluster-store";

/// What a process opens.
#[derive(Debug)]
pub enum Resource {
    /// A store.
    Store {
        /// Its name in the cluster.
        name: String,
        /// How to create it if no store has this name.
        options: StoreOptions,
    },
    /// A store that is kept in a file.
    Kept {
        /// Its name in the cluster.
        name: String,
        /// How to create it.
        options: StoreOptions,
        /// Its file, and the content of the file.
        restored: Box<Restored>,
    },
    /// The locks of the cluster.
    Locks,
    /// Messages from and to other processes.
    Exchange,
}

/// A request to open a store, the locks, or the exchange.
#[derive(Debug)]
pub struct Open {
    /// What to open.
    pub resource: Resource,
    /// Receives the answer. Wherever the request is dropped, a worker's socket is closed by the worker's closer.
    socket: Descriptor,
    /// The worker that sent the socket, with the closer for its descriptors; `None` for this process.
    pub worker: Option<(WorkerId, Closer)>,
}

impl Open {
    /// A request of a worker, or of this process.
    #[must_use]
    pub fn new(resource: Resource, socket: OwnedFd, worker: Option<(WorkerId, Closer)>) -> Self {
        let socket = match &worker {
            Some((_, closer)) => Descriptor::foreign(socket, closer),
            None => Descriptor::own(socket),
        };
        Self { resource, socket, worker }
    }
}

/// A command for the thread.
#[derive(Debug)]
enum Command {
    Open(Open),
    /// The other thread has refused to open a store with this name, and has none.
    Refused(String),
    /// A worker has started; `None` for a standby, which has no slot.
    Started(WorkerId, Option<Slot>),
    /// A worker has been given a slot, or has lost it.
    HasSlot(WorkerId, Option<Slot>),
    /// A worker is dead.
    Exited(WorkerId),
    /// Report the status of all stores.
    Report(Answer),
    /// The server that grants leases to this machine and connects it with others.
    Backend(LeaseServer, MachineLink),
    /// Outputs about messages and requests between machines.
    RemoteOutputs(Vec<rcluster_core::machines::Output>),
    /// Outputs about leases.
    LeaseOutputs(Vec<rcluster_core::leases::Output>),
}

/// Called with the answer, on the thread of the stores.
struct Answer(Box<dyn FnOnce(Vec<StoreStatus>) + Send>);

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

/// A handle to the thread.
#[derive(Clone, Debug)]
struct Hub {
    commands: Sender<Command>,
    waker: Waker,
}

impl Hub {
    fn tell(&self, command: Command) {
        // A thread that has failed drops the request, which closes its socket: the requester sees a hang-up.
        let _failed = self.commands.send(command);
        self.waker.wake();
    }
}

/// Called when a store cannot use its server, with the name of the store, the server, and why.
type OnOutage = Arc<dyn Fn(&str, &str, &str) + Send + Sync>;

/// The handle of the thread if it is running, and the state that it needs at start.
struct Place {
    hub: Option<Hub>,
    roster: Roster,
    has_backend: bool,
    on_outage: Option<OnOutage>,
}

/// One per process.
static PLACE: Mutex<Place> =
    Mutex::new(Place { hub: None, roster: Roster::new(), has_backend: false, on_outage: None });

fn place() -> MutexGuard<'static, Place> {
    PLACE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    /// Starts the thread on first use.
    fn hub(&mut self) -> Result<Hub, SysError> {
        if let Some(hub) = &self.hub {
            return Ok(hub.clone());
        }
        let hub = start(self.roster.clone())?;
        self.hub = Some(hub.clone());
        Ok(hub)
    }

    fn tell(&self, command: Command) {
        if let Some(hub) = &self.hub {
            hub.tell(command);
        }
    }
}

/// A unique, unguessable id of this machine for servers, and a seed for random choices.
fn identity() -> (String, u64) {
    let [one, other] = unguessable();
    let [seed, _] = unguessable();
    (format!("{one:016x}{other:016x}"), seed)
}

fn unguessable() -> [u64; 2] {
    [1, 2].map(|number| RandomState::new().hash_one(number))
}

/// Opens a store. The first call starts the thread that owns all stores. The answer arrives on the socket.
pub fn open(request: Open) -> Result<(), SysError> {
    let mut place = place();
    place.hub()?.tell(Command::Open(request));
    Ok(())
}

/// Reports the status of all stores to `then`: at once if there are none, otherwise on their thread. A thread
/// that has failed drops `then` uncalled.
pub fn report(then: impl FnOnce(Vec<StoreStatus>) + Send + 'static) {
    let place = place();
    if place.hub.is_none() {
        return then(Vec::new());
    }
    place.tell(Command::Report(Answer(Box::new(then))));
}

/// Sets the server that grants leases and connects this machine with others.
pub fn set_backend(backend: Backend) -> Result<(), SysError> {
    let mut place = place();
    let hub = place.hub()?;
    let leases = leases::start_server(backend.clone(), hub.clone())?;
    let machine = MachineId::new(unguessable());
    let [seed, _] = unguessable();
    let teller = hub.clone();
    let start = MachineStart { backend, machine, seed };
    let link = MachineLink::start(start, move |outputs| teller.tell(Command::RemoteOutputs(outputs)))?;
    hub.tell(Command::Backend(leases, link));
    place.has_backend = true;
    Ok(())
}

/// Calls `tell` when a store cannot use its server: with the name of the store, the server, and why.
pub fn tell_outages_to(tell: impl Fn(&str, &str, &str) + Send + Sync + 'static) {
    place().on_outage = Some(Arc::new(tell));
}

fn tell_outage(store: &str, server: &str, why: &str) {
    let tell = place().on_outage.clone();
    if let Some(tell) = tell {
        tell(store, server, why);
    }
}

/// Whether [`set_backend`] was called.
#[must_use]
pub fn has_backend() -> bool {
    place().has_backend
}

/// Whether the thread has been started. The first use of shared state starts it.
#[must_use]
pub fn is_running() -> bool {
    place().hub.is_some()
}

/// A worker has started; the slot is `None` for a standby.
pub fn on_started(worker: WorkerId, slot: Option<Slot>) {
    let mut place = place();
    place.roster.on_started(worker, slot);
    place.tell(Command::Started(worker, slot));
}

/// A worker has been given a slot, or has lost it because it is leaving.
pub fn on_slot(worker: WorkerId, slot: Option<Slot>) {
    let mut place = place();
    place.roster.on_slot(worker, slot);
    place.tell(Command::HasSlot(worker, slot));
}

/// A worker has died: releases its locks and fails the calls that wait for its answers.
pub fn on_exit(worker: WorkerId) {
    let mut place = place();
    place.roster.on_exit(worker);
    place.tell(Command::Exited(worker));
}

fn start(roster: Roster) -> Result<Hub, SysError> {
    let waker = Waker::new()?;
    let (commands, queue) = channel();
    let hub = Hub { commands, waker };
    let mut shell = Shell::new(hub.clone(), queue, roster, served::Place::default())?;
    std::thread::Builder::new()
        .name("rcluster-store".into())
        .spawn(move || {
            // The thread's root. When it ends, its sockets close, so every process that uses a store notices.
            // In the primary, JavaScript then raises an uncaught exception.
            let run = std::panic::AssertUnwindSafe(|| shell.run());
            let _told_by_the_sockets = std::panic::catch_unwind(run);
        })
        .doing("starting the thread of shared stores")?;
    Ok(hub)
}
