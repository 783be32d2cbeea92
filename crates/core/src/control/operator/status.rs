//! The status document: the state of the whole cluster in one object. Counters only increase, and reading
//! resets nothing.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::exits::ExitReason;
use crate::control::supervise::{ExitKind, SlotState, SlotStats, Stats, Why};
use crate::dispatch::WorkerStats;
use crate::event_loop::{self, Turns};
use crate::frames::milliseconds;
use crate::ids::{ListenerId, Slot, WorkerId};
use crate::logs::last_error;
use crate::schedule::Policy;
use crate::store::remote::status::State;

/// The version of the document. Adding fields does not change it.
pub const SCHEMA: u32 = 1;

/// The document: see the module. Unknown values are null.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When supervision began, in ms since the epoch.
    pub started_at: u64,
    /// The versions of the package and of Node.
    pub versions: Versions,
    /// The primary's process.
    pub primary: PrimaryStatus,
    /// The number of usable CPUs, within the CPU mask and the container's quota.
    pub cpus: u32,
    /// The container's limits; null without control groups.
    pub cgroup: Option<CgroupStatus>,
    /// The cluster as in `stats()`. Its slots and leaving workers are below, with more fields.
    #[serde(flatten)]
    pub cluster: Cluster,
    /// The slots.
    pub slots: Vec<SlotStatus>,
    /// The workers that are about to end.
    pub draining: Vec<DrainingStatus>,
    /// Where metrics and probes are served; null if they are not.
    pub metrics: Option<String>,
    /// The listeners, except those whose socket all workers share; null if the dispatcher does not answer in
    /// time.
    pub listeners: Option<Vec<ListenerStatus>>,
    /// The shared stores that are open; null if their thread does not answer in time.
    pub stores: Option<Vec<StoreStatus>>,
    /// The dispatcher's counters; null if the dispatcher does not answer in time.
    pub dispatcher: Option<Value>,
    /// The counters of the log thread; null if workers write directly.
    pub logs: Option<Value>,
}

/// The limits and the usage of the primary's control group. Null for what is not limited or not counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CgroupStatus {
    /// The quota in CPUs, which may be a fraction.
    pub cpus: Option<f64>,
    /// The memory limit in bytes.
    pub memory_limit: Option<u64>,
    /// Bytes in use, including the page cache.
    pub memory_usage: Option<u64>,
    /// How long processes were throttled because the quota was used up, in ms.
    #[serde(serialize_with = "whole_ms")]
    pub throttled: Option<Duration>,
    /// How many processes the kernel has killed because the memory limit was reached.
    pub oom_kills: Option<u64>,
}

/// Properties of the whole cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in Stats")]
pub struct Cluster {
    pub generation: u32,
    pub workers: u32,
    pub ready: u32,
    pub processes: u32,
    pub standby: crate::control::supervise::Standbys,
    pub restarts: u64,
    pub reloading: bool,
    pub stopping: bool,
    pub shutting_down: bool,
}

/// The versions of the software.
#[derive(Clone, Debug, Serialize)]
pub struct Versions {
    /// The version of the package.
    pub rcluster: &'static str,
    /// The version of Node in the primary.
    pub node: String,
}

/// The primary.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrimaryStatus {
    /// Its process id.
    pub pid: u32,
    /// CPU time, memory and descriptors.
    #[serde(flatten)]
    pub figures: ProcessFigures,
    /// How long its event loop has been busy without polling for events, in ms.
    #[serde(serialize_with = "whole_ms")]
    pub blocked_ms: Option<Duration>,
}

/// The system's figures of a process. Null if it has ended or may not be inspected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessFigures {
    /// CPU time so far, in ms.
    pub cpu_ms: Option<u64>,
    /// Resident memory in bytes.
    pub memory: Option<u64>,
    /// Open descriptors.
    pub fds: Option<u32>,
}

/// A slot.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotStatus {
    /// The number of the slot, counted from 0.
    pub slot: Slot,
    /// Its state.
    pub state: SlotState,
    /// Its worker, starting or ready.
    pub worker: Option<WorkerId>,
    /// The worker that is starting to take its place.
    pub successor: Option<WorkerId>,
    /// Its worker's process.
    pub pid: Option<i32>,
    /// The generation of its worker.
    pub generation: Option<u32>,
    /// How long ago its worker was started, in ms.
    pub uptime: Option<u64>,
    /// How long its worker took to get ready, in ms.
    pub boot_ms: Option<u64>,
    /// How long its worker's event loop has been busy in total, in ms.
    pub busy: Option<f64>,
    /// The share of the last 5 to 10 s during which it was busy, from 0 to 1.
    pub elu: Option<f64>,
    /// The 99th percentile of the length of its turns in the last 5 to 10 s, in ms: how long an event may
    /// wait.
    #[serde(rename = "delayP99Ms")]
    pub delay_p99: Option<f64>,
    /// Whether its worker's event loop does not turn although it has something to do; null if that is unknown.
    pub blocked: Option<bool>,
    /// How long its worker has been blocked, in ms; null unless `unresponsiveAfter` is set.
    pub blocked_ms: Option<u64>,
    /// CPU time, memory and descriptors of its worker.
    #[serde(flatten)]
    pub figures: ProcessFigures,
    /// Open connections in its worker, as the worker reports them.
    pub connections: Option<u32>,
    /// Connections that its worker has received, as the worker reports them.
    pub clients: Option<u64>,
    /// Connections passed to its worker that its event loop has not received yet.
    pub in_flight: Option<u32>,
    /// The total number of restarts.
    pub restarts: u64,
    /// Consecutive failures without a healthy time in between.
    pub failures: u32,
    /// The time until its next worker is started, in ms; null if no start is scheduled.
    pub next_restart_ms: Option<u64>,
    /// The end of its last worker that has ended.
    pub last_exit: Option<LastExit>,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastExit {
    /// The worker.
    pub worker: WorkerId,
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The number of the signal, if a signal ended it.
    pub signal: Option<i32>,
    /// The reason, as one word.
    pub reason: ExitReason,
    /// The reason, in words.
    pub detail: String,
    /// The error that it printed last. `None` if there is none.
    pub error: Option<String>,
    /// The time, in ms since the epoch.
    pub at: u64,
    /// Its last lines of stderr. `None` if its stderr does not go through the primary.
    pub stderr_tail: Option<Vec<String>>,
}

/// A worker that is about to end.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainingStatus {
    /// The worker; null if it has no process yet.
    pub worker: Option<WorkerId>,
    /// The slot that it had; null for a standby.
    pub slot: Option<Slot>,
    /// Its process.
    pub pid: Option<i32>,
    /// Open connections, as it reports them.
    pub connections: Option<u32>,
    /// The time until it is forced to end, in ms; null once SIGKILL was sent.
    #[serde(rename = "deadlineMs", serialize_with = "whole_ms")]
    pub remaining: Option<Duration>,
}

#[cfg(test)]
impl Status {
    /// The document of a cluster about which nothing else is known.
    pub(crate) fn sample(stats: &Stats) -> Self {
        Self {
            schema: SCHEMA,
            started_at: 1500,
            versions: Versions { rcluster: "1.0.0", node: "26.1.0".into() },
            primary: PrimaryStatus { pid: 1, figures: ProcessFigures::default(), blocked_ms: None },
            cpus: 4,
            cgroup: None,
            cluster: Cluster::of(stats),
            slots: stats.slots.iter().map(SlotStatus::of).collect(),
            draining: Vec::new(),
            metrics: None,
            listeners: None,
            stores: None,
            dispatcher: None,
            logs: None,
        }
    }
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Its number, as in `dispatcher`.
    pub id: ListenerId,
    /// `address:port`, or its path.
    pub address: Option<String>,
    /// The policy of its scheduling.
    pub policy: Policy,
    /// The number of workers that listen on it.
    pub workers: usize,
    /// The total number of connections that the primary has accepted on it.
    pub accepted: u64,
    /// Accepted connections that wait for a worker.
    pub queue: usize,
    /// Connections in the kernel's backlog.
    pub backlog: Option<u32>,
    /// The limit of the backlog; the kernel drops connections beyond it.
    pub backlog_limit: Option<u32>,
}

/// A shared store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreStatus {
    /// Its name.
    pub name: String,
    /// The number of keys.
    pub keys: u64,
    /// Bytes of the current keys and values.
    pub bytes: u64,
    /// The limit of those bytes.
    pub limit: u64,
    /// Bytes of memory in use, including history and index.
    pub memory: u64,
    /// The revision of the last change.
    pub revision: u64,
    /// The number of evicted keys.
    pub evicted: u64,
    /// The number of expired keys.
    pub expired: u64,
    /// How many times processes have opened it.
    pub clients: usize,
    /// Its server, if it has one.
    pub backend: Option<BackendStatus>,
}

/// The server of a shared store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// The state of the link to it.
    pub state: State,
    /// Its URL, without the password.
    pub url: String,
    /// The number of unanswered requests.
    pub queued: u64,
    /// How often the connection was lost.
    pub disconnects: u64,
    /// How often the whole store was loaded.
    pub loads: u64,
    /// The last failure, until a write succeeds or the connection is made again.
    pub error: Option<String>,
}

/// The recent activity of a worker's event loop.
#[derive(Clone, Copy, Debug)]
pub struct RecentTurns {
    /// How long it was busy.
    pub busy: Duration,
    /// The time span.
    pub time: Duration,
    /// The lengths of its turns.
    pub turns: Turns,
}

impl Cluster {
    /// Takes the properties of the whole cluster from the statistics.
    #[must_use]
    pub fn of(stats: &Stats) -> Self {
        Self {
            generation: stats.generation,
            workers: stats.workers,
            ready: stats.ready,
            processes: stats.processes,
            standby: stats.standby,
            restarts: stats.restarts,
            reloading: stats.reloading,
            stopping: stats.stopping,
            shutting_down: stats.shutting_down,
        }
    }
}

impl SlotStatus {
    /// Takes the fields that the state machine knows. The shell fills in the rest.
    #[must_use]
    pub fn of(stats: &SlotStats) -> Self {
        let next_restart_ms = match stats.state {
            SlotState::BackingOff { remaining } => Some(milliseconds(remaining)),
            _ => None,
        };
        Self {
            slot: stats.slot,
            state: stats.state,
            worker: stats.worker,
            successor: stats.successor,
            pid: None,
            generation: stats.generation,
            uptime: stats.uptime.map(milliseconds),
            boot_ms: stats.boot.map(milliseconds),
            busy: None,
            elu: None,
            delay_p99: None,
            blocked: None,
            blocked_ms: stats.blocked.map(milliseconds),
            figures: ProcessFigures::default(),
            connections: None,
            clients: None,
            in_flight: None,
            restarts: stats.restarts,
            failures: stats.failures,
            next_restart_ms,
            last_exit: None,
        }
    }

    /// Fills in the recent activity of its worker's event loop.
    pub fn set_turns(&mut self, recent: &RecentTurns) {
        self.elu = event_loop::utilization(recent.busy, recent.time);
        let slowest = event_loop::quantile(&recent.turns, 0.99);
        self.delay_p99 = slowest.map(|delay| delay.as_secs_f64() * 1000.0);
    }

    /// Fills in the dispatcher's counts of its worker.
    pub fn set_passed(&mut self, workers: &[WorkerStats]) {
        let stats = workers.iter().find(|it| Some(it.worker) == self.worker);
        self.in_flight = stats.map(|it| it.in_flight);
    }
}

impl LastExit {
    /// Describes the end of a worker that has just ended.
    #[must_use]
    pub fn new(worker: WorkerId, exit: ExitKind, at: u64, stderr: Option<&[String]>) -> Self {
        let (code, signal) = exit.code_and_signal();
        let (reason, detail) = (ExitReason::of(exit, stderr), Why::Exited(exit).to_string());
        // What a worker that has ended well has printed is no reason.
        let failed = stderr.filter(|_| code != Some(0));
        let error = failed.and_then(last_error).map(str::to_owned);
        Self { worker, code, signal, reason, detail, error, at, stderr_tail: stderr.map(<[String]>::to_vec) }
    }
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn whole_ms<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(milliseconds).serialize(to)
}
