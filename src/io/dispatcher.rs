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

use rcluster_core::dispatch::{ListenerStats, WorkerStats};
use rcluster_core::hook::{Answer, HookCounts};
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_core::schedule::Plan;
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::listen::BoundPath;
use rcluster_sys::scoreboard::Scoreboard;

use failure::Fatal;
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
    WorkerGone(WorkerId),
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
    LastCall,
    /// The worker takes the listener's connections.
    Join(WorkerId, ListenerId),
    /// The worker no longer takes them.
    Leave(WorkerId, ListenerId),
    /// What the app says to [`Notice::Hook`].
    Answer {
        /// Which batch.
        batch: u32,
        /// In the order of the questions.
        answers: Vec<Answer>,
    },
    /// Call this when all that was told before has been done.
    Then(Afterwards),
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

/// Something to be done on the dispatcher's thread, at its place among the commands.
pub struct Afterwards(Box<dyn FnOnce() + Send>);

impl Afterwards {
    /// It should be short: connections wait meanwhile.
    pub fn new(act: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(act))
    }

    /// Does it.
    pub(in crate::io) fn call(self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Afterwards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Afterwards")
    }
}

/// What the dispatcher has to tell.
#[derive(Debug)]
pub enum Notice {
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

/// The supervisor's hold on the dispatcher.
#[derive(Debug)]
pub struct Dispatcher {
    commands: Sender<Command>,
    waker: Waker,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Dispatcher {
    /// Starts the thread. `notify` is called on it.
    pub fn start(notify: impl Fn(Notice) + Send + 'static) -> Result<Self, SysError> {
        let waker = Waker::new()?;
        let (commands, queue) = command_queue();
        let mut shell = Shell::new(waker.clone(), queue, Box::new(notify))?;
        let thread = std::thread::Builder::new()
            .name("rcluster-accept".into())
            .spawn(move || {
                // The thread's root: a panic must be told, it would be silence otherwise.
                let run = std::panic::AssertUnwindSafe(|| shell.run());
                match std::panic::catch_unwind(run) {
                    Ok(Ok(())) => {}
                    Ok(Err(Fatal(error))) => (shell.notify)(Notice::Failed(error.to_string())),
                    Err(_) => (shell.notify)(Notice::Failed("the dispatcher panicked".into())),
                }
            })
            .doing("starting the dispatcher's thread")?;
        Ok(Self { commands, waker, thread: Some(thread) })
    }

    /// Tells the dispatcher something. Commands are carried out in order.
    pub fn tell(&self, command: Command) {
        // A dispatcher that has failed has said so; there is nothing to add.
        let _failed = self.commands.send(command);
        self.waker.wake();
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // It has caught its own panics.
            let _ = thread.join();
        }
    }
}
