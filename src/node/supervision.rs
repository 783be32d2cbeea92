//! What JavaScript learns of supervision: events, answers and statistics, as plain data.

use serde_json::{Value, json};

use rcluster_core::control::supervise::{
    By, Cause, Event, Excess, ExitKind, Failure, Phase, Scope, SlotState, Stats, Why,
};
use rcluster_core::ids::{Request, Slot, WorkerId};
use rcluster_core::wire::milliseconds;
use rcluster_sys::exit::SIGKILL;

/// An event as JavaScript gets it: its name, and an object for the listeners.
pub(super) fn describe(event: &Event) -> Value {
    let (name, facts) = match event {
        Event::Spawn { worker, slot, cause } => {
            ("spawn", json!({ "worker": worker, "slot": slot, "cause": word(*cause) }))
        }
        Event::Ready { worker, slot, boot } => {
            ("ready", json!({ "worker": worker, "slot": slot, "bootMs": milliseconds(*boot) }))
        }
        Event::Restart { slot, worker, why, phase, delay, restarts } => {
            let mut facts = about(*slot, *worker, why);
            facts["phase"] = json!(match phase {
                Phase::StartUp => "start-up",
                Phase::Service => "service",
            });
            facts["delay"] = json!(milliseconds(*delay));
            facts["restarts"] = json!(restarts);
            ("restart", facts)
        }
        Event::Backoff { slot, delay, failures } => {
            ("backoff", json!({ "slot": slot, "delay": milliseconds(*delay), "failures": failures }))
        }
        Event::GaveUp { slot, worker, scope, restarts, period, why } => {
            let mut facts = about(*slot, *worker, why);
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
            ("reload", json!({ "phase": "failed", "reason": failure.to_string(), "reloaded": reloaded }))
        }
        Event::Promote { worker, slot, standby_for } => {
            ("promote", json!({ "worker": worker, "slot": slot, "standbyFor": milliseconds(*standby_for) }))
        }
        Event::Stopped { worker, slot, why } => ("stopped", about(*slot, *worker, why)),
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
    };
    json!({ "type": "event", "name": name, "facts": facts })
}

/// The answer to a request.
pub(super) fn answered(request: Request, result: &std::result::Result<(), Failure>) -> Value {
    let failure = result.as_ref().err().map(|failure| {
        let code = match failure {
            Failure::NotReady { .. } => "ERR_RCLUSTER_NOT_READY",
            Failure::ShutDown => "ERR_RCLUSTER_SHUT_DOWN",
            Failure::NotStarted => "ERR_RCLUSTER_NOT_STARTED",
            Failure::Superseded { .. } => "ERR_RCLUSTER_SUPERSEDED",
            Failure::OutOfRange { .. } => "ERR_OUT_OF_RANGE",
        };
        json!({ "code": code, "message": failure.to_string() })
    });
    json!({ "type": "answer", "request": request.0, "failure": failure })
}

/// How the cluster stands.
pub(super) fn stats(cluster: &Stats) -> Value {
    let slots: Vec<Value> = cluster
        .slots
        .iter()
        .map(|slot| {
            let state = match slot.state {
                SlotState::Filling => "filling",
                SlotState::Serving => "serving",
                SlotState::BackingOff { .. } => "backing-off",
                SlotState::GivenUp => "given-up",
                SlotState::Stopped => "stopped",
                SlotState::Emptying => "emptying",
            };
            json!({
                "slot": slot.slot,
                "state": state,
                "worker": slot.worker,
                "successor": slot.successor,
                "uptime": slot.uptime.map(milliseconds),
                "memory": slot.rss,
                "busy": slot.busy.map(|busy| busy.as_secs_f64() * 1000.0),
                "restarts": slot.restarts,
                "failures": slot.failures,
            })
        })
        .collect();
    json!({
        "workers": cluster.workers,
        "ready": cluster.ready,
        "processes": cluster.processes,
        "draining": cluster.draining,
        "standby": { "ready": cluster.standbys_ready, "starting": cluster.standbys_starting },
        "restarts": cluster.restarts,
        "reloading": cluster.reloading,
        "stopping": cluster.stopping,
        "shuttingDown": cluster.shutting_down,
        "slots": slots,
    })
}

/// What is said of every worker that has ended in some way.
fn about(slot: Option<Slot>, worker: Option<WorkerId>, why: &Why) -> Value {
    let (code, signal) = match why {
        Why::Exited(ExitKind::Code(code)) => (Some(code), None),
        Why::Exited(ExitKind::Signal(signal)) => (None, Some(*signal)),
        Why::Exited(ExitKind::OutOfMemory) => (None, Some(SIGKILL)),
        _ => (None, None),
    };
    json!({ "slot": slot, "worker": worker, "code": code, "signal": signal, "reason": why.to_string() })
}

fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::Start => "start",
        Cause::Restart => "restart",
        Cause::Retire => "retire",
        Cause::Recycle => "recycle",
        Cause::Unresponsive => "unresponsive",
        Cause::Reload => "reload",
        Cause::Scale => "scale",
        Cause::Standby => "standby",
    }
}
