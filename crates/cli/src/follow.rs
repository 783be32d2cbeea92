//! Commands that send a request and follow it: a line on stderr for each step, and the exit code for the
//! result.

use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};

use crate::args::{Events, OfSlot, Patience, Reload, Scale, Stack, Stop, Target};
use crate::connection::{Message, ended, last_lines};
use crate::output::{Failure, print, print_json};
use crate::progress::Progress;
use crate::{Outcome, find, units};

pub(crate) fn reload(options: &Reload) -> Outcome {
    let request = json!({ "verb": "reload", "concurrency": options.concurrency });
    follow("reload", &options.target, request, &options.patience, false)
}

pub(crate) fn scale(options: &Scale) -> Outcome {
    // A number, or a form that the cluster parses: +1, -1 and auto.
    let is_difference = options.workers.starts_with(['+', '-']);
    let number = options.workers.parse::<u32>().ok().filter(|_| !is_difference);
    let workers = number.map_or_else(|| json!(options.workers), |number| json!(number));
    follow("scale", &options.target, json!({ "verb": "scale", "workers": workers }), &options.patience, false)
}

pub(crate) fn restart(options: &OfSlot) -> Outcome {
    follow(
        "restart",
        &options.target,
        json!({ "verb": "restart", "slot": options.slot }),
        &options.patience,
        false,
    )
}

pub(crate) fn drain(options: &OfSlot) -> Outcome {
    follow(
        "drain",
        &options.target,
        json!({ "verb": "drain", "slot": options.slot }),
        &options.patience,
        false,
    )
}

pub(crate) fn stop(options: &Stop) -> Outcome {
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let request = json!({
        "verb": "stop",
        "delay": options.delay.map(ms),
        "timeout": options.drain_timeout.map(ms),
    });
    follow("stop", &options.target, request, &options.patience, true)
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
    loop {
        match connection.receive(None)? {
            Message::Event { name, facts } if options.json => {
                print_json(&json!({ "event": name, "facts": facts }).to_string())?;
            }
            Message::Event { name, facts } => {
                let mut text = describe(&name, &facts);
                text.extend(last_lines(&facts));
                print(&text)?;
            }
            Message::Done(result) => drop(result?),
            Message::End => return Err(Failure::NotRunning("the cluster has ended".into())),
        }
    }
}

/// Sends the request, prints events, and waits for the result; with `ends`, also for the end of the primary.
fn follow(
    command: &'static str,
    target: &Target,
    request: Value,
    patience: &Patience,
    ends: bool,
) -> Outcome {
    let deadline = patience.timeout.map(|limit| Instant::now() + limit);
    let mut connection = find::connect(target)?;
    connection.send(request)?;
    let mut is_ending = false;
    let mut progress = Progress::new(command);
    loop {
        match connection.receive(deadline)? {
            Message::Event { name, facts } => {
                is_ending |= name == "shutdown";
                progress.on_event(&name, &describe(&name, &facts));
            }
            Message::Done(result) => {
                result?;
                if !ends {
                    progress.finish();
                    return Ok(ExitCode::SUCCESS);
                }
                is_ending = true;
            }
            // The socket closes when the primary exits.
            Message::End if ends && is_ending => {
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
    fn an_event_is_a_line_without_missing_facts() {
        let facts = json!({ "worker": 3, "slot": null, "bootMs": 1500, "detail": "", "reason": "it ended", "resources": {}, "stderrTail": ["x"] });
        assert_eq!(describe("ready", &facts), "ready boot=1s reason=it ended worker=3");
        let facts = json!({ "stack": "at a\nat b" });
        assert_eq!(describe("unresponsive", &facts), "unresponsive stack:\nat a\nat b");
    }
}
