//! The forwarder: the primary's thread that moves bytes between clients and workers that listen by
//! themselves.
//!
//! It decides nothing. Who gets a client is decided by [`Forward`](rcluster_core::forward::Forward), what
//! becomes of its bytes by [`Relay`](rcluster_core::forward::relay::Relay). Nothing that the primary's
//! JavaScript does, or does not do, holds it up.

mod commands;
mod conn;

mod own;
mod shell;
#[cfg(test)]
mod tests;
mod token;

use std::sync::mpsc::{Sender, channel as command_queue};
use std::sync::{Arc, Mutex, PoisonError};

use crate::io::barrier::Barrier;
use crate::io::native_thread::{NativeThread, Stop};
use rcluster_core::forward::proxy::Version;
use rcluster_core::forward::{Config, Counters};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::schedule::Policy;
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::SysError;
use rcluster_sys::listen::{self, Access, Bound};
use rcluster_sys::socket_directory::{Owner, SocketDirectory, WorkerDirectory};

pub use own::{Own, Reach, Target};
use shell::Shell;

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrontAddress {
    /// To a TCP port; of all addresses, if none is named.
    Tcp {
        /// An IP address.
        host: Option<String>,
        /// 0 for any.
        port: u16,
    },
    /// To a unix socket.
    Path(String),
}

/// One address that is forwarded.
#[derive(Clone, Debug)]
pub struct FrontOptions {
    /// Where clients connect.
    pub address: FrontAddress,
    /// How many clients may wait in the kernel.
    pub backlog: i32,
    /// How workers are reached; `None` for what suits each: a unix socket for Node, a port for other programs.
    pub reach: Option<Reach>,
    /// The environment variable that tells a worker its own address.
    pub env: String,
    /// Who gets the next client. One by which workers accept by themselves means in turn.
    pub policy: Policy,
    /// The client's address goes in front of its bytes.
    pub proxy: Option<Version>,
    /// Limits and timeouts.
    pub config: Config,
}

/// An address that is forwarded, and open.
#[derive(Debug)]
pub struct BoundFront {
    bound: Bound,
    options: FrontOptions,
}

impl BoundFront {
    /// Opens it: from now on clients can connect, and wait.
    pub fn open(options: FrontOptions) -> Result<Self, SysError> {
        let backlog = Some(options.backlog);
        let bound = match &options.address {
            FrontAddress::Tcp { host: None, port } => listen::tcp_anywhere(*port, false, backlog),
            FrontAddress::Tcp { host: Some(host), port } => {
                listen::tcp(listen::parse_address(host, host.contains(':'), *port)?, false, backlog)
            }
            FrontAddress::Path(path) => listen::unix(path.as_ref(), Access::default(), backlog),
        }?;
        Ok(Self { bound, options })
    }
}

/// What an address has to do with.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The IP address that clients connect to, or the path.
    pub address: String,
    /// The port, if it has one.
    pub port: Option<u16>,
    /// What has come about so far.
    pub counters: Counters,
    /// Connections there are, with those that wait.
    pub connections: usize,
    /// Clients that wait for a worker.
    pub waiting: usize,
    /// Each worker with its connections.
    pub workers: Vec<(WorkerId, u32)>,
}

/// What the forwarder is told.
#[derive(Debug)]
enum Command {
    AddWorker {
        worker: WorkerId,
        slot: Slot,
        own: Vec<Own>,
    },
    /// It gets no more connections. Answered when that is so.
    WorkerLeaving {
        worker: WorkerId,
        done: Option<Sender<()>>,
    },
    WorkerExited(WorkerId),
    /// It listens at one of its own addresses.
    WorkerListens(WorkerId),
    /// Call this when all that was told before has been done.
    Barrier(Barrier),
    Report(Sender<Vec<Report>>),
    Stop,
}

/// What the forwarder has to tell.
#[derive(Debug)]
pub enum ForwarderEvent {
    /// The process or the system is out of descriptors or memory; clients wait in the backlog.
    Exhausted(SysError),
    /// Somebody else listens on the port that is set aside for a worker. Nothing is sent there.
    Foreign {
        /// Whose port.
        worker: WorkerId,
        /// Which.
        port: String,
        /// The user who listens.
        uid: u32,
    },
    /// The thread has ended by a failure. Nothing is forwarded any more.
    Failed(String),
}

impl Stop for Command {
    const STOP: Self = Self::Stop;
}

/// The forwarder's thread, and the addresses of workers. Dropping it ends the thread.
#[derive(Debug)]
pub struct Forwarder {
    thread: NativeThread<Command>,
    /// How workers are reached, for each address.
    reaches: Vec<(String, Option<Reach>)>,
    /// Made again when it has disappeared.
    directory: Option<Mutex<SocketDirectory>>,
}

/// A worker that is to be started, as far as its own addresses depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kind {
    /// It is not Node.
    pub is_external: bool,
    /// Whom it will belong to.
    pub owner: Owner,
}

impl Forwarder {
    /// Starts the thread. `notify` is called on it.
    pub fn start(
        fronts: Vec<BoundFront>,
        notify: impl Fn(ForwarderEvent) + Send + 'static,
    ) -> Result<Self, SysError> {
        let waker = Waker::new()?;
        let (commands, queue) = command_queue();
        let reaches: Vec<_> =
            fronts.iter().map(|front| (front.options.env.clone(), front.options.reach)).collect();
        let in_files = reaches.iter().any(|(_, reach)| *reach != Some(Reach::Port));
        let directory = in_files.then(SocketDirectory::new).transpose()?.map(Mutex::new);
        let shell = Shell::new(fronts, waker.clone(), queue, Box::new(notify))?;
        let thread = NativeThread::start(shell, commands, waker)?;
        Ok(Self { thread, reaches, directory })
    }

    /// Sets aside an address for each forwarded one on which a worker can listen.
    pub fn reserve(&self, worker: WorkerId, kind: Kind) -> Result<Vec<Own>, SysError> {
        let standard = if kind.is_external { Reach::Port } else { Reach::Path };
        let mut directory = None;
        let mut all = Vec::with_capacity(self.reaches.len());
        for (front, (env, reach)) in self.reaches.iter().enumerate() {
            all.push(match (reach.unwrap_or(standard), &self.directory) {
                (Reach::Path, Some(parent)) => {
                    let made = match directory.take() {
                        Some(made) => made,
                        None => Arc::new(worker_directory(parent, worker, kind.owner)?),
                    };
                    directory = Some(Arc::clone(&made));
                    Own::path(made, front, env)
                }
                (Reach::Port, _) | (Reach::Path, None) => Own::port(kind.owner, env)?,
            });
        }
        Ok(all)
    }

    /// There is a new worker, with its addresses in the order of the forwarded ones.
    pub fn add_worker(&self, worker: WorkerId, slot: Slot, own: Vec<Own>) {
        self.tell(Command::AddWorker { worker, slot, own });
    }

    /// The worker gets no more connections. What it has goes on.
    pub fn worker_leaving(&self, worker: WorkerId) {
        self.tell(Command::WorkerLeaving { worker, done: None });
    }

    /// The same, and it is so on return.
    pub fn worker_leaving_now(&self, worker: WorkerId) {
        let (done, wait) = command_queue();
        self.tell(Command::WorkerLeaving { worker, done: Some(done) });
        // An error means that the thread has ended, and gives nobody anything.
        let _ = wait.recv();
    }

    /// The worker is dead.
    pub fn worker_exited(&self, worker: WorkerId) {
        self.tell(Command::WorkerExited(worker));
    }

    /// Does this on the forwarder's thread when all that it was told before has been done. Dropped if the thread has
    /// ended.
    pub fn barrier(&self, act: Barrier) {
        self.tell(Command::Barrier(act));
    }

    /// What there is just now, in the order in which the addresses were given. Empty when the thread has ended.
    #[must_use]
    pub fn report(&self) -> Vec<Report> {
        let (answer, wait) = command_queue();
        self.tell(Command::Report(answer));
        wait.recv().unwrap_or_default()
    }

    /// The worker listens at one of its own addresses.
    pub fn worker_listens(&self, worker: WorkerId) {
        self.tell(Command::WorkerListens(worker));
    }

    /// Removes the directory of the workers' sockets, which dropping does as well.
    pub fn remove_sockets(&self) {
        if let Some(directory) = &self.directory {
            lock(directory).remove();
        }
    }

    fn tell(&self, command: Command) {
        self.thread.tell(command);
    }
}

fn lock(directory: &Mutex<SocketDirectory>) -> std::sync::MutexGuard<'_, SocketDirectory> {
    // It is replaced as a whole.
    directory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn worker_directory(
    parent: &Mutex<SocketDirectory>,
    worker: WorkerId,
    owner: Owner,
) -> Result<WorkerDirectory, SysError> {
    let mut parent = lock(parent);
    if !parent.is_in_place() {
        *parent = SocketDirectory::new()?;
    }
    parent.make(&worker.0.to_string(), owner)
}
