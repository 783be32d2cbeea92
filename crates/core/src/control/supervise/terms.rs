//! The terms in which supervision is spoken of: why workers start and end, and how.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::ids::Slot;

/// A moment, as the time since an arbitrary start. It must never go backwards.
pub type Time = Duration;

/// What a look at a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// How often its event loop has turned. Only whether this moves counts.
    pub turns: u64,
    /// Resident memory in bytes, if it could be read.
    pub rss: Option<u64>,
    /// Clients taken since it exists: without the connections that other workers have handed over to it.
    pub clients: u64,
    /// Connections open. Told when a drain takes too long.
    pub connections: u32,
}

/// Who asks a worker to retire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// It does so itself.
    Worker,
    /// The primary's app.
    Primary,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// By the kernel's SIGKILL, because the memory that the cluster may use was full.
    OutOfMemory,
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

/// The number of SIGABRT on Linux.
const SIGABRT: i32 = 6;

/// The names of those that end processes. The numbers are the same on all architectures that we support.
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
        9 => "SIGKILL",
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
    /// It was asked for in these words, by the worker or by the app: `uncaughtException`, `SIGTERM` …
    Asked(String),
    /// The app called `disconnect()`.
    Disconnect,
    /// It has become too big, too old, or has served enough.
    Recycle(Excess),
    /// A new one takes its place.
    Reload,
    /// Its slot is given up.
    Scale,
    /// Everything ends.
    Shutdown,
}

impl Reason {
    /// Whether the worker has got SIGTERM.
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
            Self::Scale => "scale",
            Self::Shutdown => "shutdown",
        })
    }
}

/// Of what a recycled worker had too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Bytes of memory.
    Memory,
    /// Time in service, in milliseconds.
    Age,
    /// Connections.
    Connections,
}

/// What a worker is spawned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// To fill a slot at the beginning.
    Start,
    /// In place of one that ended, or did not get ready.
    Restart,
    /// In place of one that retires.
    Retire,
    /// In place of one that is recycled.
    Recycle,
    /// In place of one that is unresponsive.
    Unresponsive,
    /// By a reload.
    Reload,
    /// Because there are to be more.
    Scale,
    /// To stand by.
    Standby,
}

/// Which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillSignal {
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
}

/// What has gone wrong with a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It ended.
    Exited(ExitKind),
    /// It could not be spawned.
    NotSpawned {
        /// What could not be done, and the system's error.
        cause: String,
    },
    /// It was not ready in time.
    NotReady,
    /// It retired, or disconnected.
    Retired(Reason),
    /// Its event loop stopped.
    Unresponsive,
    /// Its link to the primary was cut.
    CutOff,
}

impl Why {
    /// Whether something has gone wrong, as opposed to a worker that has done its work.
    pub(super) fn is_failure(&self) -> bool {
        !matches!(self, Self::Exited(ExitKind::Code(0)) | Self::Retired(_))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(exit @ ExitKind::Code(_)) => write!(f, "it ended with {exit}"),
            // Others abort, too.
            Self::Exited(exit @ ExitKind::Signal(SIGABRT)) => {
                write!(f, "it ended by {exit}, as V8 does when its heap is out of memory")
            }
            Self::Exited(exit) => write!(f, "it ended by {exit}"),
            Self::NotSpawned { cause } => write!(f, "it could not be spawned: {cause}"),
            Self::NotReady => f.write_str("it was not ready in time"),
            Self::Retired(reason) => write!(f, "it retired ({reason})"),
            Self::Unresponsive => f.write_str("its event loop stopped"),
            Self::CutOff => f.write_str("its link to the primary was cut"),
        }
    }
}

/// When a worker has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before it was ready.
    StartUp,
    /// After.
    Service,
}

/// Whose restarts are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of one slot, or of the standbys.
    Slot,
    /// All.
    Total,
    /// Those of a slot in a cluster of which no worker has ever been ready.
    StartUp,
}

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// A new worker did not get ready.
    #[error("the new worker of {slot} did not get ready: {why}")]
    NotReady {
        /// In which slot.
        slot: Slot,
        /// What happened to it.
        why: Why,
    },
    /// The cluster shuts down or has done so.
    #[error("the cluster is shut down")]
    ShutDown,
    /// It has not been started yet.
    #[error("the cluster is not started")]
    NotStarted,
    /// Another call of `scale()` wants another number.
    #[error("scaling to {wanted} workers was overtaken by scaling to {now}")]
    Superseded {
        /// What was asked for here.
        wanted: u32,
        /// What was asked for later.
        now: u32,
    },
    /// Not a number of workers that we could have.
    #[error("{workers} workers, where 1 to {} are possible", super::MAX_WORKERS)]
    OutOfRange {
        /// What was asked for.
        workers: u32,
    },
}
