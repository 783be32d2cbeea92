//! The terms of supervision: causes, reasons and failures.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::ReadyWhen;
use crate::ids::Slot;

/// A time since an arbitrary start. It must never go backwards.
pub type Time = Duration;

/// A sample of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// The number of turns of its event loop. Only changes matter.
    pub turns: u64,
    /// Resident memory in bytes, if it could be read.
    pub rss: Option<u64>,
    /// Clients accepted so far, without connections that other workers have handed over.
    pub clients: u64,
    /// Open connections. Reported when a drain takes too long.
    pub connections: u32,
}

/// The last lines of a worker's stderr. `None` if its stderr does not go through the primary.
pub type StderrTail = Option<Arc<[String]>>;

/// The origin of a request to retire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The worker itself.
    Worker,
    /// The primary's app.
    Primary,
    /// An operator at the control socket.
    Operator,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// By the kernel's SIGKILL, because the memory limit of the cluster was reached.
    OutOfMemory,
}

impl ExitKind {
    /// The exit code, or the number of the signal.
    #[must_use]
    pub fn code_and_signal(self) -> (Option<i32>, Option<i32>) {
        match self {
            Self::Code(code) => (Some(code), None),
            Self::Signal(signal) => (None, Some(signal)),
            Self::OutOfMemory => (None, Some(SIGKILL)),
        }
    }
}

impl fmt::Display for ExitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => f.write_str(name),
                None => write!(f, "signal {signal}"),
            },
            Self::OutOfMemory => f.write_str("SIGKILL: out of memory"),
        }
    }
}

/// The numbers of two signals on Linux.
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// The names of signals that end processes. The numbers are the same on all supported architectures.
fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        SIGABRT => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        SIGKILL => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// Why a worker drains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The reason given by the worker or by the app: `uncaughtException`, `SIGTERM` …
    Asked(String),
    /// The app called `disconnect()`.
    Disconnect,
    /// It reached a limit of memory, age or connections.
    Recycle(Excess),
    /// A reload replaces it.
    Reload,
    /// An operator replaces it.
    Restart,
    /// An operator drains it and wants no replacement.
    Drain,
    /// Its slot is being removed.
    Scale,
    /// The cluster shuts down.
    Shutdown,
}

impl Reason {
    /// Whether the worker got SIGTERM.
    pub(super) fn is_signal(&self) -> bool {
        matches!(self, Self::Asked(words) if words == "SIGTERM")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked(words) => words,
            Self::Disconnect => "disconnect",
            Self::Recycle(_) => "recycle",
            Self::Reload => "reload",
            Self::Restart => "restart",
            Self::Drain => "drain",
            Self::Scale => "scale",
            Self::Shutdown => "shutdown",
        })
    }
}

/// The limit that a recycled worker has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Bytes of memory.
    Memory,
    /// Time in service, in milliseconds.
    Age,
    /// The number of connections received.
    Connections,
}

/// Why a worker is spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// To fill a slot at the start.
    Start,
    /// To replace a worker that ended or did not get ready.
    Restart,
    /// To replace a worker that retires.
    Retire,
    /// To replace a worker that is recycled.
    Recycle,
    /// To replace an unresponsive worker.
    Unresponsive,
    /// For a reload.
    Reload,
    /// At an operator's request.
    Operator,
    /// Because the number of slots has grown.
    Scale,
    /// As a standby.
    Standby,
}

/// A signal to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillSignal {
    /// SIGTERM, which a worker may handle.
    Term,
    /// SIGKILL, which ends it at once.
    Kill,
}

/// What happened to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It ended.
    Exited(ExitKind),
    /// It could not be spawned.
    NotSpawned {
        /// What failed, with the system's error.
        cause: String,
    },
    /// It was not ready in time.
    NotReady {
        /// The stage that it has not reached; `None` if it has, and others were waited for.
        missed: Option<ReadyWhen>,
    },
    /// It retired, or disconnected.
    Retired(Reason),
    /// Its event loop was blocked for too long.
    Unresponsive,
    /// It was cut off.
    CutOff,
}

impl Why {
    /// Whether it is a failure, and not the end of a worker that has finished.
    pub(super) fn is_failure(&self) -> bool {
        !matches!(self, Self::Exited(ExitKind::Code(0)) | Self::Retired(_))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(exit @ ExitKind::Code(_)) => write!(f, "it ended with {exit}"),
            // Other code aborts, too.
            Self::Exited(exit @ ExitKind::Signal(SIGABRT)) => {
                write!(f, "it ended by {exit}, as V8 does when its heap is out of memory")
            }
            Self::Exited(exit) => write!(f, "it ended by {exit}"),
            Self::NotSpawned { cause } => write!(f, "it could not be spawned: {cause}"),
            Self::NotReady { missed } => f.write_str(match missed {
                None | Some(ReadyWhen::Online) => "it was not ready in time",
                Some(ReadyWhen::Listening) => {
                    "it was not ready in time: none of its servers listens (a program without servers needs the option ready, as in --ready online)"
                }
                Some(ReadyWhen::Explicit) => {
                    "it was not ready in time: it has not called cluster.worker.ready()"
                }
            }),
            Self::Retired(reason) => write!(f, "it retired ({reason})"),
            Self::Unresponsive => f.write_str("its event loop stopped"),
            Self::CutOff => f.write_str("its link to the primary was cut"),
        }
    }
}

/// The phase in which a worker failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before it was ready.
    StartUp,
    /// After it was ready.
    Service,
}

/// The scope of a limit of restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One slot, or the standbys.
    Slot,
    /// All slots together.
    Total,
    /// A slot of a cluster in which no worker has ever been ready.
    StartUp,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// A new worker did not get ready.
    #[error("the new worker of {slot} did not get ready: {why}")]
    NotReady {
        /// The slot.
        slot: Slot,
        /// What happened to it.
        why: Why,
        /// The last lines of its stderr.
        stderr: StderrTail,
    },
    /// The cluster shuts down or has done so.
    #[error("the cluster is shut down")]
    ShutDown,
    /// It has not been started yet.
    #[error("the cluster is not started")]
    NotStarted,
    /// Another call of `scale()` requested another number.
    #[error("scaling to {wanted} workers was overtaken by scaling to {now}")]
    Superseded {
        /// The number requested here.
        wanted: u32,
        /// The number requested later.
        now: u32,
    },
    /// There is no such slot.
    #[error("there is no {slot}: the slots are 0 to {}", slots.saturating_sub(1))]
    NoSlot {
        /// The requested slot.
        slot: Slot,
        /// The number of slots.
        slots: u32,
    },
    /// The slot is empty.
    #[error("{slot} has no worker at the moment")]
    NoWorker {
        /// The slot that is empty.
        slot: Slot,
    },
    /// No other slot has a worker that is ready.
    #[error("{slot} is the only one that serves: scale up first, or stop the cluster")]
    LastSlot {
        /// The slot that serves alone.
        slot: Slot,
    },
    /// None of the slots that would stay has a worker.
    #[error(
        "{slot} serves, and none of the first {workers} slots does: restart one of them first, or reload"
    )]
    NoneLeft {
        /// A slot that serves and would be removed.
        slot: Slot,
        /// The requested number of slots.
        workers: u32,
    },
    /// A new worker has crashed during the reload, after it was ready.
    #[error("the new worker of {slot} did not stay up: {why}")]
    Crashed {
        /// The slot.
        slot: Slot,
        /// What happened to it.
        why: Why,
        /// The last lines of its stderr.
        stderr: StderrTail,
    },
    /// A reload is running, or ran meanwhile and failed.
    #[error("a reload is running, or has just failed: try again after it")]
    Reloading,
    /// The number of workers is out of range.
    #[error("the number of workers must be from 1 to {}, and is {workers}", super::MAX_WORKERS)]
    OutOfRange {
        /// The requested number.
        workers: u32,
    },
}

impl Failure {
    /// The last lines of stderr of the worker that failed.
    #[must_use]
    pub fn stderr(&self) -> Option<&[String]> {
        match self {
            Self::NotReady { stderr, .. } | Self::Crashed { stderr, .. } => stderr.as_deref(),
            _ => None,
        }
    }

    /// The error code, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotReady { .. } | Self::Crashed { .. } => "ERR_RCLUSTER_NOT_READY",
            Self::ShutDown => "ERR_RCLUSTER_SHUT_DOWN",
            Self::NotStarted => "ERR_RCLUSTER_NOT_STARTED",
            Self::Superseded { .. } => "ERR_RCLUSTER_SUPERSEDED",
            Self::NoSlot { .. } => "ERR_RCLUSTER_NO_SLOT",
            Self::NoWorker { .. } => "ERR_RCLUSTER_NO_WORKER",
            Self::LastSlot { .. } | Self::NoneLeft { .. } => "ERR_RCLUSTER_LAST_SLOT",
            Self::Reloading => "ERR_RCLUSTER_RELOADING",
            Self::OutOfRange { .. } => "ERR_OUT_OF_RANGE",
        }
    }
}
