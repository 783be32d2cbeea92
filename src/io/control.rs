//! The control thread: the primary's thread that manages workers.
//!
//! It reaps workers, answers requests on their control sockets, opens and closes listening sockets, and
//! supervises. It makes no decisions: every event becomes an input of
//! [`Control`](rcluster_core::control::Control), and the thread carries out the outputs. It has a tokio
//! runtime of its own, so it runs while the primary's JavaScript is busy, in garbage collection or stopped in
//! a debugger.

mod commands;
mod external;
mod forwarding;
mod http;
mod inherited;
mod launch;
mod limits;
mod liveness;
mod logs;
mod merging;
mod messages;
mod metrics;
mod news;
mod operator;
mod orphans;
mod reaper;
mod registries;
mod service;
mod shared;
mod shell;
mod socket;
mod sockets;
mod stack;
mod systemd;
mod template;
mod thread;
mod worker;
mod workers;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::channel as answer;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::io::dispatcher::{Command as ToDispatcher, Dispatcher, DispatcherEvent, Report};
use crate::io::forward::{BoundFront, Report as Forwarded};
use crate::io::store;
use rcluster_core::control::operator::THREAD;
use rcluster_core::control::supervise::Input;
use rcluster_core::frames::{Drain, milliseconds};
use rcluster_core::hook::Answer;
use rcluster_core::ids::{Request, WorkerId};
use rcluster_core::schedule::Scheduling;
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::exit::send_signal;

use commands::Command;
use forwarding::Forwarding;
use launch::OneWorker;
pub use launch::{Inspect, Launch, Ports, Preload, Stdio};
use logs::{Captured, SharedLogs};
pub use messages::{ClusterStats, Event};
use messages::{Tell, ThreadEvent, describe, without_server};
pub use operator::{OperatorSetup, PrimaryStack};
use shared::{Common, ControlFile, SharedSlots};
pub use shared::{InspectorCount, LeavingWorkers, WorkerNumbers};
use shell::Shell;
pub use stack::NoStack;
use stack::OnStack;
use systemd::Manager;
pub use template::SuperviseSetup;

/// The capacity of the queue of events from workers to the control thread. When it is full, the tasks that
/// read from workers wait, and so does a worker that sends more.
const EVENTS: usize = 64;

/// The result of `kill` for a worker that has exited and been forgotten: ESRCH, as for a process.
pub const NO_SUCH_WORKER: i32 = -3;

/// A worker that was spawned.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id.
    pub pid: i32,
    /// Refers to the process, dead or alive, while it is kept; used for signals.
    pub pidfd: Arc<OwnedFd>,
    /// The primary's ends of the pipes, indexed as in `stdio`.
    pub pipes: Vec<Option<OwnedFd>>,
}

/// The primary's handle to the control thread and the dispatcher. Dropping it ends the threads, and workers
/// notice that their primary is gone.
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
    /// Starts the control thread and the dispatcher. Both call `tell`.
    ///
    /// `scheduling` determines how the connections of each listener are distributed.
    pub fn start(
        scheduling: Scheduling,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, SysError> {
        let (commands, queue) = mpsc::unbounded_channel();
        let (events, receiver) = mpsc::channel(EVENTS);
        let (notices, orders) = (events.clone(), commands.downgrade());
        let tell: Tell = Arc::new(tell);
        let tell_directly = Arc::clone(&tell);
        let dispatcher = Arc::new(Dispatcher::start(move |notice| {
            // Clients wait for the answers, so hooks bypass the control thread.
            if matches!(notice, DispatcherEvent::Hook(_)) {
                return tell_directly(describe(notice));
            }
            // Told once for each worker, and lost it would never be replaced. That queue has no limit.
            if let DispatcherEvent::Broken(worker, why) = notice {
                // An error means that the control thread ends, and with it every worker.
                let _ended = orders.upgrade().map(|orders| orders.send(Command::Broken(worker, why)));
                return;
            }
            // The control thread handles the event. The dispatcher must not block on it, because the control
            // thread may be waiting for the dispatcher.
            if let Err(refused) = notices.try_send(ThreadEvent::Dispatcher(notice))
                && let ThreadEvent::Dispatcher(notice) = refused.into_inner()
            {
                tell_directly(describe(notice));
            }
        })?);
        let tell_outage = Arc::clone(&tell);
        store::tell_outages_to(move |store, server, why| tell_outage(without_server(store, server, why)));
        let common = Common {
            dispatcher,
            forwarding: Forwarding::default(),
            slots: SharedSlots::default(),
            numbers: WorkerNumbers::default(),
            inspectors: InspectorCount::default(),
            leaving: LeavingWorkers::default(),
            control_file: ControlFile::default(),
            metrics_file: ControlFile::default(),
            logs: SharedLogs::default(),
        };
        let shell = Shell::new(scheduling, Arc::clone(&tell), events, common.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .doing("starting the control thread's runtime")?;
        let thread = std::thread::Builder::new()
            .name(THREAD.into())
            .spawn(move || thread::run(shell, &runtime, queue, receiver))
            .doing("starting the control thread")?;
        Ok(Self { commands: Some(commands), common, tell, thread: Some(thread) })
    }

    /// Spawns a worker in the lowest free slot. `own` is the part of its environment that only this worker
    /// gets.
    pub fn spawn(&self, worker: WorkerId, launch: &Launch, own: Vec<CString>) -> Result<Spawned, SysError> {
        let Common { dispatcher, forwarding, slots, .. } = &self.common;
        let slot = slots.lock().take(worker, None);
        let captured = Captured::default();
        let one = OneWorker { worker, slot: Some(slot), own, inspect_port: None, captured, early: None };
        let launched = launch.start(one, forwarding);
        let launched = launched.inspect_err(|_| slots.lock().free(worker))?;
        store::on_started(worker, Some(slot));
        let pidfd = Arc::new(launched.child.pidfd);
        launched.newcomer.introduce(worker, slot, dispatcher, forwarding);
        self.tell(Command::Adopt { worker, slot, pidfd: Arc::clone(&pidfd), link: launched.link });
        Ok(Spawned { pid: launched.child.pid.as_raw(), pidfd, pipes: launched.pipes })
    }

    /// Removes a worker from all its listeners. Listeners without members are closed on return.
    pub fn leave(&self, worker: WorkerId) {
        self.common.forwarding.take_away(worker);
        let (done, wait) = answer();
        self.tell(Command::Leave { worker, done });
        // An error means that the threads have ended, and with them every listener.
        let _ = wait.recv();
    }

    /// Handles what the worker has written to its control socket so far. Does not wait for the worker: the
    /// data is already in the socket, and the amount read is limited, so a worker cannot keep the primary
    /// busy.
    pub fn flush(&self, worker: WorkerId) {
        let (done, wait) = answer();
        self.tell(Command::Flush { worker, done });
        // An error means that the worker's socket, or every socket, is no longer read.
        let _ = wait.recv();
    }

    /// Starts forwarding, for workers spawned from now on. Possible once: `EALREADY` after that.
    pub fn forward(&self, fronts: Vec<BoundFront>) -> Result<(), SysError> {
        self.common.forwarding.start(fronts, Arc::clone(&self.tell))
    }

    /// The current state of forwarding; empty if nothing is forwarded.
    #[must_use]
    pub fn forwarding(&self) -> Vec<Forwarded> {
        self.common.forwarding.report()
    }

    /// Removes the socket files of operators, of metrics and of workers that listen on Unix sockets, as
    /// dropping does.
    pub fn remove_sockets(&self) {
        self.common.control_file.remove();
        self.common.metrics_file.remove();
        self.common.forwarding.remove_sockets();
    }

    /// Writes the pending output of workers. Waits at most `limit` for its reader.
    pub fn flush_logs(&self, limit: Duration) {
        if let Some(logs) = self.common.logs.get() {
            logs.flush(limit);
        }
    }

    /// The counts of what the dispatcher has done with connections.
    #[must_use]
    pub fn report(&self) -> Report {
        let (answer, wait) = answer();
        self.common.dispatcher.tell(ToDispatcher::Report(answer));
        // A dispatcher that has failed has already reported that, and has no counts.
        wait.recv().unwrap_or_default()
    }

    /// The application's answers to [`Event::Hook`], in the order of the connections.
    pub fn answer(&self, batch: u32, answers: Vec<Answer>) {
        self.common.dispatcher.tell(ToDispatcher::Answer { batch, answers });
    }

    /// The application has been notified that the worker has exited, and could have forked a replacement.
    pub fn on_exit_reported(&self, worker: WorkerId) {
        self.tell(Command::ExitReported(worker));
    }

    /// The source of worker numbers, to be used for every worker that is spawned.
    #[must_use]
    pub fn numbers(&self) -> &WorkerNumbers {
        &self.common.numbers
    }

    /// The count of inspector ports given out.
    #[must_use]
    pub fn inspectors(&self) -> &InspectorCount {
        &self.common.inspectors
    }

    /// Adds ports that the app has chosen for the inspectors of further supervised workers.
    pub fn add_inspect_ports(&self, ports: Vec<String>) {
        self.tell(Command::AddInspectPorts(ports));
    }

    /// The workers that are leaving by agreement.
    #[must_use]
    pub fn leaving(&self) -> &LeavingWorkers {
        &self.common.leaving
    }

    /// Starts supervision: starts the workers of the setup and keeps them up. Must be called on the thread of JavaScript.
    pub fn supervise(&self, setup: SuperviseSetup) {
        self.tell(Command::Supervise { setup: Box::new(setup), manager: Manager::from_environment() });
    }

    /// Replaces all supervised workers by new ones, which are started with `launch`, as are all later ones.
    /// If a reload is running, the request joins it and `launch` is not used.
    pub fn reload(&self, launch: Launch, concurrency: u32, request: Request) {
        self.tell(Command::Reload { launch: Box::new(launch), concurrency, request });
    }

    /// Sends supervision an input: a request or a fact.
    pub fn tell_supervision(&self, input: Input) {
        self.tell(Command::Ask(input));
    }

    /// The processes of [`Event::Orphans`] have been dealt with.
    pub fn on_orphans_reaped(&self) {
        self.tell(Command::OrphansReaped);
    }

    /// The statistics of the supervised cluster; `None` if it is not supervised.
    #[must_use]
    pub fn stats(&self) -> Option<ClusterStats> {
        let (stats, wait) = answer();
        self.tell(Command::Stats { answer: stats });
        // An error means that the thread has ended.
        wait.recv().ok().flatten()
    }

    /// Orders a worker to drain: take no more connections, finish, and exit. Works while the primary's
    /// JavaScript is busy. Without effect on a worker that has died.
    pub fn drain(&self, worker: WorkerId, reason: String, timeout: Duration) {
        self.common.forwarding.take_away(worker);
        let timeout_ms = milliseconds(timeout);
        self.tell(Command::Drain(worker, Drain { reason, timeout_ms }));
    }

    /// Requests the JavaScript stack of a worker, which works while its event loop is blocked. `then` is
    /// called within `limit`, on the control thread.
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
            // A control thread that has failed has already reported it.
            let _failed = commands.send(command);
        }
    }
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        // Closing the queue ends the thread.
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // The thread catches its own panics.
            let _ = thread.join();
        }
    }
}

/// Sends a signal to a worker. Signal 0 only checks that the process exists.
pub fn signal(pidfd: &impl AsFd, number: i32) -> Result<(), SysError> {
    send_signal(pidfd.as_fd(), number)
}
