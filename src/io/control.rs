//! The control thread: the primary's thread that knows the workers.
//!
//! It reaps them, answers what they ask on their control sockets, opens and closes listening sockets, and keeps a
//! supervised cluster up. It decides nothing: everything that it hears is an input of
//! [`Control`](rcluster_core::control::Control), whose outputs it carries out. It has a tokio runtime of its own, so it
//! goes on while the primary's JavaScript is busy, in the garbage collector or at a debugger.

mod commands;
mod external;
mod forwarding;
mod launch;
mod liveness;
mod messages;
mod news;
mod orphans;
mod reaper;
mod service;
mod shared;
mod shell;
mod socket;
mod sockets;
mod stack;
mod systemd;
mod template;
mod thread;
mod workers;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::channel as answer;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::io::dispatcher::{Command as ToDispatcher, Dispatcher, DispatcherEvent, Report};
use crate::io::forward::{BoundFront, Report as Forwarded};
use rcluster_core::control::supervise::{Input, Stats};
use rcluster_core::hook::Answer;
use rcluster_core::ids::{Request, WorkerId};
use rcluster_core::schedule::Scheduling;
use rcluster_core::wire::{Drain, milliseconds};
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::exit::send_signal;

use commands::Command;
use forwarding::Forwarding;
pub use launch::{Inspect, Launch, Ports, Preload, Stdio};
pub use messages::Event;
use messages::{Heard, Tell, describe};
use shared::{Common, SharedSlots};
pub use shared::{InspectorCount, LeavingWorkers, WorkerNumbers};
use shell::Shell;
pub use stack::NoStack;
use stack::OnStack;
pub use template::SuperviseSetup;

/// How many events of workers may wait for the control thread. A worker that sends more has to wait
/// until the control thread has read them.
const EVENTS: usize = 64;

/// What `kill` answers for a worker that is dead and forgotten: ESRCH, as for a process.
pub const NO_SUCH_WORKER: i32 = -3;

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

/// What the primary has of the control thread, and of the dispatcher. Dropping it ends the threads; workers notice that their
/// primary has gone.
pub struct ControlThread {
    commands: Option<mpsc::UnboundedSender<Command>>,
    common: Common,
    tell: Tell,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for ControlThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlThread").field("dispatcher", &self.common.dispatcher).finish_non_exhaustive()
    }
}

impl ControlThread {
    /// Starts the control thread and the dispatcher. `tell` is called on either.
    ///
    /// `scheduling` says how the connections of each listener are distributed.
    pub fn start(
        scheduling: Scheduling,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, SysError> {
        let (commands, queue) = mpsc::unbounded_channel();
        let (heard, events) = mpsc::channel(EVENTS);
        let notices = heard.clone();
        let tell: Tell = Arc::new(tell);
        let tell_directly = Arc::clone(&tell);
        let dispatcher = Arc::new(Dispatcher::start(move |notice| {
            // Clients wait for the answers.
            if matches!(notice, DispatcherEvent::Hook(_)) {
                return tell_directly(describe(notice));
            }
            // The control thread says what a notice means, but must not be waited for: it may be waiting for the
            // dispatcher.
            if let Err(unheard) = notices.try_send(Heard::Dispatcher(notice))
                && let Heard::Dispatcher(notice) = unheard.into_inner()
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
            leaving: LeavingWorkers::default(),
        };
        let shell = Shell::new(scheduling, Arc::clone(&tell), heard, common.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .doing("starting the control thread's runtime")?;
        let thread = std::thread::Builder::new()
            .name("rcluster-ctl".into())
            .spawn(move || thread::run(shell, &runtime, queue, events))
            .doing("starting the control thread")?;
        Ok(Self { commands: Some(commands), common, tell, thread: Some(thread) })
    }

    /// Spawns a worker in the lowest slot that is free. `own` is the part of its environment that
    /// distinguishes it.
    pub fn spawn(&self, worker: WorkerId, launch: &Launch, own: Vec<CString>) -> Result<Spawned, SysError> {
        let Common { dispatcher, forwarding, slots, .. } = &self.common;
        let slot = slots.lock().take(worker, None);
        let launched = launch.start(worker, Some(slot), own, None, forwarding);
        let launched = launched.inspect_err(|_| slots.lock().free(worker))?;
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
    pub fn flush(&self, worker: WorkerId) {
        let (done, wait) = answer();
        self.tell(Command::Flush { worker, done });
        // An error means that this worker, or everybody, is not listened to any more.
        let _ = wait.recv();
    }

    /// Begins to forward, to the workers spawned from now on. Once only: `EALREADY` after that.
    pub fn forward(&self, fronts: Vec<BoundFront>) -> Result<(), SysError> {
        self.common.forwarding.start(fronts, Arc::clone(&self.tell))
    }

    /// What is forwarded just now; empty when nothing is.
    #[must_use]
    pub fn forwarding(&self) -> Vec<Forwarded> {
        self.common.forwarding.report()
    }

    /// Removes the sockets of workers that are reached by unix sockets, as dropping does.
    pub fn remove_sockets(&self) {
        self.common.forwarding.remove_sockets();
    }

    /// What has been done with connections so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let (answer, wait) = answer();
        self.common.dispatcher.tell(ToDispatcher::Report(answer));
        // A dispatcher that has failed has said so, and has nothing to tell.
        wait.recv().unwrap_or_default()
    }

    /// What the application says to [`Event::Hook`], in the order of the questions.
    pub fn answer(&self, batch: u32, answers: Vec<Answer>) {
        self.common.dispatcher.tell(ToDispatcher::Answer { batch, answers });
    }

    /// The application knows that the worker is dead and has had its chance to fork another.
    pub fn on_exit_reported(&self, worker: WorkerId) {
        self.tell(Command::ExitReported(worker));
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

    /// The workers that leave by agreement.
    #[must_use]
    pub fn leaving(&self) -> &LeavingWorkers {
        &self.common.leaving
    }

    /// Begins to supervise: starts the workers of the setup, and keeps them up.
    pub fn supervise(&self, setup: SuperviseSetup) {
        self.tell(Command::Supervise(Box::new(setup)));
    }

    /// Replaces all supervised workers by new ones, which are started with `launch`, as all later ones are. If a reload
    /// is running, the request joins it and `launch` is not used.
    pub fn reload(&self, launch: Launch, concurrency: u32, request: Request) {
        self.tell(Command::Reload { launch: Box::new(launch), concurrency, request });
    }

    /// Asks something of the supervision, or lets it know.
    pub fn tell_supervision(&self, input: Input) {
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
        let timeout_ms = milliseconds(timeout);
        self.tell(Command::Drain(worker, Drain { reason, timeout_ms }));
    }

    /// Asks where the JavaScript of a worker is, also while it is blocked. `then` is called within `limit`,
    /// on the control thread.
    pub fn capture_stack(
        &self,
        worker: WorkerId,
        limit: Duration,
        then: impl FnOnce(Result<String, NoStack>) + Send + 'static,
    ) {
        self.tell(Command::CaptureStack { worker, limit, then: OnStack::new(then) });
    }

    fn tell(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // A control thread that has failed has said so.
            let _failed = commands.send(command);
        }
    }
}

impl Drop for ControlThread {
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
