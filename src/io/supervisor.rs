//! The supervisor: the primary's thread that knows the workers.
//!
//! It reaps them, answers what they ask on their control sockets, and keeps the registry of the
//! listeners. It has a tokio runtime of its own, so it goes on while the primary's JavaScript is
//! busy, in the garbage collector or at a debugger.

mod control;
mod forwarding;
mod launch;
mod liveness;
mod orphans;
mod shared;
mod shell;
mod sockets;
mod stack;
mod stranger;
mod supervised;
mod supervision;
mod systemd;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Sender, channel as answer};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::core::control::slots::Slots;
use crate::core::control::supervise::{self, Failure, Stats};
use crate::core::ids::{Request, Slot, WorkerId};
use crate::core::inquiry::Answer;
use crate::core::schedule::Scheduling;
use crate::core::wire::{Drain, FromWorker, Reply, ToWorker};
use crate::io::dispatcher::{Command as ToDispatcher, Dispatcher, Notice, Questions, Report};
use crate::io::forward::{Front, Report as Forwarded};
use crate::sys::error::{Doing, SysError};
use crate::sys::exit::{Exit, send_signal};

use forwarding::Forwarding;
use launch::Link;
pub use launch::{Inspect, Launch, Ports, Preload, Stdio};
pub use shared::{InspectorCount, Leavers, WorkerNumbers};
use shell::Shell;
pub use stack::NoStack;
use stack::Then;
pub use supervised::Plan;

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
    /// Supervision has started a worker.
    Spawned {
        /// Which.
        worker: WorkerId,
        /// In which slot; None for a standby.
        slot: Option<Slot>,
        /// Its process id.
        pid: i32,
        /// Names the process as long as this is kept, dead or alive; for signals.
        pidfd: Arc<OwnedFd>,
        /// The primary's ends of the pipes in the order of stdio.
        pipes: Vec<Option<OwnedFd>>,
        /// The port of its inspector, if it has one of its own.
        inspect_port: Option<String>,
    },
    /// Supervision has decided something.
    Supervision(supervise::Event),
    /// A request to supervision is answered.
    Answered {
        /// Which.
        request: Request,
        /// How it went.
        result: Result<(), Failure>,
    },
    /// Supervision has given up, all workers are gone, and the primary is to exit.
    StopPrimary {
        /// Its exit code.
        code: i32,
    },
    /// These children have ended and nobody has reaped them. Those that neither libuv nor we wait for are to be reaped
    /// on the primary's main thread; then [`Supervisor::on_orphans_reaped`] is due.
    Orphans(Vec<i32>),
    /// Where connections go is for the application to say, by [`Supervisor::answer`].
    Asked(Questions),
    /// The native part has failed: no connection is accepted and no worker reaped any more.
    Failed(String),
}

/// Tells the application something, from whichever thread.
type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// What the primary's JavaScript asks of the supervisor.
#[derive(Debug)]
enum Command {
    Adopt { worker: WorkerId, slot: Slot, pidfd: Arc<OwnedFd>, link: Link },
    Tell { worker: WorkerId, frame: ToWorker },
    CaptureStack { worker: WorkerId, limit: Duration, then: Then },
    Leave { worker: WorkerId, done: Sender<()> },
    CatchUp { worker: WorkerId, done: Sender<()> },
    Settle { worker: WorkerId },
    Supervise(Box<Plan>),
    Relaunch(Box<Launch>),
    AddInspectPorts(Vec<String>),
    Ask(supervise::Input),
    OrphansReaped,
    Stats { answer: Sender<Option<Stats>> },
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
    /// Its end cannot be waited for, so it is looked for from time to time.
    Unwatched(WorkerId, SysError),
    /// Where a worker hangs, if that could be found out.
    Hangs(WorkerId, Option<String>),
    Noticed(Notice),
    /// What waits for a worker is on its way to one, and this one is to drain.
    LastCalled(WorkerId, Drain),
    /// What the primary's JavaScript waits for: it comes behind what the worker had said by then.
    CaughtUp(Sender<()>),
}

/// A worker that was spawned.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id.
    pub pid: i32,
    /// Names the process as long as this is kept, dead or alive; for signals.
    pub pidfd: Arc<OwnedFd>,
    /// The primary's ends of the pipes in the order of stdio.
    pub pipes: Vec<Option<OwnedFd>>,
}

/// The primary's hold on its supervisor. Dropping it ends the threads; workers notice that their
/// primary has gone.
pub struct Supervisor {
    commands: Option<mpsc::UnboundedSender<Command>>,
    common: Common,
    tell: Tell,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("dispatcher", &self.common.dispatcher).finish_non_exhaustive()
    }
}

/// What the supervisor's thread has in common with who holds the supervisor.
#[derive(Clone)]
struct Common {
    dispatcher: Arc<Dispatcher>,
    forwarding: Forwarding,
    slots: SharedSlots,
    numbers: WorkerNumbers,
    inspectors: InspectorCount,
    leavers: Leavers,
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
            // Clients wait for the answers.
            if matches!(notice, Notice::Asked(_)) {
                return tell_directly(describe(notice));
            }
            // The supervisor has the last word on what a notice means, but must not be waited
            // for: it may be waiting for the dispatcher.
            if let Err(unheard) = notices.try_send(Happening::Noticed(notice))
                && let Happening::Noticed(notice) = unheard.into_inner()
            {
                tell_directly(describe(notice));
            }
        })?);
        let common = Common {
            dispatcher,
            forwarding: Forwarding::default(),
            slots: SharedSlots::default(),
            numbers: WorkerNumbers::default(),
            inspectors: InspectorCount::default(),
            leavers: Leavers::default(),
        };
        let shell = Shell::new(scheduling, Arc::clone(&tell), happenings, common.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .doing("starting the supervisor's runtime")?;
        let thread = std::thread::Builder::new()
            .name("rcluster-super".into())
            .spawn(move || shell.run_thread(&runtime, queue, events))
            .doing("starting the supervisor's thread")?;
        Ok(Self { commands: Some(commands), common, tell, thread: Some(thread) })
    }

    /// Spawns a worker in the lowest slot that is free. `own` is the part of its environment that
    /// distinguishes it.
    pub fn spawn(&self, worker: WorkerId, launch: &Launch, own: Vec<CString>) -> Result<Spawned, SysError> {
        let Common { dispatcher, forwarding, slots, .. } = &self.common;
        let slot = lock(slots).take(worker, None);
        let launched = launch.start(worker, Some(slot), own, None, forwarding);
        let launched = launched.inspect_err(|_| lock(slots).free(worker))?;
        let pidfd = Arc::new(launched.child.pidfd);
        launched.newcomer.introduce(worker, slot, dispatcher, forwarding);
        self.tell(Command::Adopt { worker, slot, pidfd: Arc::clone(&pidfd), link: launched.link });
        Ok(Spawned { pid: launched.child.pid.as_raw(), pidfd, pipes: launched.pipes })
    }

    /// Takes a worker from all its listeners. Those with nobody left are closed on return.
    pub fn leave(&self, worker: WorkerId) {
        self.common.forwarding.take_away(worker);
        let (done, wait) = answer();
        self.tell(Command::Leave { worker, done });
        // An error means that the threads have ended, and with them every listener.
        let _ = wait.recv();
    }

    /// Does first what the worker has asked for on its control socket so far. It does not wait for
    /// the worker: what the worker has written is in the socket already, and of that only so much is
    /// read that no worker can keep the primary busy.
    pub fn catch_up(&self, worker: WorkerId) {
        let (done, wait) = answer();
        self.tell(Command::CatchUp { worker, done });
        // An error means that this worker, or everybody, is not listened to any more.
        let _ = wait.recv();
    }

    /// Begins to forward, to the workers spawned from now on. Once only: `EALREADY` after that.
    pub fn forward(&self, fronts: Vec<Front>) -> Result<(), SysError> {
        self.common.forwarding.start(fronts, Arc::clone(&self.tell))
    }

    /// What is forwarded just now; empty when nothing is.
    #[must_use]
    pub fn forwarding(&self) -> Vec<Forwarded> {
        self.common.forwarding.report()
    }

    /// Where the sockets of workers are that are reached by unix sockets.
    #[must_use]
    pub fn socket_directory(&self) -> Option<&std::path::Path> {
        self.common.forwarding.directory()
    }

    /// What has been done with connections so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let (answer, wait) = answer();
        self.common.dispatcher.tell(ToDispatcher::Report(answer));
        // A dispatcher that has failed has said so, and has nothing to tell.
        wait.recv().unwrap_or_default()
    }

    /// What the application says to [`Event::Asked`], in the order of the questions.
    pub fn answer(&self, batch: u32, answers: Vec<Answer>) {
        self.common.dispatcher.tell(ToDispatcher::Answer { batch, answers });
    }

    /// The application knows that the worker is dead and has had its chance to fork another.
    pub fn settle(&self, worker: WorkerId) {
        self.tell(Command::Settle { worker });
    }

    /// The numbers of workers, to be used for every one that is spawned.
    #[must_use]
    pub fn numbers(&self) -> &WorkerNumbers {
        &self.common.numbers
    }

    /// How many inspectors' ports have been given out.
    #[must_use]
    pub fn inspectors(&self) -> &InspectorCount {
        &self.common.inspectors
    }

    /// Ports that the app has chosen for the inspectors of further supervised workers.
    pub fn add_inspect_ports(&self, ports: Vec<String>) {
        self.tell(Command::AddInspectPorts(ports));
    }

    /// Who leaves by agreement.
    #[must_use]
    pub fn leavers(&self) -> &Leavers {
        &self.common.leavers
    }

    /// Begins to supervise: starts the workers of the plan, and keeps them up.
    pub fn supervise(&self, plan: Plan) {
        self.tell(Command::Supervise(Box::new(plan)));
    }

    /// What supervised workers are started with from now on.
    pub fn relaunch(&self, launch: Launch) {
        self.tell(Command::Relaunch(Box::new(launch)));
    }

    /// Asks something of the supervision, or lets it know.
    pub fn tell_supervision(&self, input: supervise::Input) {
        self.tell(Command::Ask(input));
    }

    /// What [`Event::Orphans`] has told of has been dealt with.
    pub fn on_orphans_reaped(&self) {
        self.tell(Command::OrphansReaped);
    }

    /// How the supervised cluster stands; None if nobody supervises it.
    #[must_use]
    pub fn stats(&self) -> Option<Stats> {
        let (stats, wait) = answer();
        self.tell(Command::Stats { answer: stats });
        // An error means that the thread has ended.
        wait.recv().ok().flatten()
    }

    /// Tells a worker to take no more connections, to finish, and to exit. Works while its primary's
    /// JavaScript is busy; nothing happens to one that is dead.
    pub fn drain(&self, worker: WorkerId, reason: String, timeout: Duration) {
        self.common.forwarding.take_away(worker);
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let frame = ToWorker::Drain(Drain { reason, timeout_ms });
        self.tell(Command::Tell { worker, frame });
    }

    /// Asks where the JavaScript of a worker is, also while it is blocked. `then` is called within `limit`,
    /// on the supervisor's thread.
    pub fn capture_stack(
        &self,
        worker: WorkerId,
        limit: Duration,
        then: impl FnOnce(Result<String, NoStack>) + Send + 'static,
    ) {
        self.tell(Command::CaptureStack { worker, limit, then: Then::new(then) });
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

fn describe(notice: Notice) -> Event {
    match notice {
        Notice::Exhausted(error) => Event::Warning {
            code: "RCLUSTER_EXHAUSTED",
            message: format!("New connections wait, because the primary cannot accept them: {error}"),
        },
        Notice::Unsteered(error) => Event::Warning {
            code: "RCLUSTER_UNSTEERED",
            message: format!("The kernel spreads connections less evenly than it could: {error}"),
        },
        Notice::Asked(questions) => Event::Asked(questions),
        Notice::Broken(worker, why) => broken(worker, &why),
        Notice::Failed(why) => Event::Failed(why),
    }
}

fn broken(worker: WorkerId, why: &str) -> Event {
    let message = format!("{worker} broke the rules of its link to the primary and is cut off: {why}");
    Event::Warning { code: "RCLUSTER_PROTOCOL", message }
}
