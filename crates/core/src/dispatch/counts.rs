//! What has been done with connections, for whoever runs the application.

use serde::Serialize;

use crate::ids::{ListenerId, Slot, WorkerId};

/// What became of the connections of one listener, or of those of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Accepted from clients. A worker has none.
    pub accepted: u64,
    /// Sent to workers. One that came back and was sent again counts twice.
    pub passed: u64,
    /// Accepted when nobody was ready, so that they had to wait. A worker has none.
    pub queued: u64,
    /// Reset, or answered, because nobody was ready. A worker has none.
    pub shed: u64,
    /// Taken back from a worker that had not received them.
    pub reclaimed: u64,
    /// Given back by a worker that could not take them.
    pub returned: u64,
    /// Handed over by a worker that drains, open and idle, to go on with another one.
    pub handed_over: u64,
}

/// One listener at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStats {
    /// Which.
    #[serde(rename = "id")]
    pub listener: ListenerId,
    /// Connections that wait for a worker, the backlog not counted.
    pub waiting: usize,
    /// Workers that listen there.
    pub workers: usize,
    /// Since it was opened.
    #[serde(flatten)]
    pub counts: Counts,
}

/// One worker at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStats {
    /// Which.
    #[serde(rename = "id")]
    pub worker: WorkerId,
    /// Its slot; none once it leaves.
    pub slot: Option<Slot>,
    /// Connections that were sent and that it has not received yet.
    pub in_flight: u32,
    /// Connections that it says it has open.
    pub open: u32,
    /// Its event loop stands still although something waits for it.
    pub blocked: bool,
    /// Since it was added.
    #[serde(flatten)]
    pub counts: Counts,
}

/// All at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// In the order in which they were opened.
    pub listeners: Vec<ListenerStats>,
    /// In the order in which they were added.
    pub workers: Vec<WorkerStats>,
}
