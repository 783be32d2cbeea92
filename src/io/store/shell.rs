//! The thread that owns all stores: its loop, and its commands.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::locks::LockRoom;
use super::refusal::Refusal;
use super::served::{Place, Served};
use super::stores::{OpenStore, StoreRoom};
use super::tallies::TallyRoom;
use super::{Command, Hub, Open, Resource};
use crate::io::clock::{microseconds, until};
use crate::io::exchange::ExchangeRoom;
use rcluster_core::exchange::roster::Roster;
use rcluster_core::frames::StoreOptions;
use rcluster_core::ids::WorkerId;
use rcluster_core::store::linger::Linger;
use rcluster_sys::clock::since_boot;
use rcluster_sys::closer::{Closer, Descriptor};
use rcluster_sys::epoll::Poller;
use rcluster_sys::error::SysError;

/// How long requests are answered before other events are polled.
const SPELL: Duration = Duration::from_millis(1);

/// The pause between two polls for requests, in iterations of a spin loop: about 1 µs.
const LOOKS_APART: u32 = 32;

const WAKER: u64 = 0;

/// See the module documentation.
pub(super) struct Shell {
    pub(super) poller: Poller,
    /// Which stores are on this thread.
    place: Place,
    /// A handle to this thread, given to threads that send it commands.
    hub: Hub,
    commands: Receiver<Command>,
    stores: StoreRoom,
    locks: LockRoom,
    tallies: TallyRoom,
    exchange: ExchangeRoom,
    /// Even and unique. The odd tokens are those of the sockets.
    next_token: u64,
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
        let (stores, exchange) = (StoreRoom::default(), ExchangeRoom::new(roster));
        let (locks, tallies) = (LockRoom::default(), TallyRoom::default());
        let (next_token, linger) = (2, Linger::default());
        Ok(Self { poller, place, hub, commands, stores, locks, tallies, exchange, next_token, linger })
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

    /// The thread has woken up, with this many events.
    pub(super) fn on_awake(&mut self, events: usize) {
        self.stores.wake();
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

    /// The control thread's commands are handled before requests that were made after them. So a process that knows of a
    /// worker's end finds the worker's locks released here.
    fn take_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.on_command(command);
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Open(open) => self.open(open),
            Command::Refused(name) => self.place.on_refused_elsewhere(&name),
            Command::Started(worker, slot) => self.exchange.on_started(worker, slot),
            Command::HasSlot(worker, slot) => self.exchange.on_slot(worker, slot),
            Command::Exited(worker) => {
                self.locks.on_exit(&self.poller, worker);
                self.tallies.on_exit(&self.poller, worker);
                self.exchange.on_exit(&self.poller, worker, &|scope, name| self.locks.leader(scope, name));
            }
            Command::Report(then) => self.place.report(self.stores.status(), then),
            Command::Backend(server, link) => {
                self.locks.set_server(server);
                self.exchange.set_link(&self.poller, link);
            }
            Command::RemoteOutputs(outputs) => {
                let leaders = |scope, name: &[u8]| self.locks.leader(scope, name);
                self.exchange.on_remote_outputs(&self.poller, &outputs, &leaders);
            }
            Command::LeaseOutputs(outputs) => self.locks.on_leased(&self.poller, outputs),
        }
    }

    /// The server of a store has answered, or has sent an event.
    pub(super) fn on_served(&mut self, served: Served) {
        self.stores.on_served(served);
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
        // In this order: a process may make a request because of what a command was about.
        self.locks.admit_requests();
        self.exchange.admit_requests();
        self.take_commands();
        let mut served = self.stores.work(&self.poller);
        served |= self.locks.work(&self.poller);
        served |= self.exchange.work(&self.poller, &|scope, name| self.locks.leader(scope, name));
        served
    }

    /// Announces to all clients that this thread sleeps. Returns false if there is a request.
    pub(super) fn sleep(&mut self) -> bool {
        // No short circuit: every client must see the flag.
        self.locks.sleep() & self.exchange.sleep() & self.stores.sleep()
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let next = self.stores.next_deadline()?;
        Some(until(next))
    }

    fn open(&mut self, open: Open) {
        let has_here = |name: &str| self.stores.has(name);
        let open = match self.place.forward(open, &self.hub, has_here) {
            Ok(None) => return,
            Ok(Some(open)) => open,
            Err((socket, refusal)) => return refusal.tell(&socket),
        };
        let Open { resource, socket, worker } = open;
        if let Resource::Store { name, options: StoreOptions { tallies: true, .. } } = resource {
            return self.open_tallies(name, socket, worker);
        }
        let worker = worker.map(|(worker, _)| worker);
        let answer = match resource {
            Resource::Store { name, options } => {
                self.open_store(OpenStore { name, options, restored: None }, socket, worker)
            }
            Resource::Kept { name, options, restored } => {
                let restored = Some(*restored);
                self.open_store(OpenStore { name, options, restored }, socket, worker)
            }
            Resource::Locks => self.open_locks(socket, worker),
            Resource::Exchange => self.open_exchange(socket, worker),
        };
        if let Err((socket, refusal)) = answer {
            refusal.tell(&socket);
        }
    }

    fn open_tallies(&mut self, name: String, socket: Descriptor, worker: Option<(WorkerId, Closer)>) {
        let id = worker.as_ref().map(|(worker, _)| *worker);
        if !(self.stores.has(&name) || self.place.has(&name)) || !self.tallies.has_room_for(id) {
            let message = format!("The tallies of the store {name:?} cannot be used by this process");
            return Refusal { code: "ERR_RCLUSTER_SHARED", message }.tell(&socket);
        }
        let token = self.token();
        if let Err((socket, error)) = self.tallies.admit(&self.poller, token, name, socket, worker) {
            Refusal::from(error).tell(&socket);
        }
    }

    fn open_store(
        &mut self,
        open: OpenStore,
        socket: Descriptor,
        worker: Option<WorkerId>,
    ) -> Result<(), (Descriptor, Refusal)> {
        let (token, name) = (self.token(), open.name.clone());
        let admitted = self.stores.admit(&self.poller, &self.place, token, open, (socket, worker));
        if admitted.is_err() && !self.stores.has(&name) {
            self.place.on_refused(name);
        }
        admitted
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
        let token = self.token();
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
        let token = self.token();
        let admitted = self.exchange.admit(&self.poller, token, socket, worker);
        admitted.map_err(|(socket, error)| (socket, error.into()))
    }

    /// The token of the next process.
    fn token(&mut self) -> u64 {
        let token = self.next_token;
        self.next_token += 2;
        token
    }

    fn remove(&mut self, token: u64) {
        self.locks.remove(&self.poller, token);
        self.tallies.remove(&self.poller, token);
        self.exchange.remove(&self.poller, token, &|scope, name| self.locks.leader(scope, name));
        self.stores.remove(&self.poller, token);
    }
}
