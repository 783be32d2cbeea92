//! Gathers the status document.

use std::sync::mpsc::channel as answer;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use super::OperatorEvent;
use crate::io::barrier::Barrier;
use crate::io::control::shell::Shell;
use crate::io::control::worker::WorkerHandle;
use crate::io::dispatcher::{Command as ToDispatcher, ListenerReport, Report};
use crate::io::store;
use rcluster_core::control::operator::{
    ClientId, Cluster, DrainingStatus, Id, ListenerStatus, PrimaryStatus, ProcessFigures, SCHEMA, SlotStatus,
    Status, StoreStatus, Unavailable, Versions,
};
use rcluster_core::control::supervise::Stats;
use rcluster_core::ids::WorkerId;
use rcluster_sys::figures::Figures;

/// How long another thread may take to report.
const LIMIT: Duration = Duration::from_millis(500);

impl Shell {
    pub(super) fn find_status(&mut self, client: ClientId, id: Id) {
        let Some(status) = self.whole_status() else { return };
        self.answer_in_turn(client, async move |handled| {
            let found = serde_json::to_value(status.await)
                .map_err(|error| Unavailable { code: "ERR_RCLUSTER_FAILED", message: error.to_string() });
            OperatorEvent::FoundInTurn(client, id, found, handled)
        });
    }

    /// The status document with everything in it. `None` if the cluster is not supervised.
    pub(in crate::io::control) fn whole_status(&mut self) -> Option<impl Future<Output = Status> + use<>> {
        let document = self.document()?;
        let blocked = self.blocked_workers();
        Some(async move {
            let ((mut status, _), blocked) = tokio::join!(document, blocked);
            // Other workers are no Node, or are still starting.
            for slot in status.slots.iter_mut().filter(|slot| slot.busy.is_some()) {
                slot.blocked = slot.worker.map(|worker| blocked.contains(&worker));
            }
            status
        })
    }

    /// The status document without the blocked workers, and the dispatcher's report for it. `None` if the cluster is not supervised.
    pub(in crate::io::control) fn document(
        &self,
    ) -> Option<impl Future<Output = (Status, Option<Report>)> + use<>> {
        let mut document = self.status(&self.stats()?);
        let (report, stores) = (self.dispatcher_report(), stores());
        Some(async move {
            let (report, stores) = tokio::join!(report, stores);
            document.stores = stores;
            if let Some(report) = &report {
                add(&mut document, report);
            }
            (document, report)
        })
    }

    /// The dispatcher's report; `None` if it does not arrive in time.
    fn dispatcher_report(&self) -> impl Future<Output = Option<Report>> + use<> {
        // The dispatcher runs the barrier right after the report.
        let (report, reported) = answer();
        let (tell, told) = oneshot::channel();
        self.common.dispatcher.tell(ToDispatcher::Report(report));
        self.common.dispatcher.tell(ToDispatcher::Barrier(Barrier::new(move || {
            // The send fails if the requester did not wait.
            let _late = tell.send(reported.try_recv().ok());
        })));
        async move { in_time(told).await.flatten() }
    }

    fn status(&self, stats: &Stats) -> Status {
        let pid = std::process::id();
        let node = self.operators.setup.as_ref().map(|setup| setup.node.clone()).unwrap_or_default();
        Status {
            schema: SCHEMA,
            started_at: self.operators.started_at,
            versions: Versions { rcluster: env!("CARGO_PKG_VERSION"), node },
            primary: PrimaryStatus {
                pid,
                figures: figures(pid.cast_signed()),
                blocked_ms: self.blocked_for(),
            },
            cpus: self.limits.cpus(),
            cgroup: self.limits.status(),
            cluster: Cluster::of(stats),
            slots: stats.slots.iter().map(|slot| self.slot_status(SlotStatus::of(slot))).collect(),
            draining: self.draining(stats),
            metrics: self.http.address().map(ToString::to_string),
            listeners: None,
            stores: None,
            dispatcher: None,
            logs: self.common.logs.status().and_then(|status| serde_json::to_value(status).ok()),
        }
    }

    /// For how long the primary's JavaScript has been blocked.
    pub(in crate::io::control) fn blocked_for(&self) -> Option<Duration> {
        self.operators.setup.as_ref()?.blocked.as_ref()?.blocked_for()
    }

    fn slot_status(&self, mut status: SlotStatus) -> SlotStatus {
        status.last_exit = self.operators.last_exit(status.slot).cloned();
        if let Some(handle) = self.handle_of(status.worker) {
            status.pid = handle.pid();
            status.busy = handle.busy().map(|busy| busy.as_secs_f64() * 1000.0);
            status.figures = status.pid.map(figures).unwrap_or_default();
            let vitals = handle.vitals();
            status.connections = vitals.map(|vitals| vitals.connections);
            status.clients = vitals.map(|vitals| vitals.clients);
            if let Some(recent) = handle.recent_turns() {
                status.set_turns(&recent);
            }
        }
        status
    }

    fn draining(&self, stats: &Stats) -> Vec<DrainingStatus> {
        let describe = |leaving: &rcluster_core::control::supervise::LeavingStats| {
            let handle = self.handle_of(leaving.worker);
            DrainingStatus {
                worker: leaving.worker,
                slot: leaving.slot,
                pid: handle.and_then(WorkerHandle::pid),
                connections: handle.and_then(WorkerHandle::vitals).map(|vitals| vitals.connections),
                remaining: leaving.remaining,
            }
        };
        stats.leaving.iter().map(describe).collect()
    }

    fn handle_of(&self, worker: Option<WorkerId>) -> Option<&WorkerHandle> {
        worker.and_then(|worker| self.workers.get(worker))
    }
}

/// The status of all shared stores; `None` if their thread does not report in time.
fn stores() -> impl Future<Output = Option<Vec<StoreStatus>>> + use<> {
    let (tell, told) = oneshot::channel();
    store::report(move |all| {
        // The send fails if the requester did not wait.
        let _late = tell.send(all);
    });
    in_time(told)
}

/// Another thread's report; `None` if it does not arrive in time, or the thread has failed.
async fn in_time<T>(told: oneshot::Receiver<T>) -> Option<T> {
    tokio::time::timeout(LIMIT, told).await.ok()?.ok()
}

/// Adds the dispatcher's report to the document.
fn add(document: &mut Status, report: &Report) {
    let listener = |ListenerReport { stats, sockets, .. }: &ListenerReport| ListenerStatus {
        id: stats.listener,
        address: sockets.address.clone(),
        policy: sockets.policy,
        workers: stats.workers,
        accepted: stats.counts.accepted,
        queue: stats.waiting,
        backlog: sockets.backlog.map(|backlog| backlog.waiting),
        backlog_limit: sockets.backlog.map(|backlog| backlog.limit),
    };
    document.listeners = Some(report.listeners.iter().map(listener).collect());
    for slot in &mut document.slots {
        slot.set_passed(&report.workers);
    }
    document.dispatcher = serde_json::to_value(report).ok();
}

fn figures(pid: i32) -> ProcessFigures {
    let Figures { cpu_ms, memory, fds } = Figures::of(pid);
    ProcessFigures { cpu_ms, memory, fds }
}

/// In ms since the epoch.
pub(in crate::io::control) fn wall_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
