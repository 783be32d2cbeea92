//! Events of supervision as names and JSON, for the app and for clients of the control socket.

use serde_json::{Value, json};

use super::event::Event;
use super::terms::{By, Cause, Excess, Phase, Scope, StderrTail, Why};
use crate::frames::milliseconds;
use crate::ids::{Slot, WorkerId};
use crate::logs::last_error;

/// The name of an event, and an object with its details.
#[must_use]
pub fn describe(event: &Event) -> (&'static str, Value) {
    match event {
        Event::Spawn { worker, slot, cause } => {
            ("spawn", json!({ "worker": worker, "slot": slot, "cause": word(*cause) }))
        }
        Event::Ready { worker, slot, boot } => {
            ("ready", json!({ "worker": worker, "slot": slot, "bootMs": milliseconds(*boot) }))
        }
        Event::Restart { slot, worker, why, phase, delay, restarts, stderr } => {
            let mut facts = about(*slot, *worker, why, *phase, stderr);
            facts["delay"] = json!(milliseconds(*delay));
            facts["restarts"] = json!(restarts);
            ("restart", facts)
        }
        Event::Backoff { slot, delay, failures } => {
            ("backoff", json!({ "slot": slot, "delay": milliseconds(*delay), "failures": failures }))
        }
        Event::GaveUp { slot, worker, scope, restarts, period, why, phase, stderr } => {
            let mut facts = about(*slot, *worker, why, *phase, stderr);
            facts["scope"] = json!(match scope {
                Scope::Slot => "slot",
                Scope::Total => "total",
                Scope::StartUp => "start-up",
            });
            facts["restarts"] = json!(restarts);
            facts["period"] = json!(milliseconds(*period));
            ("gave-up", facts)
        }
        Event::Retire { worker, slot, reason, detail, by } => {
            let by = match by {
                By::Worker => "worker",
                By::Primary => "primary",
                By::Operator => "operator",
            };
            let reason = reason.to_string();
            (
                "retire",
                json!({ "worker": worker, "slot": slot, "reason": reason, "detail": detail, "by": by }),
            )
        }
        Event::DrainTimeout { worker, slot, connections, resources } => (
            "drain-timeout",
            json!({ "worker": worker, "slot": slot, "connections": connections, "resources": resources }),
        ),
        Event::Drained { worker, slot, resources } => {
            ("drained", json!({ "worker": worker, "slot": slot, "resources": resources }))
        }
        Event::Stopping { delay } => ("stopping", json!({ "delay": milliseconds(*delay) })),
        Event::Unresponsive { worker, slot, blocked_for, stack } => (
            "unresponsive",
            json!({ "worker": worker, "slot": slot, "blockedFor": milliseconds(*blocked_for), "stack": stack }),
        ),
        Event::Recycle { worker, slot, excess, value, limit } => {
            let cause = match excess {
                Excess::Memory => "memory",
                Excess::Age => "age",
                Excess::Connections => "connections",
            };
            (
                "recycle",
                json!({ "worker": worker, "slot": slot, "cause": cause, "value": value, "limit": limit }),
            )
        }
        Event::ReloadStarted { slots, concurrency } => {
            ("reload", json!({ "phase": "start", "slots": slots, "concurrency": concurrency }))
        }
        Event::ReloadDone { took } => ("reload", json!({ "phase": "done", "tookMs": milliseconds(*took) })),
        Event::ReloadFailed { failure, reloaded } => {
            let (reason, stderr) = (failure.to_string(), failure.stderr());
            (
                "reload",
                json!({ "phase": "failed", "reason": reason, "reloaded": reloaded, "stderrTail": stderr }),
            )
        }
        Event::Follow { cpus, workers } => ("follow", json!({ "cpus": cpus, "workers": workers })),
        Event::Promote { worker, slot, standby_for } => {
            ("promote", json!({ "worker": worker, "slot": slot, "standbyFor": milliseconds(*standby_for) }))
        }
        Event::Stopped { worker, slot, why, phase, stderr } => {
            ("stopped", about(*slot, *worker, why, *phase, stderr))
        }
        Event::Shutdown { gave_up, timeout } => {
            let reason = gave_up.as_ref().map(|gave_up| gave_up.why.to_string());
            let exit_code = gave_up.as_ref().map(|gave_up| gave_up.exit_code);
            (
                "shutdown",
                json!({
                    "gaveUp": gave_up.is_some(),
                    "reason": reason,
                    "exitCode": exit_code,
                    "timeout": milliseconds(*timeout),
                }),
            )
        }
    }
}

/// The fields common to all events about a worker that has ended.
fn about(
    slot: Option<Slot>,
    worker: Option<WorkerId>,
    why: &Why,
    phase: Phase,
    stderr: &StderrTail,
) -> Value {
    let (code, signal) = match why {
        Why::Exited(exit) => exit.code_and_signal(),
        _ => (None, None),
    };
    let phase = match phase {
        Phase::StartUp => "start-up",
        Phase::Service => "service",
    };
    json!({
        "slot": slot,
        "worker": worker,
        "code": code,
        "signal": signal,
        "reason": why.to_string(),
        "error": stderr.as_deref().filter(|_| why.is_failure()).and_then(last_error),
        "phase": phase,
        "stderrTail": stderr.as_deref(),
    })
}

fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::Start => "start",
        Cause::Restart => "restart",
        Cause::Retire => "retire",
        Cause::Recycle => "recycle",
        Cause::Unresponsive => "unresponsive",
        Cause::Reload => "reload",
        Cause::Operator => "operator",
        Cause::Scale => "scale",
        Cause::Standby => "standby",
    }
}
