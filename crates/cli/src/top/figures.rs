//! Figures computed from two consecutive status documents.

use std::time::Duration;

use serde_json::Value;

use crate::status::{has_blocked, last_exit};
use crate::units;

/// Shown for an unknown value.
const NOTHING: &str = "-";

/// The row of a slot.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) slot: u64,
    pub(super) pid: String,
    pub(super) state: String,
    pub(super) age: String,
    pub(super) restarts: String,
    pub(super) cpu: String,
    pub(super) elu: String,
    pub(super) delay: String,
    pub(super) memory: String,
    pub(super) open: String,
    pub(super) in_flight: String,
    pub(super) rate: String,
    pub(super) fds: String,
    pub(super) last: String,
    /// Whether its event loop is blocked.
    pub(super) is_blocked: bool,
    /// Whether its worker is older than the last reload.
    pub(super) is_old: bool,
}

/// A row for each slot.
pub(super) fn rows(before: &Value, now: &Value) -> Vec<Row> {
    let slots = list(&now["slots"]);
    let earlier = list(&before["slots"]);
    let row = |slot: &Value| {
        // Only of the same worker, otherwise there is nothing to compare.
        let same = earlier.iter().find(|it| it["slot"] == slot["slot"] && it["worker"] == slot["worker"]);
        row(same.filter(|_| slot["worker"].is_u64()), slot, now)
    };
    slots.iter().map(row).collect()
}

fn row(before: Option<&Value>, slot: &Value, status: &Value) -> Row {
    let number = |key: &str| slot[key].as_u64();
    let shown = |key: &str| number(key).map_or_else(|| NOTHING.into(), |number| number.to_string());
    let time = |key: &str| number(key).map_or_else(|| NOTHING.into(), units::about);
    let rate = |key: &str| {
        let difference = |key: &str| Some(slot[key].as_f64()? - before?[key].as_f64()?);
        let ms = difference("uptime").filter(|ms| *ms > 0.0)?;
        Some((difference(key)? / ms).max(0.0))
    };
    let blocked = number("blockedMs").filter(|ms| *ms > 0);
    let is_blocked = has_blocked(status, slot);
    let mut state = slot["state"].as_str().unwrap_or("?").to_owned();
    if let Some(wait) = number("nextRestartMs") {
        state = format!("{state} {}", units::about(wait));
    } else if let Some(ms) = blocked {
        state = format!("blocked {}", units::about(ms));
    } else if is_blocked {
        state = "blocked".into();
    }
    Row {
        slot: number("slot").unwrap_or_default(),
        pid: shown("pid"),
        state,
        age: time("uptime"),
        restarts: shown("restarts"),
        cpu: rate("cpuMs").map_or_else(|| NOTHING.into(), percent),
        elu: slot["elu"].as_f64().map_or_else(|| NOTHING.into(), percent),
        delay: slot["delayP99Ms"].as_f64().map_or_else(|| NOTHING.into(), milliseconds),
        memory: number("memory").map_or_else(|| NOTHING.into(), units::bytes),
        open: shown("connections"),
        in_flight: shown("inFlight"),
        rate: rate("clients").map_or_else(|| NOTHING.into(), |per_ms| per_second(per_ms * 1000.0)),
        fds: shown("fds"),
        last: last_exit(slot).unwrap_or_else(|| NOTHING.to_owned()),
        is_blocked,
        is_old: slot["generation"]
            .as_u64()
            .zip(status["generation"].as_u64())
            .is_some_and(|(its, all)| its < all),
    }
}

/// Rates of the whole cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    /// Connections accepted per second.
    pub(super) accepted: Option<f64>,
    /// Connections shed per second.
    pub(super) shed: Option<f64>,
    /// The fraction of a CPU that the primary has used.
    pub(super) primary_cpu: Option<f64>,
}

impl Totals {
    pub(super) fn between(before: &Value, now: &Value, time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        let rate = |difference: Option<f64>| difference.filter(|_| seconds > 0.0).map(|it| it / seconds);
        let cpu = now["primary"]["cpuMs"].as_f64().zip(before["primary"]["cpuMs"].as_f64());
        Self {
            accepted: rate(clients(before, now)),
            shed: rate(counted(before, now, "shed")),
            primary_cpu: rate(cpu.map(|(now, before)| (now - before) / 1000.0)),
        }
    }
}

/// The number of new clients. Under the policy `kernel` the workers accept, and report their own counts.
fn clients(before: &Value, now: &Value) -> Option<f64> {
    let by_workers = list(&now["listeners"]).iter().any(|it| it["policy"] == "kernel");
    if !by_workers {
        return counted(before, now, "accepted");
    }
    let earlier = list(&before["slots"]);
    let taken = list(&now["slots"]).iter().filter_map(|slot| {
        let same = earlier.iter().find(|it| it["worker"] == slot["worker"] && slot["worker"].is_u64());
        // For a new worker, all clients are new.
        let before = same.map_or(Some(0.0), |it| it["clients"].as_f64())?;
        Some((slot["clients"].as_f64()? - before).max(0.0))
    });
    Some(taken.sum())
}

/// The increase of a counter of the listeners. A new listener started at 0.
fn counted(before: &Value, now: &Value, key: &str) -> Option<f64> {
    let listeners = now["dispatcher"]["listeners"].as_array()?;
    let earlier = before["dispatcher"]["listeners"].as_array()?;
    let risen = listeners.iter().filter_map(|listener| {
        let same = earlier.iter().find(|it| it["id"] == listener["id"]);
        Some((listener[key].as_f64()? - same.and_then(|it| it[key].as_f64()).unwrap_or(0.0)).max(0.0))
    });
    Some(risen.sum())
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn percent(part: f64) -> String {
    format!("{:.0}", part * 100.0)
}

pub(super) fn per_second(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn milliseconds(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1}ms")
    } else if ms < 10_000.0 {
        format!("{ms:.0}ms")
    } else {
        format!("{:.0}s", ms / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn look(worker: u32, uptime: u32, cpu: u32, clients: u32) -> Value {
        let slot = json!({
            "slot": 3, "worker": worker, "pid": 17, "state": "serving", "uptime": uptime, "cpuMs": cpu,
            "clients": clients, "elu": 0.254, "delayP99Ms": 1.25, "memory": 12_900_000, "connections": 4,
            "inFlight": 0, "fds": 30, "restarts": 2, "generation": 1, "blockedMs": 0,
        });
        json!({ "generation": 2, "slots": [slot] })
    }

    #[test]
    fn rates_are_computed_from_two_documents_of_the_same_worker() {
        let row = &rows(&look(1, 1000, 500, 0), &look(1, 2000, 900, 50))[0];
        assert_eq!((row.cpu.as_str(), row.rate.as_str()), ("40", "50"));
        assert_eq!((row.elu.as_str(), row.delay.as_str(), row.memory.as_str()), ("25", "1.2ms", "12.3M"));
        assert_eq!(
            (row.slot, row.open.as_str(), row.in_flight.as_str(), row.fds.as_str()),
            (3, "4", "0", "30")
        );
        assert_eq!((row.is_old, row.is_blocked, row.last.as_str()), (true, false, "-"));
        let row = &rows(&look(1, 1000, 500, 0), &look(2, 200, 100, 5))[0];
        assert_eq!((row.cpu.as_str(), row.rate.as_str()), ("-", "-"));
    }

    #[test]
    fn an_empty_slot_only_has_a_state() {
        let status = json!({ "slots": [{
            "slot": 0, "worker": null, "state": "backing-off", "nextRestartMs": 2000, "restarts": 7,
            "lastExit": { "reason": "exit", "detail": "it ended with code 1" },
        }] });
        let row = &rows(&status, &status)[0];
        assert_eq!(row.state, "backing-off 2s");
        assert_eq!((row.pid.as_str(), row.cpu.as_str(), row.elu.as_str()), ("-", "-", "-"));
        assert_eq!((row.restarts.as_str(), row.last.as_str()), ("7", "it ended with code 1"));
    }

    #[test]
    fn a_blocked_loop_is_shown_instead_of_the_state() {
        let mut status = look(1, 1, 1, 1);
        status["slots"][0]["blockedMs"] = json!(3100);
        let row = &rows(&Value::Null, &status)[0];
        assert_eq!((row.state.as_str(), row.is_blocked), ("blocked 3s", true));
    }

    #[test]
    fn totals_are_of_listeners_or_of_workers_that_accept_themselves() {
        let status = |policy: &str, accepted: u32, clients: u32| {
            json!({
                "primary": { "cpuMs": accepted },
                "slots": [{ "worker": 1, "clients": clients }],
                "listeners": [{ "policy": policy }],
                "dispatcher": { "listeners": [{ "id": 1, "accepted": accepted, "shed": 3 }] },
            })
        };
        let between = |policy| {
            Totals::between(&status(policy, 100, 5), &status(policy, 300, 25), Duration::from_secs(2))
        };
        let totals = between("round-robin");
        assert_eq!((totals.accepted, totals.shed, totals.primary_cpu), (Some(100.0), Some(0.0), Some(0.1)));
        assert_eq!(between("kernel").accepted, Some(10.0));
        let silent = Totals::between(&json!({}), &json!({}), Duration::from_secs(1));
        assert_eq!((silent.accepted, silent.shed), (None, None), "the dispatcher does not answer");
    }
}
