//! The events of the control thread, as JavaScript gets them.

use std::os::fd::IntoRawFd;

use napi::bindgen_prelude::Either8 as Either;
use napi_derive::napi;
use serde_json::{Value, json};

use super::launch::numbers;
use super::processes::Processes;
use super::supervision;
use crate::io::control::Event;
use rcluster_core::control::supervise::ExitKind;
use rcluster_sys::exit::SIGKILL;

/// A worker has exited and has been reaped.
#[napi(object, object_from_js = false)]
pub struct ExitEvent {
    /// Always `exit`.
    #[napi(ts_type = "'exit'")]
    pub kind: &'static str,
    /// The worker's number.
    pub id: u32,
    /// Its exit code; 0 when a signal ended it.
    pub code: i32,
    /// The number of the signal that ended it, or 0.
    pub signal: i32,
}

/// A warning for the operator.
#[napi(object, object_from_js = false)]
pub struct WarningEvent {
    /// Always `warning`.
    #[napi(ts_type = "'warning'")]
    pub kind: &'static str,
    /// Its code, `RCLUSTER_…`.
    pub code: &'static str,
    /// A description.
    pub message: String,
}

/// The native part has failed permanently.
#[napi(object, object_from_js = false)]
pub struct FailureEvent {
    /// Always `failed`.
    #[napi(ts_type = "'failed'")]
    pub kind: &'static str,
    /// A description.
    pub message: String,
}

/// Supervision has started a worker, for which JavaScript must create its object.
#[napi(object, object_from_js = false)]
pub struct SpawnedEvent {
    /// Always `spawned`.
    #[napi(ts_type = "'spawned'")]
    pub kind: &'static str,
    /// The worker's number.
    pub id: u32,
    /// Its slot; none for a standby.
    pub slot: Option<u32>,
    /// Its process id.
    pub pid: i32,
    /// The primary's ends of the pipes, indexed as in `stdio`; -1 for other descriptors.
    pub fds: Vec<i32>,
    /// The port of its inspector, if it has one of its own.
    pub inspect_port: Option<String>,
}

/// An event of supervision, or an answer.
#[napi(object, object_from_js = false)]
pub struct SupervisionEvent {
    /// Always `supervision`.
    #[napi(ts_type = "'supervision'")]
    pub kind: &'static str,
    /// The event or answer, as JSON.
    pub text: String,
}

/// JavaScript must choose workers for connections, and call `answer()`.
#[napi(object, object_from_js = false)]
pub struct HookEvent {
    /// Always `hook`.
    #[napi(ts_type = "'hook'")]
    pub kind: &'static str,
    /// The connections, as JSON.
    pub text: String,
}

/// Children have ended and have not been reaped: JavaScript must call `reapOrphans()`.
#[napi(object, object_from_js = false)]
pub struct OrphansEvent {
    /// Always `orphans`.
    #[napi(ts_type = "'orphans'")]
    pub kind: &'static str,
    /// Their process ids.
    pub pids: Vec<i32>,
}

/// This process's JavaScript is requested to report on itself.
#[napi(object, object_from_js = false)]
pub struct ExamineEvent {
    /// Always `examine`.
    #[napi(ts_type = "'examine'")]
    pub kind: &'static str,
    /// The kind of report, as JSON.
    pub text: String,
    /// The socket for the report; the receiver must close it.
    pub fd: i32,
}

pub(super) type AnyEvent = Either<
    ExitEvent,
    WarningEvent,
    FailureEvent,
    SpawnedEvent,
    SupervisionEvent,
    HookEvent,
    OrphansEvent,
    ExamineEvent,
>;

/// Converts an event for JavaScript. Spawned workers are added to `processes`.
pub(super) fn convert(event: Event, processes: &Processes) -> AnyEvent {
    let said = |value: Value| Either::E(SupervisionEvent { kind: "supervision", text: value.to_string() });
    match event {
        Event::Exited { worker, exit } => {
            let (code, signal) = match exit {
                ExitKind::Code(code) => (code, 0),
                ExitKind::Signal(number) => (0, number),
                ExitKind::OutOfMemory => (0, SIGKILL),
            };
            Either::A(ExitEvent { kind: "exit", id: worker.0, code, signal })
        }
        Event::Warning { code, message } => Either::B(WarningEvent { kind: "warning", code, message }),
        Event::Failed(message) => Either::C(FailureEvent { kind: "failed", message }),
        Event::Spawned { worker, slot, pid, pidfd, pipes, inspect_port } => {
            processes.add(worker, pidfd, pid);
            let (slot, fds) = (slot.map(|slot| slot.0), numbers(pipes));
            Either::D(SpawnedEvent { kind: "spawned", id: worker.0, slot, pid, fds, inspect_port })
        }
        Event::Supervision(event) => said(supervision::describe(&event)),
        Event::Answered { request, result } => said(supervision::answered(request, &result)),
        Event::Hook(batch) => match serde_json::to_string(&batch) {
            Ok(text) => Either::F(HookEvent { kind: "hook", text }),
            Err(error) => Either::C(FailureEvent { kind: "failed", message: error.to_string() }),
        },
        Event::Orphans(pids) => Either::G(OrphansEvent { kind: "orphans", pids }),
        Event::Examine { what, socket } => match serde_json::to_string(&what) {
            Ok(text) => Either::H(ExamineEvent { kind: "examine", text, fd: socket.into_raw_fd() }),
            Err(error) => Either::C(FailureEvent { kind: "failed", message: error.to_string() }),
        },
        Event::StopPrimary { code } => said(json!({ "type": "stop", "code": code })),
    }
}
