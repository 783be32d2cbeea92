//! What the operator may choose.

use std::time::Duration;

/// The most workers and standbys there can be: far more than a machine has use for, and few enough
/// that a slip of the finger in `scale()` does not bring it down.
pub const MAX_WORKERS: u32 = 1024;

/// How a cluster is kept up.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How many slots there are; 1 to [`MAX_WORKERS`].
    pub workers: u32,
    /// How many booted workers wait without connections; 0 to [`MAX_WORKERS`].
    pub standby: u32,
    /// After which ends a worker is replaced.
    pub restart: RestartPolicy,
    /// Exit codes after which it is not, whatever `restart` says.
    pub stop_exit_codes: Vec<i32>,
    /// How many restarts one slot may have.
    pub restart_intensity: Intensity,
    /// How many all slots together may have.
    pub total_intensity: Intensity,
    /// How long to wait before a restart.
    pub backoff: Backoff,
    /// What to do once there have been too many.
    pub on_give_up: OnGiveUp,
    /// The primary's exit code after [`OnGiveUp::Exit`], and when no slot can serve any more.
    pub give_up_exit_code: i32,
    /// For how long starting workers is tried if none has ever been ready. None: for ever.
    pub start_up_limit: Option<Duration>,
    /// When a worker counts as ready.
    pub ready: ReadyWhen,
    /// A worker that is not ready by then has failed to start.
    pub ready_timeout: Duration,
    /// How long a worker may drain.
    pub drain_timeout: Duration,
    /// How long a worker has after SIGTERM before it gets SIGKILL.
    pub kill_timeout: Duration,
    /// How long the drain may take when we shut down because of [`OnGiveUp::Exit`].
    pub shutdown_timeout: Duration,
    /// How long the event loop of a worker may be blocked. None: it is not looked at.
    pub unresponsive_after: Option<Duration>,
    /// When a worker that is well is replaced all the same.
    pub recycle: Recycle,
    /// How often workers are looked at; at least 1 ms.
    pub sample_period: Duration,
}

impl Default for Options {
    /// One worker, and the documented defaults for all the rest.
    fn default() -> Self {
        Self {
            workers: 1,
            standby: 0,
            restart: RestartPolicy::Always,
            stop_exit_codes: Vec::new(),
            restart_intensity: Intensity { max: 60, period: Duration::from_secs(60) },
            total_intensity: Intensity { max: 60, period: Duration::from_secs(60) },
            backoff: Backoff::default(),
            on_give_up: OnGiveUp::Degrade,
            give_up_exit_code: 70,
            start_up_limit: Some(Duration::from_secs(60)),
            ready: ReadyWhen::Listening,
            ready_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(8),
            kill_timeout: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(8),
            unresponsive_after: None,
            recycle: Recycle::default(),
            sample_period: Duration::from_millis(50),
        }
    }
}

/// After which ends a worker is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// After any.
    Always,
    /// After all but exit code 0.
    OnFailure,
    /// After none. A worker that retires is not replaced either.
    Never,
}

/// At most `max` restarts in any `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// How many. 0: the first failure is one too many.
    pub max: u32,
    /// In how much time.
    pub period: Duration,
}

/// How long to wait before a restart: `initial`, then each time `factor` times as long, up to `max`.
/// The first few restarts of workers that had been ready do not wait at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first wait.
    pub initial: Duration,
    /// The longest.
    pub max: Duration,
    /// How fast it grows; at least 1.
    pub factor: f64,
    /// By which part of itself a wait may be longer or shorter; 0 to 1.
    pub jitter: f64,
    /// How many failures in a row of workers that had been ready are not waited for.
    pub immediate: u32,
    /// A worker that has been ready for so long wipes the slate clean.
    pub reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(15),
            factor: 2.0,
            jitter: 0.2,
            immediate: 5,
            reset_after: Duration::from_secs(1),
        }
    }
}

/// What to do once there have been too many restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGiveUp {
    /// Stay with fewer workers, as long as there is a slot that can have one.
    Degrade,
    /// Shut down, and have the primary exit.
    Exit,
}

/// When a worker counts as ready. What is more than is asked for counts, too: a worker that listens
/// is online, and one that says that it is ready knows best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyWhen {
    /// Its link is up.
    Online,
    /// Its first server is up.
    Listening,
    /// It says so, and only then.
    Explicit,
}

/// When a worker that is well is replaced all the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recycle {
    /// Bytes of resident memory.
    pub memory: Option<u64>,
    /// Time in service.
    pub age: Option<Duration>,
    /// Connections received.
    pub connections: Option<u64>,
    /// By which part of itself each limit differs from worker to worker; 0 to 1. Memory only goes
    /// down: a limit that some workers may exceed by a tenth is none.
    pub jitter: f64,
}

impl Default for Recycle {
    fn default() -> Self {
        Self { memory: None, age: None, connections: None, jitter: 0.1 }
    }
}
