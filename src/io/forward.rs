//! The forwarder: the primary's thread that copies bytes between clients and workers with ports of their own.
//!
//! It makes no decisions. [`Forward`](rcluster_core::forward::Forward) chooses the worker of a client, and
//! [`Relay`](rcluster_core::forward::relay::Relay) decides on its bytes. It never waits for the primary's
//! JavaScript.

mod conn;
mod connections;
mod front;
mod own;
mod shell;
#[cfg(test)]
mod tests;
mod token;
mod tools;
mod way;
mod workers;

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
use rcluster_sys::listen::{self, Access, Bound, Leftover};
use rcluster_sys::socket_directory::{Owner, SocketDirectory, WorkerDirectory};

pub use own::{Own, Reach, Target};
use shell::Shell;

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrontAddress {
    /// A TCP port, on all addresses if `host` is `None`.
    Tcp {
        /// An IP address.
        host: Option<String>,
        /// 0 for any.
        port: u16,
    },
    /// A Unix socket.
    Path(String),
}

/// The options of one front.
#[derive(Clone, Debug)]
pub struct FrontOptions {
    /// Where clients connect.
    pub address: FrontAddress,
    /// The backlog of the socket.
    pub backlog: i32,
    /// How workers are reached; `None` for the default: a Unix socket for Node, a port for other programs.
    pub reach: Option<Reach>,
    /// The environment variable that contains a worker's own address.
    pub env: String,
    /// The policy that chooses the worker. One under which workers accept by themselves means round-robin.
    pub policy: Policy,
    /// The PROXY protocol header that precedes the client's bytes, if any.
    pub proxy: Option<Version>,
    /// Limits and timeouts.
    pub config: Config,
}

/// A front whose socket listens.
#[derive(Debug)]
pub struct BoundFront {
    bound: Bound,
    options: FrontOptions,
}

impl BoundFront {
    /// Opens the socket: from now on clients can connect and wait in the backlog.
    pub fn open(options: FrontOptions) -> Result<Self, SysError> {
        let backlog = Some(options.backlog);
        let bound = match &options.address {
            FrontAddress::Tcp { host: None, port } => listen::tcp_anywhere(*port, false, backlog),
            FrontAddress::Tcp { host: Some(host), port } => {
                listen::tcp(listen::parse_address(host, host.contains(':'), *port)?, false, backlog)
            }
            FrontAddress::Path(path) => {
                listen::unix(path.as_ref(), Access::default(), Leftover::Remove, backlog)
            }
        }?;
        Ok(Self { bound, options })
    }
}

/// The state of one front.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The IP address that clients connect to, or the path.
    pub address: String,
    /// The port, if it has one.
    pub port: Option<u16>,
    /// The counters.
    pub counters: Counters,
    /// The number of connections, including those that wait.
    pub connections: usize,
    /// Clients that wait for a worker.
    pub waiting: usize,
    /// Each worker and its number of connections.
    pub workers: Vec<(WorkerId, u32)>,
}

/// A command for the forwarder.
#[derive(Debug)]
enum Command {
    AddWorker {
        worker: WorkerId,
        slot: Slot,
        own: Vec<Own>,
    },
    /// The worker gets no more connections. `done` is answered when that is in effect.
    WorkerLeaving {
        worker: WorkerId,
        done: Option<Sender<()>>,
    },
    WorkerExited(WorkerId),
    /// The worker listens on one of its own addresses.
    WorkerListens(WorkerId),
    /// All workers are about to leave: accepts all waiting clients and closes the sockets. The barrier runs when no
    /// client waits for a worker: each is connected to one.
    AcceptAllAndClose(Barrier),
    /// Runs after all commands before it have been carried out.
    Barrier(Barrier),
    Report(Sender<Vec<Report>>),
    Stop,
}

/// An event of the forwarder.
#[derive(Debug)]
pub enum ForwarderEvent {
    /// The process or the system is out of descriptors or memory; clients wait in the backlog.
    Exhausted(SysError),
    /// Another user's process listens on the port that is set aside for a worker. Nothing is sent there.
    Foreign {
        /// The worker.
        worker: WorkerId,
        /// The port, as in the worker's environment variable.
        port: String,
        /// The user id of the process that listens.
        uid: u32,
    },
    /// The thread has failed. Nothing is forwarded any more.
    Failed(String),
}

impl Stop for Command {
    const STOP: Self = Self::Stop;
}

/// The owner's side of the thread, with the addresses of workers. Dropping it ends the thread.
#[derive(Debug)]
pub struct Forwarder {
    thread: NativeThread<Command>,
    /// How workers are reached, for each front.
    reaches: Vec<(String, Option<Reach>)>,
    /// Created again if it has been removed.
    directory: Option<Mutex<SocketDirectory>>,
}

/// The properties of a worker to be started that determine its addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kind {
    /// Whether it is an external program.
    pub is_external: bool,
    /// The user that it will run as.
    pub owner: Owner,
}

impl Forwarder {
    /// Starts the thread. It calls `notify` for events.
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

    /// Reserves one address for each front, on which the worker can listen.
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

    /// Adds a worker, with its addresses in the order of the fronts.
    pub fn add_worker(&self, worker: WorkerId, slot: Slot, own: Vec<Own>) {
        self.tell(Command::AddWorker { worker, slot, own });
    }

    /// The worker gets no more connections. Its connections continue.
    pub fn worker_leaving(&self, worker: WorkerId) {
        self.tell(Command::WorkerLeaving { worker, done: None });
    }

    /// Like [`worker_leaving`](Self::worker_leaving), and in effect on return.
    pub fn worker_leaving_now(&self, worker: WorkerId) {
        let (done, wait) = command_queue();
        self.tell(Command::WorkerLeaving { worker, done: Some(done) });
        // An error means that the thread has ended, and passes nothing on any more.
        let _ = wait.recv();
    }

    /// The worker has died.
    pub fn worker_exited(&self, worker: WorkerId) {
        self.tell(Command::WorkerExited(worker));
    }

    /// All workers are about to leave, and none will be started: accepts all waiting clients and closes the sockets.
    /// `act` runs when no client waits for a worker any more. Dropped if the thread has ended.
    pub fn accept_all_and_close(&self, act: Barrier) {
        self.tell(Command::AcceptAllAndClose(act));
    }

    /// Runs `act` on the forwarder's thread after all commands before it. Dropped if the thread has ended.
    pub fn barrier(&self, act: Barrier) {
        self.tell(Command::Barrier(act));
    }

    /// The state of the fronts, in the order in which they were given. Empty if the thread has ended.
    #[must_use]
    pub fn report(&self) -> Vec<Report> {
        let (answer, wait) = command_queue();
        self.tell(Command::Report(answer));
        wait.recv().unwrap_or_default()
    }

    /// The worker listens on one of its own addresses.
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
    // It is only ever replaced as a whole, so it is valid after a panic as well.
    directory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn worker_directory(
    parent: &Mutex<SocketDirectory>,
    worker: WorkerId,
    owner: Owner,
) -> Result<WorkerDirectory, SysError> {
    let mut parent = lock(parent);
    if !parent.is_in_place() {
        *parent = parent.another()?;
    }
    parent.make(&worker.0.to_string(), owner)
}
