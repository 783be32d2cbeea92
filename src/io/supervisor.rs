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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::core::ids::{Slot, WorkerId};
use crate::core::schedule::Scheduling;
use crate::core::slots::Slots;
use crate::core::wire::{FromWorker, Reply};
use crate::io::dispatcher::{Command as ToDispatcher, Dispatcher, Notice, Report};
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
    Adopt { worker: WorkerId, slot: Slot, pidfd: Arc<OwnedFd>, control: OwnedFd },
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
#[derive(Debug)]
pub struct Supervisor {
    commands: Option<mpsc::UnboundedSender<Command>>,
    dispatcher: Arc<Dispatcher>,
    slots: SharedSlots,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Taken where workers are spawned, and freed where they end: before the application can hear of it and spawn
/// another.
type SharedSlots = Arc<Mutex<Slots>>;

fn lock(slots: &SharedSlots) -> MutexGuard<'_, Slots> {
    // Whoever panicked with it has left a table that holds; the panic has been told where it happened.
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Supervisor {
    /// Starts the supervisor's and the dispatcher's thread. `tell` is called on either.
    ///
    /// `scheduling` says how the connections of each listener are distributed.
    pub fn start(
        scheduling: Scheduling,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, SysError> {
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
        let slots = SharedSlots::default();
        let shell = Shell::new(scheduling, tell, Arc::clone(&dispatcher), Arc::clone(&slots), happenings);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .doing("starting the supervisor's runtime")?;
        let thread = std::thread::Builder::new()
            .name("rcluster-super".into())
            .spawn(move || shell.run_thread(&runtime, queue, events))
            .doing("starting the supervisor's thread")?;
        Ok(Self { commands: Some(commands), dispatcher, slots, thread: Some(thread) })
    }

    /// Spawns a worker, in the slot given or in the lowest that is free. The worker's link to the primary comes
    /// right behind the descriptors that `spawn` has already.
    pub fn spawn(
        &self,
        worker: WorkerId,
        slot: Option<Slot>,
        mut spawn: Spawn<'_>,
    ) -> Result<Spawned, SysError> {
        let (control, worker_control) = message_pair()?;
        let (channel, worker_channel) = message_pair()?;
        let (board, worker_board) = Scoreboard::create()?;
        let link = [worker_control.as_fd(), worker_channel.as_fd(), worker_board.as_fd()];
        let mut fds = std::mem::take(&mut spawn.fds);
        fds.extend(link);
        let slot = lock(&self.slots).take(worker, slot);
        board.set_slot(slot.0);
        let child = Spawn { fds, ..spawn }.spawn().inspect_err(|_| lock(&self.slots).free(worker))?;
        // Of the worker's ends only that of the channel stays open here.
        let worker_end = worker_channel;
        let pidfd = Arc::new(child.pidfd);
        self.dispatcher.tell(ToDispatcher::AddWorker { worker, slot, channel, worker_end, board });
        self.tell(Command::Adopt { worker, slot, pidfd: Arc::clone(&pidfd), control });
        Ok(Spawned { pid: child.pid.as_raw(), pidfd })
    }

    /// Takes a worker from all its listeners. Those with nobody left are closed on return.
    pub fn leave(&self, worker: WorkerId) {
        let (done, wait) = answer();
        self.tell(Command::Leave { worker, done });
        // An error means that the threads have ended, and with them every listener.
        let _ = wait.recv();
    }

    /// What has been done with connections so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let (answer, wait) = answer();
        self.dispatcher.tell(ToDispatcher::Report(answer));
        // A dispatcher that has failed has said so, and has nothing to tell.
        wait.recv().unwrap_or_default()
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
        Notice::Unsteered(error) => Event::Warning {
            code: "RCLUSTER_UNSTEERED",
            message: format!("The kernel spreads connections less evenly than it could: {error}"),
        },
        Notice::Broken(worker, why) => broken(*worker, why),
        Notice::Failed(why) => Event::Failed(why.clone()),
    }
}

fn broken(worker: WorkerId, why: &str) -> Event {
    let message = format!("{worker} broke the rules of its link to the primary and is cut off: {why}");
    Event::Warning { code: "RCLUSTER_PROTOCOL", message }
}
