//! Supervision between JavaScript and the control thread: options in, events out. Both are plain data.

use std::time::Duration;

use napi::{Error, Result, Status};
use napi_derive::napi;
use serde_json::{Value, json};

use rcluster_core::control::supervise::{
    Backoff, By, Cause, Event, Excess, ExitKind, Failure, Intensity, OnGiveUp, Options, Phase, ReadyWhen,
    Recycle, RestartPolicy, Scope, SlotState, Stats, Why,
};
use rcluster_core::ids::{Request, Slot, WorkerId};
use rcluster_core::wire::milliseconds;
use rcluster_sys::exit::SIGKILL;

/// At most so many restarts in so much time.
#[napi(object)]
pub struct IntensityOptions {
    /// How many.
    pub max: u32,
    /// In how many ms.
    pub period: u32,
}

/// How long to wait before a restart; times in ms.
#[napi(object)]
pub struct BackoffOptions {
    /// The first wait.
    pub initial: u32,
    /// The longest.
    pub max: u32,
    /// How fast it grows.
    pub factor: f64,
    /// By which part of itself it varies.
    pub jitter: f64,
    /// How many failures in a row of workers that had been ready are not waited for.
    pub immediate: u32,
    /// After how much health it begins anew.
    pub reset_after: u32,
}

/// When a worker that is well is replaced; 0 for never.
#[napi(object)]
pub struct RecycleOptions {
    /// Bytes.
    pub memory: f64,
    /// Ms.
    pub age: u32,
    /// Connections.
    pub connections: f64,
    /// By which part of itself each limit varies.
    pub jitter: f64,
}

/// The options of `supervise()`, checked and complete; times in ms.
#[napi(object)]
pub struct SupervisionOptions {
    /// How many slots.
    pub workers: u32,
    /// How many standbys.
    pub standby: u32,
    /// `always`, `on-failure` or `never`.
    pub restart: String,
    /// Exit codes after which there is no restart.
    pub stop_exit_codes: Vec<i32>,
    /// For each slot.
    pub restart_intensity: IntensityOptions,
    /// For all slots together.
    pub total_intensity: IntensityOptions,
    /// The wait before a restart.
    pub backoff: BackoffOptions,
    /// `degrade` or `exit`.
    pub on_give_up: String,
    /// The primary's exit code for `exit`, and when no slot can serve any more.
    pub give_up_exit_code: i32,
    /// How long starting is tried if no worker has ever been ready; 0: for ever.
    pub start_up_limit: u32,
    /// `online`, `listening` or `explicit`.
    pub ready: String,
    /// How long a worker may take to become ready.
    pub ready_timeout: u32,
    /// How long a drain may take.
    pub drain_timeout: u32,
    /// How long after SIGTERM comes SIGKILL.
    pub kill_timeout: u32,
    /// How long the drains of a shutdown may take.
    pub shutdown_timeout: u32,
    /// How long an event loop may be silent; 0: for ever.
    pub unresponsive_after: u32,
    /// When a worker that is well is replaced.
    pub recycle: RecycleOptions,
    /// Whether an uncaught exception retires a worker.
    pub retire_on_exception: bool,
    /// The variable in which a worker has its slot, if it has one.
    pub instance_var: Option<String>,
}

impl SupervisionOptions {
    /// The options as `core` knows them.
    pub(super) fn convert(self) -> Result<Options> {
        Ok(Options {
            workers: self.workers,
            standby: self.standby,
            restart: match self.restart.as_str() {
                "always" => RestartPolicy::Always,
                "on-failure" => RestartPolicy::OnFailure,
                "never" => RestartPolicy::Never,
                _ => return Err(unknown("restart policy")),
            },
            stop_exit_codes: self.stop_exit_codes,
            restart_intensity: intensity(&self.restart_intensity),
            total_intensity: intensity(&self.total_intensity),
            backoff: Backoff {
                initial: ms(self.backoff.initial),
                max: ms(self.backoff.max),
                factor: self.backoff.factor,
                jitter: self.backoff.jitter,
                immediate: self.backoff.immediate,
                reset_after: ms(self.backoff.reset_after),
            },
            on_give_up: match self.on_give_up.as_str() {
                "degrade" => OnGiveUp::Degrade,
                "exit" => OnGiveUp::Exit,
                _ => return Err(unknown("way to give up")),
            },
            give_up_exit_code: self.give_up_exit_code,
            start_up_limit: limit(f64::from(self.start_up_limit)).map(Duration::from_millis),
            ready: match self.ready.as_str() {
                "online" => ReadyWhen::Online,
                "listening" => ReadyWhen::Listening,
                "explicit" => ReadyWhen::Explicit,
                _ => return Err(unknown("kind of readiness")),
            },
            ready_timeout: ms(self.ready_timeout),
            drain_timeout: ms(self.drain_timeout),
            kill_timeout: ms(self.kill_timeout),
            shutdown_timeout: ms(self.shutdown_timeout),
            unresponsive_after: limit(f64::from(self.unresponsive_after)).map(Duration::from_millis),
            recycle: Recycle {
                memory: limit(self.recycle.memory),
                age: limit(f64::from(self.recycle.age)).map(Duration::from_millis),
                connections: limit(self.recycle.connections),
                jitter: self.recycle.jitter,
            },
            ..Options::default()
        })
    }
}

fn intensity(options: &IntensityOptions) -> Intensity {
    Intensity { max: options.max, period: ms(options.period) }
}

fn ms(time: u32) -> Duration {
    Duration::from_millis(u64::from(time))
}

/// A limit that JavaScript has checked to be a safe integer, of which 0 means none.
fn limit(number: f64) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked in JavaScript")]
    let whole = number as u64;
    (whole > 0).then_some(whole)
}

fn unknown(what: &str) -> Error {
    Error::new(Status::InvalidArg, format!("there is no such {what}"))
}

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
