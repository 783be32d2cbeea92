//! Gathers the metrics: the counts of the control thread, of the workers and of the dispatcher.

use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;

use super::http::HttpEvent;
use super::messages::ThreadEvent;
use super::operator::OperatorEvent;
use super::registries::{Answers, Gatherer};
use super::shell::Shell;
use crate::io::dispatcher::Report;
use rcluster_core::control::operator::{ClientId, Id};
use rcluster_core::control::supervise::ExitKind;
use rcluster_core::dispatch::ListenerStats;
use rcluster_core::http::Format;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::metrics::{Registries, SlotTotals, Snapshot, Spent, Totals, encode};

/// The control thread's own counts.
#[derive(Default)]
pub(super) struct Metrics {
    pub(super) totals: Totals,
    slots: SlotTotals,
    gatherer: Gatherer,
    registries: Registries,
}

impl Metrics {
    /// A worker has exited. `spent` is its final counts, if it had a slot and is supervised.
    pub(super) fn on_exit(
        &mut self,
        now: Duration,
        worker: WorkerId,
        exit: ExitKind,
        spent: Option<(Slot, Spent)>,
    ) {
        self.totals.on_exit(now, worker, exit);
        self.registries.on_exit(worker);
        if let Some((slot, spent)) = spent {
            self.slots.on_exit(slot, spent);
        }
    }

    /// Merges the workers' own metrics; `None` if they could not be queried. Returns the metrics of all
    /// workers, and the number of workers whose metrics are out of date. Answers of workers that have exited
    /// meanwhile are ignored: they are counted already.
    pub(super) fn on_gathered(
        &mut self,
        answers: Option<&Answers>,
        is_living: impl Fn(WorkerId) -> bool,
    ) -> (Registries, usize) {
        let Some(Answers { reports, missing }) = answers else {
            return (self.registries.clone(), self.registries.reporting());
        };
        let mut late = missing.iter().filter(|worker| is_living(**worker)).count();
        for (worker, text) in reports.iter().filter(|(worker, _)| is_living(*worker)) {
            late += usize::from(!self.registries.on_report(*worker, text));
        }
        (self.registries.clone(), late)
    }
}

impl Shell {
    /// All metrics as text. `None` if the cluster is not supervised.
    pub(super) fn metrics_text(&mut self, format: Format) -> Option<impl Future<Output = String> + use<>> {
        let document = self.document()?;
        let slots = self.metrics.slots.with(self.workers.spent());
        let gathered = self.metrics.gatherer.ask();
        let events = self.events.clone();
        let gathered = async move {
            let answers = gathered.await.ok();
            let (then, told) = oneshot::channel();
            // The send fails only if the control thread has stopped.
            let _stopped = events.send(ThreadEvent::Http(HttpEvent::Gathered { answers, then })).await;
            told.await.unwrap_or_default()
        };
        let totals = self.metrics.totals.clone();
        Some(async move {
            let ((status, report), (registries, missing)) = tokio::join!(document, gathered);
            let Report { listeners, workers, .. } = report.unwrap_or_default();
            let listeners: Vec<(&str, ListenerStats)> =
                listeners.iter().map(|it| (it.name.as_str(), it.stats)).collect();
            let snapshot = Snapshot {
                status: &status,
                totals: &totals,
                slots: &slots,
                listeners: &listeners,
                workers: &workers,
                registries: &registries,
                missing,
            };
            encode(&snapshot, format)
        })
    }

    /// Answers a client of the control socket.
    pub(super) fn find_metrics(&mut self, client: ClientId, id: Id) {
        let Some(text) = self.metrics_text(Format::OpenMetrics) else { return };
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let found = OperatorEvent::Found(client, id, Ok(json!({ "text": text.await })));
            // The send fails only if the control thread has stopped.
            let _stopped = events.send(ThreadEvent::Operator(found)).await;
        });
    }
}
