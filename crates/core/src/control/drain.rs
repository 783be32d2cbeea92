//! The order to drain, and what comes before it.

use std::time::Duration;

use super::supervise::{KillSignal, Reason};
use super::{Control, Output, listeners};
use crate::frames::{Drain, ToWorker, milliseconds};
use crate::ids::WorkerId;

impl Control {
    /// Orders a worker to drain. It gets nothing more from now on, even before it receives the order.
    pub(super) fn drain(&mut self, worker: WorkerId, reason: &Reason, timeout: Duration) {
        self.say(Output::Agree(worker));
        let order = Drain { reason: reason.to_string(), timeout_ms: milliseconds(timeout) };
        if *reason == Reason::Shutdown {
            // All workers drain, so the connections that wait for this one cannot go to another worker: they are
            // passed to it first.
            return self.say(Output::LastCall(worker, order));
        }
        self.say(Output::StopForwarding(worker));
        if self.is_external(worker) {
            self.say(Output::Kill(worker, KillSignal::Term));
        } else {
            self.say(Output::Send(worker, ToWorker::Drain(order)));
        }
        self.withdraw(worker);
        let replaced =
            !matches!(reason, Reason::Scale | Reason::Drain) && self.supervision.has_worker_or_will();
        let input = if replaced {
            listeners::Input::WorkerReplaced { worker }
        } else {
            listeners::Input::WorkerLeaving { worker }
        };
        self.leave_listeners(input, worker);
    }

    fn is_external(&self, worker: WorkerId) -> bool {
        self.workers.get(worker).is_some_and(|it| it.external)
    }

    /// Nothing waits for a worker any more. One that runs Node reports when it leaves.
    pub(super) fn on_last_called(&mut self, worker: WorkerId, order: Drain) {
        if !self.is_external(worker) {
            return self.say(Output::Send(worker, ToWorker::Drain(order)));
        }
        self.say(Output::Kill(worker, KillSignal::Term));
        self.withdraw(worker);
        self.leave_listeners(listeners::Input::WorkerLeaving { worker }, worker);
    }
}
