//! `rcluster status`: the status document, as a table or as JSON.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::args::{Status, Target};
use crate::connection::Connection;
use crate::output::{self, Failure, print, print_json, printable};
use crate::{Outcome, find, units};

/// How long the cluster may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The polling interval of `--wait ready`.
const PAUSE: Duration = Duration::from_millis(100);

const HEAD: [&str; 11] = [
    "SLOT",
    "PID",
    "STATE",
    "UPTIME",
    "RESTARTS",
    "CPU TIME",
    "LOOP",
    "MEMORY",
    "OPEN",
    "CLIENTS",
    "LAST EXIT",
];

pub(crate) fn run(options: &Status) -> Outcome {
    let deadline = options.patience.deadline();
    let waits = options.wait.is_some();
    let mut connection = connect(&options.target, deadline.filter(|_| waits))?;
    if waits {
        until_ready(&mut connection, deadline)?;
    }
    let limit = Some(options.patience.timeout.unwrap_or(LIMIT));
    let status = ask(&mut connection, limit)?;
    if options.json {
        print_json(&status.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&headline(&status))?;
    for line in table(&rows(&status)) {
        print(&line)?;
    }
    for line in others(&status) {
        print(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(connection: &mut Connection, limit: Option<Duration>) -> Result<Value, Failure> {
    connection.ask(json!({ "verb": "status" }), limit)
}

/// Connects to a cluster that may have been started just now, and does not listen yet.
fn connect(target: &Target, deadline: Option<Instant>) -> Result<Connection, Failure> {
    loop {
        match find::connect(target) {
            Err(Failure::NotRunning(_)) if deadline.is_some_and(|deadline| Instant::now() < deadline) => {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

fn until_ready(connection: &mut Connection, deadline: Option<Instant>) -> Result<(), Failure> {
    // A primary that gives up may end between two answers, and only its last event says why.
    connection.ask(json!({ "verb": "watch" }), Some(LIMIT))?;
    let (mut gave_up, mut error) = (None, None);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = Some(left.unwrap_or(LIMIT).max(PAUSE));
        let status = connection.ask_meanwhile(json!({ "verb": "status" }), limit, |name, facts| match name {
            "gave-up" => error = facts["error"].as_str().map(str::to_owned),
            "shutdown" => gave_up = facts["reason"].as_str().map(str::to_owned),
            _ => {}
        });
        let status = match (status, gave_up.take()) {
            (Ok(_) | Err(Failure::NotRunning(_)), Some(why)) => {
                return Err(Failure::Refused(given_up(&with_error(why, error.as_deref()))));
            }
            (status, _) => status?,
        };
        match readiness(&status) {
            Readiness::Ready => return Ok(()),
            Readiness::Never(why) => return Err(Failure::Refused(why)),
            Readiness::NotYet => {}
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Failure::TimedOut(
                "not all workers are ready yet; `rcluster status` shows which".into(),
            ));
        }
        std::thread::sleep(left.map_or(PAUSE, |left| left.min(PAUSE)));
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    NotYet,
    Never(String),
}

fn given_up(why: &str) -> String {
    format!("the cluster has given up: {why}")
}

/// Whether every slot that should have a worker has one that is ready.
fn readiness(status: &Value) -> Readiness {
    let slots = status["slots"].as_array().map_or(&[][..], Vec::as_slice);
    let stops = status["stopping"] == json!(true);
    let (mut all, mut any) = (true, false);
    for slot in slots {
        match slot["state"].as_str() {
            Some("given-up") => {
                let reason = last_exit(slot).unwrap_or_else(|| "it did not get ready".into());
                let text = format!("slot {} was given up: {reason}", slot["slot"]);
                return Readiness::Never(if stops { given_up(&reason) } else { text });
            }
            Some("serving") => any = true,
            Some("stopped" | "emptying") => {}
            _ => all = false,
        }
    }
    if stops {
        return Readiness::Never("the cluster is being stopped".into());
    }
    match (all, any) {
        (true, true) => Readiness::Ready,
        (true, false) if !slots.is_empty() => {
            Readiness::Never("no slot has a worker: `rcluster restart SLOT`, or reload, starts one".into())
        }
        _ => Readiness::NotYet,
    }
}

fn headline(status: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut line = format!(
        "pid {}, rcluster {}, Node {}, {} of {} workers ready, {}, {}",
        status["primary"]["pid"],
        text(&status["versions"]["rcluster"]),
        text(&status["versions"]["node"]),
        status["ready"],
        status["workers"],
        units::counted(&status["restarts"], "restart"),
        units::counted(&status["cpus"], "CPU"),
    );
    let marks =
        [("reloading", "reloading"), ("shuttingDown", "shutting down"), ("stopping", "about to stop")];
    if let Some((_, mark)) = marks.iter().find(|(key, _)| status[key] == json!(true)) {
        line.push_str(", ");
        line.push_str(mark);
    }
    line
}

/// A row for each slot.
fn rows(status: &Value) -> Vec<Vec<String>> {
    let slots = status["slots"].as_array().map_or(&[][..], Vec::as_slice);
    slots.iter().map(|slot| row(slot, has_blocked(status, slot))).collect()
}

/// Whether the event loop of the slot's worker is blocked: as the control thread or supervision sees it, or because the
/// worker does not receive the connections that are passed to it.
pub(crate) fn has_blocked(status: &Value, slot: &Value) -> bool {
    let workers = status["dispatcher"]["workers"].as_array().map_or(&[][..], Vec::as_slice);
    let passed = workers.iter().find(|it| it["id"] == slot["worker"] && it["id"].is_u64());
    slot["blocked"] == json!(true)
        || slot["blockedMs"].as_u64().is_some_and(|ms| ms > 0)
        || passed.is_some_and(|it| it["blocked"] == json!(true))
}

fn row(slot: &Value, is_blocked: bool) -> Vec<String> {
    let number = |key: &str| slot[key].as_u64();
    let shown = |key: &str| number(key).map_or_else(|| "-".into(), |number| number.to_string());
    let mut state = slot["state"].as_str().unwrap_or("?").to_owned();
    if let Some(wait) = number("nextRestartMs") {
        state.extend([" ", &units::about(wait)]);
    } else if is_blocked {
        state = "blocked".into();
    }
    vec![
        shown("slot"),
        shown("pid"),
        state,
        number("uptime").map_or_else(|| "-".into(), units::about),
        shown("restarts"),
        number("cpuMs").map_or_else(|| "-".into(), units::about),
        utilization(slot).map_or_else(|| "-".into(), |part| format!("{:.0}%", 100.0 * part)),
        number("memory").map_or_else(|| "-".into(), units::bytes),
        shown("connections"),
        shown("clients"),
        last_exit(slot).unwrap_or_else(|| "-".into()),
    ]
}

/// Describes the end of the slot's last worker.
pub(crate) fn last_exit(slot: &Value) -> Option<String> {
    let last = &slot["lastExit"];
    let text = last["detail"].as_str()?.to_owned();
    Some(printable(&with_error(text, last["error"].as_str())))
}

fn with_error(mut text: String, error: Option<&str>) -> String {
    if let Some(error) = error {
        text.extend([": ", error]);
    }
    text
}

/// The fraction of time in which the event loop is busy: recently or, if that is unknown, since its start.
fn utilization(slot: &Value) -> Option<f64> {
    let since = || Some(slot["busy"].as_f64()? / slot["uptime"].as_f64().filter(|time| *time > 0.0)?);
    slot["elu"].as_f64().or_else(since).map(|part| part.clamp(0.0, 1.0))
}

fn table(rows: &[Vec<String>]) -> Vec<String> {
    let head: Vec<String> = HEAD.map(str::to_owned).into();
    let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let join = |line: &&Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(join).collect()
}

/// Lines for standbys, draining workers and listeners.
fn others(status: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let standby = &status["standby"];
    if standby["ready"] != json!(0) || standby["starting"] != json!(0) {
        lines.push(format!("standbys: {} ready, {} starting", standby["ready"], standby["starting"]));
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for worker in list(&status["draining"]) {
        let left = worker["deadlineMs"]
            .as_u64()
            .map_or_else(|| "killed".into(), |left| format!("{} left", units::about(left)));
        let open = worker["connections"].as_u64().unwrap_or(0);
        lines
            .push(format!("draining: pid {} of slot {}, {open} open, {left}", worker["pid"], worker["slot"]));
    }
    for listener in list(&status["dispatcher"]["listeners"]) {
        let name = printable(listener["name"].as_str().unwrap_or("?"));
        lines.push(format!(
            "listening: {name}, {} accepted, {} waiting, {}",
            listener["accepted"],
            listener["waiting"],
            units::counted(&listener["workers"], "worker")
        ));
    }
    lines.extend(list(&status["stores"]).iter().map(store));
    if status["dispatcher"].is_null() {
        output::complain("the dispatcher has not answered, so connections are not shown");
    }
    lines
}

/// The line for a shared store.
fn store(store: &Value) -> String {
    let name = printable(store["name"].as_str().unwrap_or("?"));
    let bytes = |key: &str| store[key].as_u64().map_or_else(|| "-".into(), units::bytes);
    let mut line = format!(
        "store: {name}, {}, {} of {}",
        units::counted(&store["keys"], "key"),
        bytes("bytes"),
        bytes("limit")
    );
    let backend = &store["backend"];
    if let (Some(url), Some(state)) = (backend["url"].as_str(), backend["state"].as_str()) {
        line.extend([", ", state, " ", &printable(url)]);
        if let Some(error) = backend["error"].as_str() {
            line.extend([": ", &printable(error)]);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_a_line_with_the_state_of_its_server() {
        let mut it = json!({ "name": "s", "keys": 1, "bytes": 2048, "limit": 4096, "backend": null });
        assert_eq!(store(&it), "store: s, 1 key, 2.0K of 4.0K");
        it["backend"] = json!({ "state": "offline", "url": "redis://a:6379", "error": "no\u{1b} route" });
        let line = store(&it);
        assert!(line.starts_with("store: s, 1 key, 2.0K of 4.0K, offline redis://a:6379: no"), "{line:?}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }

    fn status(states: &[&str], stopping: bool) -> Value {
        let slots: Vec<Value> =
            states.iter().enumerate().map(|(slot, state)| json!({ "slot": slot, "state": state })).collect();
        json!({ "stopping": stopping, "slots": slots })
    }

    #[test]
    fn readiness_is_reached_pending_or_impossible() {
        assert_eq!(readiness(&status(&["serving", "stopped"], false)), Readiness::Ready);
        assert_eq!(readiness(&status(&["serving", "filling"], false)), Readiness::NotYet);
        assert_eq!(readiness(&status(&["stopped", "filling"], false)), Readiness::NotYet);
        assert_eq!(readiness(&status(&[], false)), Readiness::NotYet);
        assert!(matches!(readiness(&status(&["stopped", "emptying"], false)), Readiness::Never(_)));
        assert_eq!(readiness(&status(&["backing-off"], false)), Readiness::NotYet);
        assert!(matches!(readiness(&status(&["given-up"], false)), Readiness::Never(_)));
        let why = |states: &[&str]| match readiness(&status(states, true)) {
            Readiness::Never(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(&["serving"]), "the cluster is being stopped");
        assert_eq!(why(&["stopped", "given-up"]), "the cluster has given up: it did not get ready");
    }

    #[test]
    fn the_recent_utilization_is_preferred() {
        assert_eq!(utilization(&json!({ "busy": 500, "uptime": 1000, "elu": 0.25 })), Some(0.25));
        assert_eq!(utilization(&json!({ "busy": 500, "uptime": 1000 })), Some(0.5));
        assert_eq!(utilization(&json!({ "busy": 500, "uptime": 0 })), None);
        assert_eq!(utilization(&json!({ "busy": null, "uptime": 1000, "elu": null })), None);
    }

    #[test]
    fn a_worker_that_does_not_turn_or_receive_its_connections_is_blocked() {
        let mut status = status(&["serving", "serving"], false);
        status["slots"][0]["worker"] = json!(7);
        status["slots"][1]["worker"] = json!(8);
        status["dispatcher"] =
            json!({ "workers": [{ "id": 7, "blocked": false }, { "id": 8, "blocked": true }] });
        let shown = |status: &Value| rows(status).iter().map(|row| row[2].clone()).collect::<Vec<_>>();
        assert_eq!(shown(&status), ["serving", "blocked"]);
        status["slots"][0]["blocked"] = json!(false);
        assert_eq!(shown(&status), ["serving", "blocked"]);
        status["slots"][0]["blocked"] = json!(true);
        assert_eq!(shown(&status), ["blocked", "blocked"]);
        status["slots"][0]["blocked"] = json!(false);
        status["slots"][0]["blockedMs"] = json!(3000);
        assert_eq!(shown(&status), ["blocked", "blocked"]);
    }

    #[test]
    fn the_last_exit_has_its_error_in_one_line() {
        let slot =
            json!({ "lastExit": { "detail": "it ended with exit code 1", "error": "Error: a\u{1b}b" } });
        assert_eq!(last_exit(&slot).unwrap(), "it ended with exit code 1: Error: a\u{fffd}b");
        let slot = json!({ "lastExit": { "detail": "it retired (reload)", "error": null } });
        assert_eq!(last_exit(&slot).unwrap(), "it retired (reload)");
        assert_eq!(last_exit(&json!({ "lastExit": null })), None);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row =
            row(&json!({ "slot": 3, "state": "backing-off", "nextRestartMs": 1500, "restarts": 2 }), false);
        let lines = table(&[row]);
        assert_eq!(lines[1].find("backing-off 1s"), lines[0].find("STATE"));
        assert!(lines[1].ends_with('-'));
    }
}
