//! Gathers the metrics: the counts of the control thread, of the workers and of the dispatcher.

use std::time::Duration;

use serde_json::json;
use thiserror::Error;
use tokio::sync::oneshot;

use super::http::HttpEvent;
use super::merging::{Merger, Write};
use super::messages::ThreadEvent;
use super::operator::OperatorEvent;
use super::registries::Gatherer;
use super::shell::Shell;
use crate::io::dispatcher::Report;
use rcluster_core::control::operator::{ClientId, Id, Unavailable};
use rcluster_core::control::supervise::ExitKind;
use rcluster_core::dispatch::ListenerStats;
use rcluster_core::http::Format;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::metrics::{SlotTotals, Snapshot, Spent, Totals, encode};

/// The control thread's own counts.
#[derive(Default)]
pub(super) struct Metrics {
    pub(super) totals: Totals,
    slots: SlotTotals,
    gatherer: Gatherer,
    pub(super) merger: Merger,
}

/// The thread that merges the workers' own metrics could not be started, or has ended.
#[derive(Debug, Error)]
#[error("the metrics of the workers cannot be merged")]
pub(super) struct NotMerged;

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
        self.merger.on_exit(worker);
        if let Some((slot, spent)) = spent {
            self.slots.on_exit(slot, spent);
        }
    }
}

impl Shell {
    /// A worker leaves by agreement. It may be gone at the next scrape, so workers are asked for their metrics now.
    pub(super) fn on_agreed(&mut self, worker: WorkerId) {
        self.common.leaving.add(worker);
        self.metrics.totals.on_leaving(self.start().elapsed(), worker);
        if !self.http.is_listening() {
            return;
        }
        let gathered = self.metrics.gatherer.ask();
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let (answers, write) = (gathered.await.ok(), Write::new(|_, _| {}));
            // The send fails only if the control thread has stopped.
            let _stopped = events.send(ThreadEvent::Http(HttpEvent::Gathered { answers, write })).await;
        });
    }

    /// All metrics as text. `None` if the cluster is not supervised.
    pub(super) fn metrics_text(
        &mut self,
        format: Format,
    ) -> Option<impl Future<Output = Result<String, NotMerged>> + use<>> {
        let document = self.document()?;
        let slots = self.metrics.slots.with(self.workers.spent());
        let gathered = self.metrics.gatherer.ask();
        let events = self.events.clone();
        let totals = self.metrics.totals.clone();
        Some(async move {
            let ((status, report), answers) = tokio::join!(document, gathered);
            let (tell, told) = oneshot::channel();
            let write = Write::new(move |registries, missing| {
                if tell.is_closed() {
                    return;
                }
                let Report { listeners, workers, .. } = report.unwrap_or_default();
                let listeners: Vec<(&str, ListenerStats)> =
                    listeners.iter().map(|it| (it.name.as_str(), it.stats)).collect();
                let (status, totals, slots) = (&status, &totals, &slots);
                let (listeners, workers) = (&listeners, &workers);
                let snapshot = Snapshot { status, totals, slots, listeners, workers, registries, missing };
                // The send fails if the client is gone.
                let _gone = tell.send(encode(&snapshot, format));
            });
            // The send fails only if the control thread has stopped.
            let _stopped =
                events.send(ThreadEvent::Http(HttpEvent::Gathered { answers: answers.ok(), write })).await;
            told.await.map_err(|_| NotMerged)
        })
    }

    /// Answers a client of the control socket.
    pub(super) fn find_metrics(&mut self, client: ClientId, id: Id) {
        let Some(text) = self.metrics_text(Format::OpenMetrics) else { return };
        self.answer_in_turn(client, async move |handled| {
            let result = text
                .await
                .map(|text| json!({ "text": text }))
                .map_err(|error| Unavailable { code: "ERR_RCLUSTER_FAILED", message: error.to_string() });
            OperatorEvent::FoundInTurn(client, id, result, handled)
        });
    }
}
