//! Counters of connections, for operators.

use serde::Serialize;

use crate::ids::{ListenerId, Slot, WorkerId};

/// Counts of the connections of one listener, or of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Accepted from clients. Always 0 for a worker.
    pub accepted: u64,
    /// Sent to workers. A connection that was reclaimed or returned and sent again counts twice.
    pub passed: u64,
    /// Accepted while no worker was ready, so that they had to wait. Always 0 for a worker.
    pub queued: u64,
    /// Reset or answered because no worker was ready. Always 0 for a worker.
    pub shed: u64,
    /// Reclaimed from a worker that had not received them.
    pub reclaimed: u64,
    /// Returned by a worker that could not take them.
    pub returned: u64,
    /// Handed over by a draining worker, open and idle, to continue with another one.
    pub handed_over: u64,
}

/// The statistics of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStats {
    /// The number of the listener.
    #[serde(rename = "id")]
    pub listener: ListenerId,
    /// Connections that wait for a worker, without the backlog.
    pub waiting: usize,
    /// The number of workers that listen on it.
    pub workers: usize,
    /// Counts since it was opened.
    #[serde(flatten)]
    pub counts: Counts,
}

/// The statistics of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStats {
    /// The number of the worker.
    #[serde(rename = "id")]
    pub worker: WorkerId,
    /// Its slot; none once it is leaving.
    pub slot: Option<Slot>,
    /// Connections sent and not yet received.
    pub in_flight: u32,
    /// Open connections, as it reports them.
    pub open: u32,
    /// Whether its event loop does not turn although something waits for it.
    pub blocked: bool,
    /// Counts since it was added.
    #[serde(flatten)]
    pub counts: Counts,
}

/// The statistics of the dispatcher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// In the order in which they were opened.
    pub listeners: Vec<ListenerStats>,
    /// In the order in which they were added.
    pub workers: Vec<WorkerStats>,
}
