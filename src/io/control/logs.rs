//! The control thread's part of logs: which workers write through the log thread, and what is done with their
//! lines.

use std::io::IsTerminal as _;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::launch::{Launch, Stdio};
use super::messages::Event;
use super::operator::OperatorEvent;
use super::shell::Shell;
use crate::io::logs::{Follow, LogStatus, Logs, Outputs, WorkerPipe};
use rcluster_core::control::Input;
use rcluster_core::control::operator::{ClientId, Id, Unavailable, Wanted};
use rcluster_core::control::supervise;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::logs::{Mode, Record, Stream};
use rcluster_sys::error::SysError;
use rcluster_sys::output::Output;

/// How long a worker's exit waits for its last output. The log thread reads without blocking, so that is
/// ample.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The maximum text of an answer, in bytes. The oldest lines are left out.
const MOST: usize = 512 << 10;

/// The number of batches of lines that may be queued for a client.
const BATCHES: usize = 2;

/// The streams that a worker writes to pipes of the log thread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Captured {
    stdout: bool,
    stderr: bool,
}

impl Captured {
    /// The stream with this descriptor, if it is captured.
    pub(super) fn stream(self, index: usize) -> Option<Stream> {
        match index {
            1 if self.stdout => Some(Stream::Stdout),
            2 if self.stderr => Some(Stream::Stderr),
            _ => None,
        }
    }
}

/// The log thread, once it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedLogs(Arc<OnceLock<Logs>>);

impl SharedLogs {
    pub(super) fn captured(&self) -> Captured {
        let captures = |stream| self.0.get().is_some_and(|logs| logs.captures(stream));
        Captured { stdout: captures(Stream::Stdout), stderr: captures(Stream::Stderr) }
    }

    pub(super) fn get(&self) -> Option<&Logs> {
        self.0.get()
    }

    pub(super) fn add(&self, worker: WorkerId, slot: Option<Slot>, pipes: Vec<WorkerPipe>) {
        if let Some(logs) = self.0.get().filter(|_| !pipes.is_empty()) {
            logs.add(worker, slot, pipes);
        }
    }

    /// Waits until all output of a worker that has exited has been read.
    pub(super) async fn finish(&self, worker: WorkerId) {
        if let Some(logs) = self.0.get() {
            // Lines that arrive later are not in the event, but are written all the same.
            let _late = tokio::time::timeout(LAST_LINES, logs.finish(worker)).await;
        }
    }

    /// A standby gets a slot.
    pub(super) fn promote(&self, worker: WorkerId, slot: Slot) {
        if let Some(logs) = self.0.get() {
            logs.promote(worker, slot);
        }
    }

    /// A worker has been reaped.
    pub(super) fn forget(&self, worker: WorkerId) {
        if let Some(logs) = self.0.get() {
            logs.forget(worker);
        }
    }

    pub(super) fn tail(&self, worker: WorkerId) -> Option<Arc<[String]>> {
        self.0.get()?.tail(worker)
    }

    pub(super) fn status(&self) -> Option<LogStatus> {
        self.0.get().map(Logs::status)
    }
}

impl Shell {
    /// Starts the log thread, if it is to capture the output of workers.
    pub(super) fn begin_logs(&mut self, mode: Mode, launch: &Launch) {
        match outputs(mode, launch) {
            Ok(Outputs { stdout: None, stderr: None }) => {}
            Ok(outputs) => {
                let tell = Arc::clone(&self.tell);
                let on_failure = move |why| tell(Event::Failed(why));
                match Logs::start(mode, outputs, on_failure) {
                    // Supervision starts only once, so this is not set yet.
                    Ok(logs) => drop(self.common.logs.0.set(logs)),
                    Err(error) => self.warn_of_logs(&error),
                }
            }
            Err(error) => self.warn_of_logs(&error),
        }
    }

    fn warn_of_logs(&self, error: &SysError) {
        let message = format!("Workers write to the primary's stdout and stderr by themselves: {error}");
        (self.tell)(Event::Warning { code: "RCLUSTER_LOGS", message });
    }

    /// Passes a worker's last lines to supervision, before the failure is handled.
    pub(super) fn note_stderr(&mut self, worker: WorkerId) {
        if let Some(lines) = self.common.logs.tail(worker) {
            self.tell_stderr(worker, lines);
        }
    }

    /// Passes these last lines of a worker to supervision.
    pub(super) fn tell_stderr(&mut self, worker: WorkerId, lines: Arc<[String]>) {
        self.input(Input::Supervise(supervise::Input::Stderr { worker, lines }));
    }

    /// Answers a client with the last lines, and subscribes it to new ones.
    pub(super) fn find_logs(&mut self, client: ClientId, id: Id, wanted: Wanted) {
        let Some(logs) = self.common.logs.get() else {
            let message = "the workers write directly to the stdout and stderr of the primary: read them there, or start the cluster with \
                 --logs prefix (the option logs)";
            let result = Err(Unavailable { code: "ERR_RCLUSTER_NO_LOGS", message: message.into() });
            let input = rcluster_core::control::operator::Input::Found { client, id, result };
            return self.answers.push_back(Input::Operator(input));
        };
        let (follow, lines) = if wanted.follow {
            let (to, lines) = mpsc::channel(BATCHES);
            let id = serde_json::to_string(&id).unwrap_or_else(|_| "null".into());
            (Some(Follow { slot: wanted.slot, id, to }), Some(lines))
        } else {
            (None, None)
        };
        let recent = logs.recent(wanted.slot, wanted.lines as usize, follow);
        self.answer_in_turn(client, async move |handled| {
            let result = recent.await.map(|lines| answer(&lines)).map_err(|_| Unavailable {
                code: "ERR_RCLUSTER_FAILED",
                message: "the log thread has ended".into(),
            });
            OperatorEvent::Logs(client, id, result, lines, handled)
        });
    }
}

/// The destinations for lines of workers that inherit the primary's streams.
fn outputs(mode: Mode, launch: &Launch) -> Result<Outputs, SysError> {
    let output = |stream, index| {
        let inherited: Option<&OwnedFd> = match launch.stdio.get(index) {
            Some(Stdio::Inherit(fd)) => Some(fd),
            _ => None,
        };
        inherited.filter(|fd| mode.captures(stream, fd.is_terminal())).map(Output::of).transpose()
    };
    Ok(Outputs { stdout: output(Stream::Stdout, 1)?, stderr: output(Stream::Stderr, 2)? })
}

/// The newest lines that fit into an answer.
fn answer(lines: &[Record]) -> Value {
    let mut room = MOST;
    let fits = |record: &&Record| {
        let has_room = room >= record.text.len();
        room = room.saturating_sub(record.text.len());
        has_room
    };
    let count = lines.iter().rev().take_while(fits).count();
    json!({ "lines": lines[lines.len() - count..] })
}
