//! Carries out the requests of operators.

use std::time::Duration;

use serde_json::json;

use super::operator::{self, ClientId, Facts, Request, Target, VERBS, VERSION, Verb};
use super::supervise::Failure;
use super::{Control, supervise};
use crate::examine::Examination;
use crate::ids::{Slot, WorkerId};

/// How long a heap snapshot may block a worker.
const HEAP_LIMIT: Duration = Duration::from_secs(600);

impl Control {
    pub(super) fn on_operator(&mut self, input: operator::Input) {
        match input {
            operator::Input::Connected(client) => self.operators.on_connected(self.now, client),
            operator::Input::Line { client, line, facts } => {
                if let Some(request) = self.operators.on_line(self.now, client, &line) {
                    self.operate(client, request, facts);
                }
            }
            operator::Input::TooLong(client) => self.operators.on_too_long(client),
            operator::Input::Ended(client) => self.operators.on_ended(client),
            operator::Input::Gone(client) => self.operators.on_gone(client),
            operator::Input::Piece { client, id, bytes } => self.operators.on_piece(client, &id, &bytes),
            operator::Input::Examined { worker, what, succeeded } => {
                let worker = worker.filter(|_| succeeded || what == Examination::Heap);
                let until = match what {
                    Examination::Heap | Examination::CloseInspector => None,
                    // A debugger stops it for an unlimited time.
                    Examination::Inspect => Some(Duration::MAX),
                    Examination::Profile { .. } | Examination::Env => return,
                };
                self.excuse(worker, until);
            }
            operator::Input::Found { client, id, result } => self.operators.on_found(client, &id, result),
        }
    }

    fn operate(&mut self, client: ClientId, Request { id, verb }: Request, facts: Facts) {
        let Some(supervise) = self.supervision.get() else {
            let failure = Failure::NotStarted;
            return self.operators.fail(client, &id, failure.code(), &failure.to_string());
        };
        let options = supervise.options();
        match verb {
            Verb::Hello => {
                let result = json!({
                    "protocol": VERSION,
                    "rcluster": env!("CARGO_PKG_VERSION"),
                    "pid": facts.pid,
                    "verbs": VERBS,
                });
                self.operators.succeed(client, &id, Some(result));
            }
            Verb::Status => self.operators.ask(operator::Output::Status(client, id)),
            Verb::Metrics => self.operators.ask(operator::Output::Metrics(client, id)),
            Verb::Watch => self.operators.watch(client, &id, true),
            Verb::Unwatch => self.operators.watch(client, &id, false),
            Verb::Stack(target) => match worker_at(supervise, target, self.now) {
                Ok(worker) => self.operators.ask(operator::Output::Stack(client, id, worker)),
                Err(failure) => self.operators.fail(client, &id, failure.code(), &failure.to_string()),
            },
            Verb::Examine(target, what) => match worker_at(supervise, target, self.now) {
                Ok(worker) => {
                    if what == Examination::Heap {
                        self.excuse(worker, Some(self.now.saturating_add(HEAP_LIMIT)));
                    }
                    self.operators.ask(operator::Output::Examine { client, id, worker, what });
                }
                Err(failure) => self.operators.fail(client, &id, failure.code(), &failure.to_string()),
            },
            Verb::Logs(wanted) => {
                let slots = supervise.stats(self.now).workers;
                match wanted.slot.filter(|slot| slot.0 >= slots) {
                    None => self.operators.ask(operator::Output::Logs(client, id, wanted)),
                    Some(slot) => {
                        let failure = Failure::NoSlot { slot, slots };
                        self.operators.fail(client, &id, failure.code(), &failure.to_string());
                    }
                }
            }
            Verb::Scale(workers) => {
                let count = workers.count(supervise.stats(self.now).workers, facts.cpus);
                self.ask(client, id, None, |request| supervise::Input::Scale { workers: count, request });
                if workers == operator::Workers::Auto {
                    self.supervise(supervise::Input::FollowCpus);
                }
            }
            Verb::Reload { concurrency } => {
                let concurrency = concurrency.unwrap_or(options.reload_concurrency);
                self.ask(client, id, None, |request| supervise::Input::Reload { concurrency, request });
            }
            Verb::Restart(slot) => {
                self.ask(client, id, Some(slot), |request| supervise::Input::Restart { slot, request });
            }
            Verb::Drain(slot) => {
                self.ask(client, id, Some(slot), |request| supervise::Input::DrainSlot { slot, request });
            }
            Verb::Stop { delay, timeout } => {
                let delay = delay.unwrap_or(options.shutdown_delay);
                let timeout = timeout.unwrap_or(options.shutdown_timeout);
                let request = self.operators.begin(client, id, None, true);
                self.supervise(supervise::Input::Shutdown { delay, timeout, request });
            }
        }
    }

    /// Until then the worker does not count as unresponsive.
    fn excuse(&mut self, worker: Option<WorkerId>, until: Option<Duration>) {
        if let Some(worker) = worker {
            self.supervise(supervise::Input::Excuse { worker, until });
        }
    }

    fn ask(
        &mut self,
        client: ClientId,
        id: operator::Id,
        slot: Option<Slot>,
        input: impl FnOnce(crate::ids::Request) -> supervise::Input,
    ) {
        let request = self.operators.begin(client, id, slot, false);
        self.supervise(input(request));
    }
}

/// The worker in question; `None` for the primary.
fn worker_at(
    supervise: &supervise::Supervise,
    target: Target,
    now: Duration,
) -> Result<Option<WorkerId>, Failure> {
    let Target::Slot(slot) = target else { return Ok(None) };
    let stats = supervise.stats(now);
    let found = stats.slots.iter().find(|it| it.slot == slot);
    let found = found.ok_or(Failure::NoSlot { slot, slots: stats.workers })?;
    found.worker.map(Some).ok_or(Failure::NoWorker { slot })
}
