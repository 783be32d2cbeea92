//! Commands that send a request and follow it: a line on stderr for each step, and the exit code for the
//! result.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::args::{Events, OfSlot, Patience, Reload, Scale, Stack, Stop, Target};
use crate::connection::{Connection, Message, ended, last_lines};
use crate::output::{Failure, complain, print, print_json};
use crate::progress::Progress;
use crate::{Outcome, find, units};

/// How long the primary may take to exit after its workers, unless the user sets a limit for all of the stop.
const EXIT_LIMIT: Duration = Duration::from_secs(10);

const STATUS_LIMIT: Duration = Duration::from_secs(2);

/// A primary whose event loop has been active for this long, in ms, counts as blocked.
const BLOCKED_MS: u64 = 1_000;

pub(crate) fn reload(options: &Reload) -> Outcome {
    let request = json!({ "verb": "reload", "concurrency": options.concurrency });
    follow("reload", &options.target, request, &options.patience)
}

pub(crate) fn scale(options: &Scale) -> Outcome {
    // A number, or a form that the cluster parses: +1, -1 and auto.
    let is_difference = options.workers.starts_with(['+', '-']);
    let number = options.workers.parse::<u32>().ok().filter(|_| !is_difference);
    let workers = number.map_or_else(|| json!(options.workers), |number| json!(number));
    follow("scale", &options.target, json!({ "verb": "scale", "workers": workers }), &options.patience)
}

pub(crate) fn restart(options: &OfSlot) -> Outcome {
    let request = json!({ "verb": "restart", "slot": options.slot });
    follow("restart", &options.target, request, &options.patience)
}

pub(crate) fn drain(options: &OfSlot) -> Outcome {
    let request = json!({ "verb": "drain", "slot": options.slot });
    follow("drain", &options.target, request, &options.patience)
}

pub(crate) fn stop(options: &Stop) -> Outcome {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let request = json!({
        "verb": "stop",
        "delay": options.delay.map(ms),
        "timeout": options.drain_timeout.map(ms),
    });
    let deadline = options.patience.deadline();
    let mut connection = find::connect(&options.target)?;
    connection.send(request)?;
    let mut progress = Progress::new("stop");
    let mut is_ending = false;
    loop {
        match connection.receive(deadline)? {
            Message::Event { name, facts } => {
                is_ending |= name == "shutdown";
                progress.on_event(&name, &describe(&name, &facts));
            }
            Message::Done(result) => {
                result?;
                wait_for_exit(&mut connection, deadline)?;
                break;
            }
            // It may exit before it has answered, for example when it gets a second signal.
            Message::End if is_ending => break,
            Message::End => return Err(ended()),
        }
    }
    progress.finish();
    Ok(ExitCode::SUCCESS)
}

/// Waits until the primary exits, which closes the socket. Its workers have ended.
fn wait_for_exit(connection: &mut Connection, deadline: Option<Instant>) -> Result<(), Failure> {
    let deadline = deadline.unwrap_or_else(|| Instant::now() + EXIT_LIMIT);
    loop {
        match connection.receive(Some(deadline)) {
            Ok(Message::End) => return Ok(()),
            Ok(_) => {}
            Err(Failure::TimedOut(_)) => break,
            Err(failure) => return Err(failure),
        }
    }
    match connection.ask(json!({ "verb": "status" }), Some(STATUS_LIMIT)) {
        Ok(status) => Err(Failure::TimedOut(still_there(&status))),
        // It has exited just now.
        Err(Failure::NotRunning(_)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Describes a primary that does not exit although all workers have ended.
fn still_there(status: &Value) -> String {
    let pid = &status["primary"]["pid"];
    let blocked = status["primary"]["blockedMs"].as_u64().filter(|ms| *ms >= BLOCKED_MS);
    let why = blocked.map_or_else(
        || "has not exited".to_owned(),
        |ms| format!("cannot exit: its JavaScript has been blocked for {}", units::about(ms)),
    );
    format!(
        "all workers have ended, but the primary (pid {pid}) {why}; `rcluster stack primary --pid {pid}` shows what it does, and `kill -KILL {pid}` ends it"
    )
}

pub(crate) fn stack(options: &Stack) -> Outcome {
    let slot = options.slot.to_json();
    let stack = find::connect(&options.target)?.ask(json!({ "verb": "stack", "slot": slot }), None)?;
    print(stack.as_str().unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn events(options: &Events) -> Outcome {
    let mut connection = find::connect(&options.target)?;
    connection.send(json!({ "verb": "watch" }))?;
    let mut ending = Ending::default();
    loop {
        match connection.receive(None)? {
            Message::Event { name, facts } => {
                ending.on_event(&name);
                if options.json {
                    print_json(&json!({ "event": name, "facts": facts }).to_string())?;
                } else {
                    let mut text = describe(&name, &facts);
                    text.extend(last_lines(&facts));
                    print(&text)?;
                }
            }
            Message::Done(result) => drop(result?),
            Message::End => return ending.outcome(),
        }
    }
}

/// Whether the cluster that is followed shuts down.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ending {
    is_orderly: bool,
}

impl Ending {
    pub(crate) fn on_event(&mut self, name: &str) {
        self.is_orderly |= name == "shutdown";
    }

    /// The outcome of following, when the connection has ended.
    pub(crate) fn outcome(self) -> Outcome {
        if self.is_orderly {
            complain("the cluster has ended");
            Ok(ExitCode::SUCCESS)
        } else {
            Err(Failure::NotRunning("the primary has ended without shutting the cluster down".into()))
        }
    }
}

/// Sends the request, prints events, and waits for the result.
fn follow(command: &'static str, target: &Target, request: Value, patience: &Patience) -> Outcome {
    let deadline = patience.deadline();
    let mut connection = find::connect(target)?;
    connection.send(request)?;
    let mut progress = Progress::new(command);
    loop {
        match connection.receive(deadline)? {
            Message::Event { name, facts } => progress.on_event(&name, &describe(&name, &facts)),
            Message::Done(result) => {
                result?;
                progress.finish();
                return Ok(ExitCode::SUCCESS);
            }
            Message::End => return Err(ended()),
        }
    }
}

/// Formats an event as one line.
pub(crate) fn describe(name: &str, facts: &Value) -> String {
    let mut line = name.to_owned();
    for (key, value) in facts.as_object().into_iter().flatten() {
        let text = match value {
            // Printed only once and separately: with the failure of the request, or below the event.
            _ if key == "stderrTail" => continue,
            Value::Null => continue,
            Value::String(text) if text.is_empty() => continue,
            Value::String(text) => text.clone(),
            Value::Object(fields) if fields.is_empty() => continue,
            Value::Number(number)
                if key.ends_with("Ms") || ["delay", "timeout", "blockedFor"].contains(&key.as_str()) =>
            {
                number.as_u64().map_or_else(|| number.to_string(), units::about)
            }
            other => other.to_string(),
        };
        let key = key.strip_suffix("Ms").unwrap_or(key);
        let part = if text.contains('\n') { [" ", key, ":\n", &text] } else { [" ", key, "=", &text] };
        line.extend(part);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_that_does_not_exit_is_named_with_the_reason() {
        let status = |blocked| json!({ "primary": { "pid": 42, "blockedMs": blocked } });
        let told = still_there(&status(json!(12_000)));
        assert!(told.contains("(pid 42) cannot exit: its JavaScript has been blocked for 12s;"), "{told}");
        assert!(
            told.contains("`rcluster stack primary --pid 42`") && told.contains("`kill -KILL 42`"),
            "{told}"
        );
        for unknown in [json!(3), json!(null)] {
            assert!(still_there(&status(unknown)).contains("(pid 42) has not exited;"));
        }
    }

    #[test]
    fn an_event_is_a_line_without_missing_facts() {
        let facts = json!({ "worker": 3, "slot": null, "bootMs": 1500, "detail": "", "reason": "it ended", "resources": {}, "stderrTail": ["x"] });
        assert_eq!(describe("ready", &facts), "ready boot=1s reason=it ended worker=3");
        let facts = json!({ "stack": "at a\nat b" });
        assert_eq!(describe("unresponsive", &facts), "unresponsive stack:\nat a\nat b");
    }
}
