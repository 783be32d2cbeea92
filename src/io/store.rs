//! Stores that all processes of a cluster share: the thread that owns them, and a process' hold on one.
//!
//! # Design
//! The one writer of all stores has a thread of its own in the primary, which is started when the first store is opened.
//! So a process that opens none has neither the thread nor any memory; a store works without any worker; and neither a
//! flood of writes nor the control thread holds the other up.
//!
//! Whoever wants to use a store makes a pair of sockets and has the thread given one end of it: the primary by a call,
//! a worker by a message on its control socket. The thread answers there with the memory of the store, which can only be
//! read, a page for requests, and an eventfd by which it is woken. From then on it wakes the process by a message of one
//! byte. It never reads from a descriptor that a worker has: nothing that a worker does to one can block it.

mod client;
mod lock_client;
mod locks;
mod shell;

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use rcluster_core::ids::WorkerId;
use rcluster_core::wire::StoreOptions;
use rcluster_sys::closer::Closer;
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::{Doing, SysError};

pub use client::{Client, ConnectError, Reader, Woken};
pub use lock_client::{Incoming, LockClient};
use shell::Shell;

/// What somebody wants to use.
#[derive(Debug)]
pub enum What {
    /// A store.
    Store {
        /// Which.
        name: String,
        /// How it is made, if there is none of the name.
        options: StoreOptions,
    },
    /// Locks.
    Locks,
}

/// Somebody wants to use a store, or locks.
#[derive(Debug)]
pub struct Open {
    /// Which of them.
    pub what: What,
    /// Where the answer goes.
    pub socket: OwnedFd,
    /// The worker whose socket that is, and by whom it is closed; none for this process.
    pub worker: Option<(WorkerId, Closer)>,
}

/// What the thread is told.
#[derive(Debug)]
enum Command {
    Open(Open),
    /// A worker is dead.
    Exited(WorkerId),
}

/// The thread, from outside.
#[derive(Debug)]
struct Hub {
    commands: Sender<Command>,
    waker: Waker,
}

/// One for the process: what workers open is what their primary opens.
static HUB: Mutex<Option<Hub>> = Mutex::new(None);

/// Opens a store, and starts the thread that owns all of them if this is the first. The answer comes on the socket.
pub fn open(request: Open) -> Result<(), SysError> {
    let mut hub = HUB.lock().unwrap_or_else(PoisonError::into_inner);
    if hub.is_none() {
        *hub = Some(start()?);
    }
    if let Some(hub) = hub.as_ref() {
        // A thread that has failed hangs up on whoever asks: dropping the request closes the socket.
        let _failed = hub.commands.send(Command::Open(request));
        hub.waker.wake();
    }
    Ok(())
}

/// A worker is dead: its locks go to others.
pub fn on_exit(worker: WorkerId) {
    let hub = HUB.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(hub) = hub.as_ref() {
        // A thread that has failed holds nothing any more.
        let _failed = hub.commands.send(Command::Exited(worker));
        hub.waker.wake();
    }
}

fn start() -> Result<Hub, SysError> {
    let waker = Waker::new()?;
    let (commands, queue) = channel();
    let mut shell = Shell::new(waker.clone(), queue)?;
    std::thread::Builder::new()
        .name("rcluster-store".into())
        .spawn(move || {
            // The thread's root. When it ends, every process that uses a store notices by its socket, the primary's
            // JavaScript, too, which makes it an uncaught exception.
            let run = std::panic::AssertUnwindSafe(|| shell.run());
            let _told_by_the_sockets = std::panic::catch_unwind(run);
        })
        .doing("starting the thread of shared stores")?;
    Ok(Hub { commands, waker })
}
