//! The events that reach the control thread, and those that it sends to the app.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use serde::Serialize;

use super::http::HttpEvent;
use super::operator::OperatorEvent;
use super::worker::POLL;
use crate::io::dispatcher::{DispatcherEvent, HookBatch};
use crate::io::logs::LogStatus;
use crate::io::store;
use rcluster_core::control::operator::LastExit;
use rcluster_core::control::supervise::{self, ExitKind, Failure, Stats};
use rcluster_core::examine::Examination;
use rcluster_core::frames::{Drain, FromWorker, Reply};
use rcluster_core::ids::{Request, Slot, WorkerId};
use rcluster_sys::error::SysError;

/// The statistics of the supervised cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStats {
    /// The statistics of supervision.
    #[serde(flatten)]
    pub stats: Stats,
    /// How the last worker of each slot exited.
    pub last_exits: BTreeMap<Slot, LastExit>,
    /// The counts of output written by the primary for its workers; `None` if they write it themselves.
    pub logs: Option<LogStatus>,
}

/// An event for the app.
#[derive(Debug)]
pub enum Event {
    /// A worker has exited and has been reaped.
    Exited {
        /// The worker's number.
        worker: WorkerId,
        /// How it exited.
        exit: ExitKind,
    },
    /// A warning for the operator. Work continues.
    Warning {
        /// Its code, `RCLUSTER_…`.
        code: &'static str,
        /// A description.
        message: String,
    },
    /// Supervision has started a worker.
    Spawned {
        /// The worker's number.
        worker: WorkerId,
        /// Its slot; `None` for a standby.
        slot: Option<Slot>,
        /// Its process id.
        pid: i32,
        /// Refers to the process, dead or alive, while it is kept; used for signals.
        pidfd: Arc<OwnedFd>,
        /// The primary's ends of the pipes, indexed as in `stdio`.
        pipes: Vec<Option<OwnedFd>>,
        /// The port of its inspector, if it has one of its own.
        inspect_port: Option<String>,
    },
    /// Supervision has announced an event.
    Supervision(supervise::Event),
    /// The answer to a request to supervision.
    Answered {
        /// The number by which JavaScript identifies the request.
        request: Request,
        /// The outcome.
        result: Result<(), Failure>,
    },
    /// Supervision has given up and all workers have exited: the primary must exit.
    StopPrimary {
        /// Its exit code.
        code: i32,
    },
    /// These children have ended and have not been reaped. The primary's main thread must reap those that
    /// neither libuv nor this addon waits for, and then call
    /// [`ControlThread::on_orphans_reaped`](super::ControlThread::on_orphans_reaped).
    Orphans(Vec<i32>),
    /// The primary's own JavaScript is requested to report on itself, over this socket.
    Examine {
        /// The kind of report.
        what: Examination,
        /// Receives the report.
        socket: OwnedFd,
    },
    /// The application must choose the workers for these connections, and call
    /// [`ControlThread::answer`](super::ControlThread::answer).
    Hook(HookBatch),
    /// The native part has failed: connections are no longer accepted, and workers no longer reaped.
    Failed(String),
}

/// Sends an event to the app, from any thread.
pub(super) type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// An event for the control thread, from its own tasks and from the dispatcher.
#[derive(Debug)]
pub(super) enum ThreadEvent {
    /// A worker's process has ended, and must be reaped.
    Ended(WorkerId),
    Frame(WorkerId, FromWorker),
    /// A worker wants to use shared state.
    OpenShared(store::Open),
    /// A worker has made a request that can only be answered with an error.
    Refused(WorkerId, Reply),
    /// A worker has closed its control socket, which happens only when it exits.
    HungUp(WorkerId),
    Broke(WorkerId, String),
    /// The kernel cannot report its end, so it is polled.
    Unwatched(WorkerId, SysError),
    /// The stack of a blocked worker, if it could be read.
    Stack(WorkerId, Option<String>),
    Dispatcher(DispatcherEvent),
    /// An event of the control socket.
    Operator(OperatorEvent),
    /// An event of the HTTP listener.
    Http(HttpEvent),
    /// Waiting connections have been passed to workers, and this worker must now drain.
    ReadyToDrain(WorkerId, Drain),
    /// Answers [`ControlThread::flush`](super::ControlThread::flush), after everything that the worker had
    /// written by then.
    Flushed(Sender<()>),
}

/// Converts an event of the dispatcher into one for the app.
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
        DispatcherEvent::Hook(batch) => Event::Hook(batch),
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

/// The file of a Unix socket was removed by the app, and cannot be made again.
pub(super) fn unreachable_listener(name: &str, error: &SysError) -> Event {
    let message =
        format!("The file of the socket {name} was removed, and no client can connect any more: {error}");
    Event::Warning { code: "RCLUSTER_LISTENER", message }
}

pub(super) fn broken(worker: WorkerId, why: &str) -> Event {
    let message = format!("{worker} broke the rules of its link to the primary and is cut off: {why}");
    Event::Warning { code: "RCLUSTER_PROTOCOL", message }
}

/// A worker cannot open a store, the locks or the exchange.
pub(super) fn unshared(error: &SysError) -> Event {
    let message = format!("A worker cannot use what processes share: {error}");
    Event::Warning { code: "RCLUSTER_SHARED", message }
}

/// A shared store cannot use its server.
pub(super) fn without_server(store: &str, server: &str, why: &str) -> Event {
    let message = format!(
        "The shared store {store:?} cannot use its server {server}: {why}. Until it is back, processes read what is known \
         here, and writes wait or fail"
    );
    Event::Warning { code: "RCLUSTER_BACKEND", message }
}

/// The kernel cannot report the end of a worker.
pub(super) fn unwatched(worker: WorkerId, error: &SysError) -> Event {
    let message = format!(
        "The end of {worker} cannot be waited for, and is looked for every {} ms: {error}",
        POLL.as_millis()
    );
    Event::Warning { code: "RCLUSTER_EXHAUSTED", message }
}
