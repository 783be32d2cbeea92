//! What the control thread hears of workers, and what the app is told.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::io::dispatcher::{DispatcherEvent, HookBatch};
use crate::io::store;
use rcluster_core::control::supervise::{self, ExitKind, Failure};
use rcluster_core::ids::{Request, Slot, WorkerId};
use rcluster_core::wire::{Drain, FromWorker, Reply};
use rcluster_sys::error::SysError;

/// What the app is told.
#[derive(Debug)]
pub enum Event {
    /// A worker is dead and has been reaped.
    Exited {
        /// Its number.
        worker: WorkerId,
        /// How it ended.
        exit: ExitKind,
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
        /// Its number.
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
    /// These children have ended and nobody has reaped them. Those that neither libuv nor we wait for are to be reaped on
    /// the primary's main thread; then [`ControlThread::on_orphans_reaped`](super::ControlThread::on_orphans_reaped) is due.
    Orphans(Vec<i32>),
    /// Where connections go is for the application to say, by [`ControlThread::answer`](super::ControlThread::answer).
    Hook(HookBatch),
    /// The native part has failed: no connection is accepted and no worker reaped any more.
    Failed(String),
}

/// Tells the app something, from whichever thread.
pub(super) type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// What the control thread hears of workers, from tasks of its own and from the dispatcher.
#[derive(Debug)]
pub(super) enum Heard {
    /// A worker's process has ended, and is to be reaped.
    Ended(WorkerId),
    Said(WorkerId, FromWorker),
    /// It wants to use a shared store.
    Shares(store::Open),
    /// It has asked what cannot be answered but by an error.
    Refused(WorkerId, Reply),
    /// It has closed its control socket, which only a dying worker does.
    HungUp(WorkerId),
    Broke(WorkerId, String),
    /// Its end cannot be waited for, so it is looked for from time to time.
    Unwatched(WorkerId, SysError),
    /// Where a worker is blocked, if that could be found out.
    Stack(WorkerId, Option<String>),
    Dispatcher(DispatcherEvent),
    /// What waits for a worker is on its way to one, and this one is to drain.
    LastCalled(WorkerId, Drain),
    /// What the primary's JavaScript waits for: it comes behind what the worker had said by then.
    Flushed(Sender<()>),
}

/// The event of what the dispatcher tells.
pub(super) fn describe(notice: DispatcherEvent) -> Event {
    match notice {
        DispatcherEvent::Exhausted(error) => Event::Warning {
            code: "RCLUSTER_EXHAUSTED",
            message: format!("New connections wait, because the primary cannot accept them: {error}"),
        },
        DispatcherEvent::Unsteered(error) => Event::Warning {
            code: "RCLUSTER_UNSTEERED",
            message: format!("The kernel spreads connections less evenly than it could: {error}"),
        },
        DispatcherEvent::Shut { name, error } => shut(&name, error),
        DispatcherEvent::Jammed => Event::Warning {
            code: "RCLUSTER_DESCRIPTORS",
            message: "New connections wait, because processes of this user have too many descriptors on their way to each \
                      other (ETOOMANYREFS): one of them, which may be a worker, does not receive what it is sent"
                .into(),
        },
        DispatcherEvent::Hook(questions) => Event::Hook(questions),
        DispatcherEvent::Broken(worker, why) => broken(worker, &why),
        DispatcherEvent::Failed(why) => Event::Failed(why),
    }
}

/// A worker has shut down a listening socket that it shares with others.
fn shut(name: &str, error: Option<SysError>) -> Event {
    let outcome = match error {
        None => "has opened another".to_owned(),
        Some(error) => format!("cannot open another: {error}"),
    };
    let message =
        format!("A worker has shut down its listening socket for {name}, and the primary {outcome}");
    Event::Warning { code: "RCLUSTER_LISTENER", message }
}

pub(super) fn broken(worker: WorkerId, why: &str) -> Event {
    let message = format!("{worker} broke the rules of its link to the primary and is cut off: {why}");
    Event::Warning { code: "RCLUSTER_PROTOCOL", message }
}
