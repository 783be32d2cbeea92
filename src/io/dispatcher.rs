//! The dispatcher: the primary's thread that accepts connections and passes them to workers.
//!
//! It decides nothing. Events become inputs of [`Dispatch`], whose outputs are carried out here.
//! Nothing that the primary's JavaScript does, or does not do, holds it up.

mod acceptor;
mod channel;
mod connection;
mod failure;
mod hook_batch;
mod lingering_close;
mod listening;
mod preread;
mod shell;
mod watched;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel as command_queue};

use serde::Serialize;

use crate::io::barrier::Barrier;
use crate::io::native_thread::{NativeThread, Stop};
use rcluster_core::dispatch::{ListenerStats, WorkerStats};
use rcluster_core::hook::{Answer, HookCounts};
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_core::schedule::Plan;
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::SysError;
use rcluster_sys::listen::BoundPath;
use rcluster_sys::scoreboard::Scoreboard;

pub use hook_batch::{HookBatch, HookConnection, HookListener};
use shell::Shell;

/// What the supervisor tells the dispatcher.
#[derive(Debug)]
pub enum Command {
    /// A worker has been spawned.
    AddWorker {
        /// Its number.
        worker: WorkerId,
        /// Its slot.
        slot: Slot,
        /// Its process.
        pid: i32,
        /// The primary's end of its connection channel.
        channel: OwnedFd,
        /// A duplicate of the worker's own end, through which what it has not received can be
        /// taken back.
        worker_end: OwnedFd,
        /// Its page.
        board: Arc<Scoreboard>,
    },
    /// The worker gets no more connections. What it has not received goes to others.
    WorkerLeaving(WorkerId),
    /// The worker is dead.
    WorkerExited(WorkerId),
    /// A socket listens.
    AddListener {
        /// Its number.
        listener: ListenerId,
        /// The socket; none if there is one for each slot, which follow.
        socket: Option<OwnedFd>,
        /// The name in the file system that goes when the listener closes.
        path: Option<BoundPath>,
        /// Its port or path, for the report.
        name: String,
        /// How its connections are distributed.
        plan: Box<Plan>,
    },
    /// A worker of this slot will accept from a socket of the slot's own, once it has joined. What comes there
    /// while no such worker is a member is accepted here. To be told in the order in which they began to listen. A second
    /// socket for a slot takes the place of the first, which a worker has shut down.
    AddSlot {
        /// Of which listener.
        listener: ListenerId,
        /// Whose.
        slot: Slot,
        /// A duplicate of the slot's socket.
        socket: OwnedFd,
    },
    /// The socket is to be closed.
    RemoveListener(ListenerId),
    /// All workers are about to leave: accept everybody who waits at a socket, have workers take them, and close the
    /// sockets. The listeners stay until they are removed.
    AcceptAllAndClose,
    /// The worker takes the listener's connections.
    Join(WorkerId, ListenerId),
    /// The worker no longer takes them.
    Leave(WorkerId, ListenerId),
    /// What the app says to [`DispatcherEvent::Hook`].
    Answer {
        /// Which batch.
        batch: u32,
        /// In the order of the questions.
        answers: Vec<Answer>,
    },
    /// Call this when all that was told before has been done.
    Barrier(Barrier),
    /// Tell what has been done with connections so far.
    Report(Sender<Report>),
    /// End the thread.
    Stop,
}

/// What has been done with connections so far.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// In the order in which they were opened. Without those on which workers accept by themselves.
    pub listeners: Vec<ListenerReport>,
    /// In the order in which they were forked.
    pub workers: Vec<WorkerStats>,
    /// What the app was asked.
    pub hook: HookReport,
}

/// What the app was asked, and how it went.
#[derive(Debug, Default, Serialize)]
pub struct HookReport {
    /// So far.
    #[serde(flatten)]
    pub counts: HookCounts,
    /// How many connections wait for an answer.
    pub waiting: usize,
}

/// One listener in the report.
#[derive(Debug, Serialize)]
pub struct ListenerReport {
    /// Its port or path; empty for a descriptor of the app's.
    pub name: String,
    /// The rest.
    #[serde(flatten)]
    pub stats: ListenerStats,
}

/// What the dispatcher has to tell.
#[derive(Debug)]
pub enum DispatcherEvent {
    /// The process or the system is out of descriptors or memory; clients wait in the backlog.
    Exhausted(SysError),
    /// The kernel does not spread connections as it should over the sockets of a listener. It does so in its own
    /// way; nobody is lost.
    Unsteered(SysError),
    /// A worker has shut down the socket from which it accepts. The primary accepts for it from now on, or the error says
    /// why it cannot.
    Shut {
        /// The listener's port.
        name: String,
        /// Why no other socket could be opened, if so.
        error: Option<SysError>,
    },
    /// Connections cannot be passed on, because this user has too many descriptors on their way between processes; they
    /// wait.
    Jammed,
    /// Where connections go is for the app to say, by [`Command::Answer`].
    Hook(HookBatch),
    /// A worker broke the rules of its channel and gets nothing more.
    Broken(WorkerId, String),
    /// The thread has ended by a failure. Nothing is accepted any more.
    Failed(String),
}

impl Stop for Command {
    const STOP: Self = Self::Stop;
}

/// The dispatcher's thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Dispatcher(NativeThread<Command>);

impl Dispatcher {
    /// Starts the thread. `notify` is called on it.
    pub fn start(notify: impl Fn(DispatcherEvent) + Send + 'static) -> Result<Self, SysError> {
        let waker = Waker::new()?;
        let (commands, queue) = command_queue();
        let shell = Shell::new(waker.clone(), queue, Box::new(notify))?;
        NativeThread::start(shell, commands, waker).map(Self)
    }

    /// Queues a command. Commands are carried out in order.
    pub fn tell(&self, command: Command) {
        self.0.tell(command);
    }
}
