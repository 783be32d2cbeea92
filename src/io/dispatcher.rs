//! The dispatcher: the primary's thread that accepts connections and passes them to workers.
//!
//! It makes no decisions: events become inputs of [`Dispatch`], and the thread carries out the outputs. It
//! never waits for the primary's JavaScript.

mod acceptor;
mod arrivals;
mod channel;
mod connection;
mod failure;
mod hook_batch;
mod lingering_close;
mod listeners;
mod listening;
mod outcomes;
mod preread;
mod recognize;
mod sampler;
mod shell;
mod socket;
mod token;
mod tools;
mod watched;
mod workers;

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel as command_queue};

use serde::Serialize;

use crate::io::barrier::Barrier;
use crate::io::native_thread::{NativeThread, Stop};
use rcluster_core::dispatch::{ListenerStats, WorkerStats};
use rcluster_core::hook::{Answer, HookCounts};
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_core::schedule::{Plan, Policy};
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::SysError;
use rcluster_sys::listen::{Backlog, BoundPath};
use rcluster_sys::scoreboard::Scoreboard;

pub use hook_batch::{HookBatch, HookConnection, HookListener};
use shell::Shell;

/// A command of the control thread for the dispatcher.
#[derive(Debug)]
pub enum Command {
    /// A worker has been spawned.
    AddWorker {
        /// Its number.
        worker: WorkerId,
        /// Its slot.
        slot: Slot,
        /// Its process id.
        pid: i32,
        /// The primary's end of its connection channel.
        channel: OwnedFd,
        /// A duplicate of the worker's own end, from which connections that it has not received can be
        /// reclaimed.
        worker_end: OwnedFd,
        /// Its scoreboard.
        board: Arc<Scoreboard>,
    },
    /// The worker gets no more connections. Those that it has not received go to others.
    WorkerLeaving(WorkerId),
    /// The worker has died.
    WorkerExited(WorkerId),
    /// A listener has been opened.
    AddListener {
        /// Its number.
        listener: ListenerId,
        /// The file, which is removed when the listener closes. Before the socket here, because it must be dropped first.
        path: Option<BoundPath>,
        /// The socket; `None` if there is one for each slot, added with [`Command::AddSlot`].
        socket: Option<OwnedFd>,
        /// Its port or path, for the report.
        name: String,
        /// The distribution of its connections.
        plan: Box<Plan>,
    },
    /// The file of a listener's socket was removed, so no client can connect to it any more: adds another socket, with
    /// a file.
    AddSocket {
        /// The listener that it belongs to.
        listener: ListenerId,
        /// Its file, as in [`Command::AddListener`].
        path: Option<BoundPath>,
        /// The socket.
        socket: OwnedFd,
    },
    /// Adds a socket from which the workers of a slot accept once they have joined. While no such worker is a
    /// member, its connections are accepted here. Must be sent in the order in which the sockets began to
    /// listen. A second socket for a slot replaces the first, which a worker has shut down.
    AddSlot {
        /// The listener that it belongs to.
        listener: ListenerId,
        /// The slot whose workers accept from it.
        slot: Slot,
        /// A duplicate of the slot's socket.
        socket: OwnedFd,
    },
    /// The listener must be closed. The sender is dropped when it is, so that the receiver can wait for it.
    RemoveListener(ListenerId, Sender<Infallible>),
    /// All workers are about to leave: accept all waiting clients, pass them to workers, and close the
    /// sockets. The listeners stay until they are removed. The barrier runs when no connection waits in the
    /// dispatcher: all are on their way to workers.
    AcceptAllAndClose(Barrier),
    /// The worker takes connections of the listener.
    Join(WorkerId, ListenerId),
    /// The worker takes no more connections of the listener.
    Leave(WorkerId, ListenerId),
    /// The app's answers to [`DispatcherEvent::Hook`].
    Answer {
        /// The number of the batch.
        batch: u32,
        /// In the order of the connections in the batch.
        answers: Vec<Answer>,
    },
    /// Runs after all commands before it have been carried out.
    Barrier(Barrier),
    /// Requests the counts of connections so far.
    Report(Sender<Report>),
    /// Ends the thread.
    Stop,
}

/// The counts of connections so far.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// In the order in which they were opened, without those on which workers accept by themselves.
    pub listeners: Vec<ListenerReport>,
    /// In the order in which they were forked.
    pub workers: Vec<WorkerStats>,
    /// The counts of the hook.
    pub hook: HookReport,
}

/// The counts of the hook.
#[derive(Debug, Default, Serialize)]
pub struct HookReport {
    /// The totals.
    #[serde(flatten)]
    pub counts: HookCounts,
    /// The number of connections that wait for an answer.
    pub waiting: usize,
}

/// One listener in the report.
#[derive(Debug, Serialize)]
pub struct ListenerReport {
    /// Its port or path; empty for a descriptor of the app's.
    pub name: String,
    /// Its statistics.
    #[serde(flatten)]
    pub stats: ListenerStats,
    /// Its sockets. For the status document only.
    #[serde(skip)]
    pub sockets: SocketsReport,
}

/// The sockets of a listener.
#[derive(Debug, Default)]
pub struct SocketsReport {
    /// The address: `address:port`, or a path.
    pub address: Option<String>,
    /// The distribution of its connections.
    pub policy: Policy,
    /// The clients in the backlogs; `None` if the kernel does not report them.
    pub backlog: Option<Backlog>,
}

/// An event of the dispatcher.
#[derive(Debug)]
pub enum DispatcherEvent {
    /// The process or the system is out of descriptors or memory; clients wait in the backlog.
    Exhausted(SysError),
    /// The kernel does not spread connections over the sockets of a listener as configured. It uses its
    /// default; no connection is lost.
    Unsteered(SysError),
    /// A worker has shut down the socket from which it accepts. The primary accepts in its place from now on,
    /// unless there is an error.
    Shut {
        /// The listener's port.
        name: String,
        /// Why no replacement socket could be opened.
        error: Option<SysError>,
    },
    /// Connections cannot be passed, because this user has too many descriptors in flight between processes.
    /// They wait.
    Jammed,
    /// The app must choose workers for these connections and answer with [`Command::Answer`].
    Hook(HookBatch),
    /// A worker broke the rules of its channel and is cut off.
    Broken(WorkerId, String),
    /// The thread has failed. Connections are no longer accepted.
    Failed(String),
}

impl Stop for Command {
    const STOP: Self = Self::Stop;
}

/// The owner's side of the thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Dispatcher(NativeThread<Command>);

impl Dispatcher {
    /// Starts the thread. It calls `notify` for events.
    pub fn start(notify: impl Fn(DispatcherEvent) + Send + 'static) -> Result<Self, SysError> {
        let waker = Waker::new()?;
        let (commands, queue) = command_queue();
        let shell = Shell::new(waker.clone(), queue, Box::new(notify))?;
        NativeThread::start(shell, commands, waker).map(Self)
    }

    /// Queues a command. Commands run in order.
    pub fn tell(&self, command: Command) {
        self.0.tell(command);
    }
}
