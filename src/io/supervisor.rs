//! The supervisor: the primary's thread that knows the workers.
//!
//! It reaps them, answers what they ask on their control sockets, and keeps the registry of the
//! listeners. It has a tokio runtime of its own, so it goes on while the primary's JavaScript is
//! busy, in the garbage collector or at a debugger.

mod control;
mod shell;
mod sockets;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Sender, channel as answer};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use crate::core::ids::WorkerId;
use crate::core::wire::{FromWorker, Reply};
use crate::io::dispatcher::{Command as ToDispatcher, Dispatcher, Notice};
use crate::io::forward::{self, Forwarder, Front, Report};
use crate::sys::error::{Doing, SysError};
use crate::sys::exit::{Exit, send_signal};
use crate::sys::passing::message_pair;
use crate::sys::scoreboard::Scoreboard;
use crate::sys::spawn::Spawn;

use shell::Shell;

/// How many events of one kind may wait for the supervisor. A worker that sends more has to wait
/// until the supervisor has read them.
const EVENTS: usize = 64;

/// What `kill` answers for a worker that is dead and forgotten: ESRCH, as for a process.
pub const NO_SUCH_WORKER: i32 = -3;

/// What the supervisor has to tell the application.
#[derive(Debug)]
pub enum Event {
    /// A worker is dead and has been reaped.
    Exited {
        /// Which.
        worker: WorkerId,
        /// How.
        exit: Exit,
    },
    /// Something that whoever runs the application should know; it goes on.
    Warning {
        /// A name for it, `RCLUSTER_…`.
        code: &'static str,
        /// What has happened.
        message: String,
    },
    /// The native part has failed: no connection is accepted and no worker reaped any more.
    Failed(String),
}

/// Tells the application something, from whichever thread.
type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// What the primary's JavaScript asks of the supervisor.
#[derive(Debug)]
enum Command {
    Adopt { worker: WorkerId, pidfd: Arc<OwnedFd>, control: OwnedFd },
    Leave { worker: WorkerId, done: Sender<()> },
    Settle { worker: WorkerId },
}

/// What happens to a worker.
#[derive(Debug)]
enum Happening {
    Died(WorkerId),
    Said(WorkerId, FromWorker),
    /// It has asked what cannot be answered but by an error.
    Misspoke(WorkerId, Reply),
    /// It has closed its control socket, which only a dying worker does.
    HungUp(WorkerId),
    Broke(WorkerId, String),
    /// Its end cannot be waited for.
    Unwatched(WorkerId, SysError),
    Noticed(Notice),
}

/// A worker that was spawned.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id.
    pub pid: i32,
    /// Names the process as long as this is kept, dead or alive; for signals.
    pub pidfd: Arc<OwnedFd>,
}

/// The primary's hold on its supervisor. Dropping it ends the threads; workers notice that their
/// primary has gone.
pub struct Supervisor {
    commands: Option<mpsc::UnboundedSender<Command>>,
    dispatcher: Arc<Dispatcher>,
    forwarding: Forwarding,
    tell: Tell,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The forwarder, once there is one.
type Forwarding = Arc<OnceLock<Forwarder>>;

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("dispatcher", &self.dispatcher).finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Starts the supervisor's and the dispatcher's thread. `tell` is called on either.
    ///
    /// With `share` (`SCHED_NONE`) workers get the listening sockets themselves.
    pub fn start(share: bool, tell: impl Fn(Event) + Send + Sync + 'static) -> Result<Self, SysError> {
        let (commands, queue) = mpsc::unbounded_channel();
        let (happenings, events) = mpsc::channel(EVENTS);
        let notices = happenings.clone();
        let tell: Tell = Arc::new(tell);
        let tell_directly = Arc::clone(&tell);
        let dispatcher = Arc::new(Dispatcher::start(move |notice| {
            // The supervisor has the last word on what a notice means, but must not be waited
            // for: it may be waiting for the dispatcher.
            if let Err(unheard) = notices.try_send(Happening::Noticed(notice))
                && let Happening::Noticed(notice) = unheard.into_inner()
            {
                tell_directly(describe(&notice));
            }
        })?);
        let forwarding = Forwarding::default();
        let shell = Shell::new(
            share,
            Arc::clone(&tell),
            Arc::clone(&dispatcher),
            Arc::clone(&forwarding),
            happenings,
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .doing("starting the supervisor's runtime")?;
        let thread = std::thread::Builder::new()
            .name("rcluster-super".into())
            .spawn(move || shell.run_thread(&runtime, queue, events))
            .doing("starting the supervisor's thread")?;
        Ok(Self { commands: Some(commands), dispatcher, forwarding, tell, thread: Some(thread) })
    }

    /// Spawns a worker. The worker's link to the primary comes right behind the descriptors that
    /// `spawn` has already.
    pub fn spawn(&self, worker: WorkerId, mut spawn: Spawn<'_>) -> Result<Spawned, SysError> {
        let (control, worker_control) = message_pair()?;
        let (channel, worker_channel) = message_pair()?;
        let (board, worker_board) = Scoreboard::create()?;
        let own = self.forwarding.get().map(|forwarder| forwarder.reserve(worker)).transpose()?;
        for (name, value) in own.iter().flatten().map(|own| (own.name(), own.value())) {
            spawn.set_env(name, &value)?;
        }
        if let Some(own) = &own {
            // By this a worker in Node knows which of its addresses are its own.
            let names: Vec<_> = own.iter().map(forward::Own::name).collect();
            spawn.set_env("RCLUSTER_OWN", &names.join(","))?;
        }
        let link = [worker_control.as_fd(), worker_channel.as_fd(), worker_board.as_fd()];
        let mut fds = std::mem::take(&mut spawn.fds);
        fds.extend(link);
        let child = Spawn { fds, ..spawn }.spawn()?;
        // Of the worker's ends only that of the channel stays open here.
        let worker_end = worker_channel;
        let pidfd = Arc::new(child.pidfd);
        self.dispatcher.tell(ToDispatcher::AddWorker { worker, channel, worker_end, board });
        if let (Some(forwarder), Some(own)) = (self.forwarding.get(), own) {
            forwarder.add_worker(worker, own);
        }
        self.tell(Command::Adopt { worker, pidfd: Arc::clone(&pidfd), control });
        Ok(Spawned { pid: child.pid.as_raw(), pidfd })
    }

    /// Takes a worker from all its listeners. Those with nobody left are closed on return.
    pub fn leave(&self, worker: WorkerId) {
        if let Some(forwarder) = self.forwarding.get() {
            forwarder.take_away(worker);
        }
        let (done, wait) = answer();
        self.tell(Command::Leave { worker, done });
        // An error means that the threads have ended, and with them every listener.
        let _ = wait.recv();
    }

    /// Begins to forward, to the workers spawned from now on. Once only: `EALREADY` after that.
    pub fn forward(&self, fronts: Vec<Front>) -> Result<(), SysError> {
        let tell = Arc::clone(&self.tell);
        let forwarder = Forwarder::start(fronts, move |notice| {
            tell(match notice {
                forward::Notice::Exhausted(error) => describe(&Notice::Exhausted(error)),
                forward::Notice::Failed(why) => Event::Failed(why),
            });
        })?;
        self.forwarding.set(forwarder).map_err(|_| SysError::twice("starting to forward"))
    }

    /// What is forwarded just now; empty when nothing is.
    #[must_use]
    pub fn forwarding(&self) -> Vec<Report> {
        self.forwarding.get().map(Forwarder::report).unwrap_or_default()
    }

    /// Where the sockets of workers are that are reached by unix sockets.
    #[must_use]
    pub fn socket_directory(&self) -> Option<&std::path::Path> {
        self.forwarding.get()?.directory()
    }

    /// The application knows that the worker is dead and has had its chance to fork another.
    pub fn settle(&self, worker: WorkerId) {
        self.tell(Command::Settle { worker });
    }

    fn tell(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // A supervisor that has failed has said so.
            let _failed = commands.send(command);
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The end of the queue is the order to stop.
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // It has caught its own panics.
            let _ = thread.join();
        }
    }
}

/// Sends a signal to a worker, by number. 0 only asks whether it is there.
pub fn signal(pidfd: &impl AsFd, number: i32) -> Result<(), SysError> {
    send_signal(pidfd.as_fd(), number)
}

fn describe(notice: &Notice) -> Event {
    match notice {
        Notice::Exhausted(error) => Event::Warning {
            code: "RCLUSTER_EXHAUSTED",
            message: format!("New connections wait, because the primary cannot accept them: {error}"),
        },
        Notice::Broken(worker, why) => broken(*worker, why),
        Notice::Failed(why) => Event::Failed(why.clone()),
    }
}

fn broken(worker: WorkerId, why: &str) -> Event {
    let message = format!("{worker} broke the rules of its link to the primary and is cut off: {why}");
    Event::Warning { code: "RCLUSTER_PROTOCOL", message }
}
