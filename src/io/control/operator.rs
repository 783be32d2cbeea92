//! The control socket, to which `rcluster status`, `reload` and the other commands connect, as can any
//! program that speaks its protocol.
//!
//! The control thread serves it, so it answers while the primary's JavaScript is blocked.
//! [`rcluster_core::control::operator`] decides on requests and answers; this module has the sockets and
//! buffers. A client that does not read its answers is not read from, and one that does not read its events
//! is cut off, so clients cannot delay one another.

mod blocked;
mod client;
mod examine;
mod listener;
mod stack;
mod status;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use self::client::{Client, LAST_WRITE};
pub(super) use self::listener::Listener;
pub use self::stack::PrimaryStack;
use super::messages::{self, ThreadEvent};
use super::shell::Shell;
use super::stack::{NoStack, OnStack, STACK_LIMIT};
use super::workers::Workers;
use rcluster_core::control::Input;
use rcluster_core::control::operator::{
    self, ClientId, Exits, Facts, Id, LastExit, Place, Surroundings, Unavailable,
};
use rcluster_core::control::supervise::{Event, ExitKind};
use rcluster_core::examine::Examination;
use rcluster_core::frames::ToWorker;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_js::uv::BlockedClock;

/// What the control socket needs, gathered where supervision is requested.
#[derive(Debug)]
pub struct OperatorSetup {
    /// The environment and the process.
    pub surroundings: Surroundings,
    /// The version of Node.
    pub node: String,
    /// Reads the stack of the primary's JavaScript.
    pub stack: PrimaryStack,
    /// Measures for how long it has been blocked; `None` if that is not available.
    pub blocked: Option<BlockedClock>,
}

/// An event of the control socket.
#[derive(Debug)]
pub(super) enum OperatorEvent {
    /// An authorized client has connected.
    Accepted(UnixStream),
    Line(ClientId, Vec<u8>),
    TooLong(ClientId),
    Ended(ClientId),
    Gone(ClientId),
    /// The result of a client's request, or its error.
    Found(ClientId, Id, Result<Value, Unavailable>),
    /// The same for a result that may be long. The sender is dropped when it is in the client's outbox.
    FoundInTurn(ClientId, Id, Result<Value, Unavailable>, oneshot::Sender<()>),
    /// The same for the lines of workers, with the channel for further lines.
    Logs(ClientId, Id, Result<Value, Unavailable>, Option<mpsc::Receiver<String>>, oneshot::Sender<()>),
    /// The process (`None`: the primary) has finished an examination; `bool` is its success.
    Examined(Option<WorkerId>, Examination, bool),
    /// A piece of an examination's result. The sender is dropped when the piece is in the client's outbox.
    Piece(ClientId, Id, Vec<u8>, oneshot::Sender<()>),
}

/// The shell's state for the control socket.
#[derive(Default)]
pub(super) struct Operators {
    clients: HashMap<ClientId, Client>,
    accepted: u64,
    /// Accepts clients while it is kept.
    listener: Option<Listener>,
    setup: Option<OperatorSetup>,
    exits: Exits,
    /// Counts the processes under examination: one more reference for each.
    examinations: Arc<()>,
    /// When supervision started, in ms since the epoch.
    started_at: u64,
}

impl Operators {
    pub(super) fn on_exit(
        &mut self,
        worker: WorkerId,
        slot: Option<Slot>,
        exit: ExitKind,
        stderr: Option<&[String]>,
    ) {
        self.exits.on_exit(worker, slot, exit, status::wall_clock(), stderr);
    }

    /// A frame is being sent to a worker.
    pub(super) fn on_order(&mut self, worker: WorkerId, frame: &ToWorker, workers: &Workers) {
        if let ToWorker::Drain(order) = frame
            && workers.contains(worker)
        {
            self.exits.on_drain(worker, &order.reason);
        }
    }

    /// How the last worker of a slot exited.
    pub(super) fn last_exit(&self, slot: Slot) -> Option<&LastExit> {
        self.exits.of(slot)
    }

    pub(super) fn on_event(&mut self, event: &Event, workers: &Workers) {
        self.exits.on_event(event, |worker| workers.contains(worker));
    }
}

impl Shell {
    /// Opens the control socket at the best available place. The cluster runs regardless of failure.
    pub(super) fn open_control_socket(&mut self, chosen: &str, setup: OperatorSetup) {
        self.operators.started_at = status::wall_clock();
        let places = Place::candidates(chosen, &setup.surroundings);
        match Listener::open(&places, &self.events) {
            Ok((listener, file)) => {
                self.common.control_file.set(file);
                self.operators.listener = Some(listener);
            }
            Err(None) => {}
            Err(Some(warning)) => (self.tell)(warning),
        }
        self.operators.setup = Some(setup);
    }

    pub(super) fn on_operator_event(&mut self, event: OperatorEvent) {
        match event {
            OperatorEvent::Accepted(stream) => {
                let id = ClientId(self.operators.accepted);
                self.operators.accepted += 1;
                self.operators.clients.insert(id, Client::start(id, stream, &self.events));
                self.operate(operator::Input::Connected(id));
            }
            OperatorEvent::Line(client, line) => {
                let facts = self.facts();
                self.operate(operator::Input::Line { client, line, facts });
                if let Some(client) = self.operators.clients.get(&client) {
                    client.on_handled();
                }
            }
            OperatorEvent::TooLong(client) => self.operate(operator::Input::TooLong(client)),
            OperatorEvent::Ended(client) => self.operate(operator::Input::Ended(client)),
            OperatorEvent::Gone(client) => self.lose_client(client),
            OperatorEvent::Found(client, id, result) => {
                self.operate(operator::Input::Found { client, id, result });
            }
            OperatorEvent::FoundInTurn(client, id, result, handled) => {
                self.operate(operator::Input::Found { client, id, result });
                drop(handled);
            }
            OperatorEvent::Logs(client, id, result, lines, handled) => {
                self.operate(operator::Input::Found { client, id, result });
                drop(handled);
                if let Some(client) = self.operators.clients.get_mut(&client) {
                    client.follow(lines);
                }
            }
            OperatorEvent::Examined(worker, what, succeeded) => {
                self.operate(operator::Input::Examined { worker, what, succeeded });
            }
            OperatorEvent::Piece(client, id, bytes, handled) => {
                self.operate(operator::Input::Piece { client, id, bytes });
                drop(handled);
            }
        }
    }

    fn facts(&self) -> Facts {
        Facts { pid: std::process::id(), cpus: self.limits.cpus() }
    }

    fn operate(&mut self, input: operator::Input) {
        self.input(Input::Operator(input));
    }

    fn lose_client(&mut self, client: ClientId) {
        if self.operators.clients.remove(&client).is_some() {
            self.answers.push_back(Input::Operator(operator::Input::Gone(client)));
            self.give_answers();
        }
    }

    /// Carries out an output of the brain for the control socket.
    pub(super) fn carry_out_operator(&mut self, output: operator::Output) {
        match output {
            operator::Output::Line(client, line) => {
                let sent = self.operators.clients.get(&client).is_none_or(|it| it.send(&line));
                if !sent {
                    self.operators.clients.remove(&client);
                    self.answers.push_back(Input::Operator(operator::Input::Gone(client)));
                }
            }
            operator::Output::HangUp(client) => {
                if let Some(client) = self.operators.clients.remove(&client) {
                    client.hang_up();
                }
            }
            operator::Output::Logs(client, id, wanted) => self.find_logs(client, id, wanted),
            operator::Output::Status(client, id) => self.find_status(client, id),
            operator::Output::Metrics(client, id) => self.find_metrics(client, id),
            operator::Output::Stack(client, id, None) => self.find_primary_stack(client, id),
            operator::Output::Stack(client, id, Some(worker)) => self.find_stack(client, id, worker),
            operator::Output::Examine { client, id, worker, what } => self.examine(client, id, worker, what),
        }
    }

    /// Ends the primary once its clients have received their output: one of them waits for the answer to its
    /// `stop`.
    pub(super) fn stop_primary(&self, code: i32) {
        let outboxes: Vec<_> = self.operators.clients.values().map(Client::outbox).collect();
        let news = self.news.clone();
        tokio::task::spawn_local(async move {
            let written = async {
                for outbox in outboxes {
                    outbox.until_written().await;
                }
            };
            // The primary does not wait longer for a client that does not read.
            let _in_time = tokio::time::timeout(LAST_WRITE, written).await;
            news.tell(messages::Event::StopPrimary { code });
        });
    }

    /// Answers a client with a result that may be long. Until the client has read the answers before it, nothing is written
    /// that would wait in its outbox.
    pub(super) fn answer_in_turn(
        &mut self,
        client: ClientId,
        make: impl AsyncFnOnce(oneshot::Sender<()>) -> OperatorEvent + 'static,
    ) {
        let Some(it) = self.operators.clients.get_mut(&client) else { return };
        let (outbox, events) = (it.outbox(), self.events.clone());
        let task = tokio::task::spawn_local(async move {
            let _turn = outbox.turn().await;
            let (handled, is_handled) = oneshot::channel();
            send(events, make(handled).await).await;
            let _dropped = is_handled.await;
        });
        it.add_task(task.abort_handle());
    }

    fn find_stack(&self, client: ClientId, id: Id, worker: WorkerId) {
        let events = self.events.clone();
        let then = OnStack::new(move |stack| {
            let found =
                OperatorEvent::Found(client, id, stack.map(Value::String).map_err(|why| no_stack(&why)));
            // In a task, because this thread must not block on its own queue. The requester has a time limit
            // of its own.
            tokio::task::spawn_local(send(events, found));
        });
        self.workers.capture_stack(worker, STACK_LIMIT, then);
    }

    fn find_primary_stack(&self, client: ClientId, id: Id) {
        let Some(setup) = &self.operators.setup else { return };
        let (events, stack) = (self.events.clone(), setup.stack.ask());
        tokio::task::spawn_local(async move {
            let stack = tokio::time::timeout(STACK_LIMIT, stack).await;
            let stack = stack.unwrap_or_else(|_| {
                Err("the process is not running JavaScript: it is idle, in native code, or stopped".into())
            });
            let result = stack
                .map(Value::String)
                .map_err(|message| Unavailable { code: "ERR_RCLUSTER_NO_STACK", message });
            send(events, OperatorEvent::Found(client, id, result)).await;
        });
    }
}

fn no_stack(why: &NoStack) -> Unavailable {
    Unavailable { code: "ERR_RCLUSTER_NO_STACK", message: why.to_string() }
}

/// Sends an event to the control thread, from one of its tasks.
pub(super) async fn send(events: mpsc::Sender<ThreadEvent>, event: OperatorEvent) {
    // The send fails only if the control thread has stopped.
    let _stopped = events.send(ThreadEvent::Operator(event)).await;
}
