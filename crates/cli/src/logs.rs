//! `rcluster logs`: the output of workers.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::Logs;
use crate::connection::Message;
use crate::output::{Failure, complain, print};
use crate::{Outcome, find};

/// How long the cluster may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn run(options: &Logs) -> Outcome {
    let mut connection = find::connect(&options.target)?;
    let Logs { slot, lines, follow, json, .. } = options;
    let status = connection.ask(json!({ "verb": "status" }), Some(LIMIT))?;
    connection.send(json!({ "verb": "logs", "slot": slot, "lines": lines, "follow": follow }))?;
    let is_one = slot.is_some();
    loop {
        match connection.receive(None)? {
            Message::Done(result) => {
                for line in result?["lines"].as_array().into_iter().flatten() {
                    print(&show(line, is_one, *json))?;
                }
                if status["logs"]["mode"] == "auto" {
                    complain(
                        "the workers write stdout directly, where `rcluster start` runs; `start --logs prefix` shows it here, too",
                    );
                }
                if !follow {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Message::Event { name, facts } if name == "log" => print(&show(&facts, is_one, *json))?,
            Message::Event { facts, .. } => {
                complain(&format!(
                    "{} lines are missing here, because they were not read in time",
                    facts["lines"]
                ));
            }
            Message::End => return Err(Failure::NotRunning("the cluster has ended".into())),
        }
    }
}

/// Formats a line for printing; with its slot, if lines of other slots are printed as well.
fn show(line: &Value, is_one: bool, json: bool) -> String {
    if json {
        return line.to_string();
    }
    let text = printable(line["text"].as_str().unwrap_or_default());
    match (is_one, line["slot"].as_u64()) {
        (true, _) => text,
        (false, Some(slot)) => format!("[slot {slot}] {text}"),
        (false, None) => format!("[standby] {text}"),
    }
}

/// Replaces control characters, so that a worker cannot move the cursor or otherwise control the terminal.
/// Colours are kept.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(length) = colour(rest) {
            shown.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        shown.push(if first.is_control() && first != '\t' { '\u{fffd}' } else { first });
        rest = &rest[first.len_utf8()..];
    }
    if shown.contains('\u{1b}') {
        shown.push_str("\u{1b}[0m");
    }
    shown
}

/// The length of the colour sequence at the beginning of the text, if there is one.
fn colour(text: &str) -> Option<usize> {
    let codes = text.strip_prefix("\u{1b}[")?;
    let end = codes.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    codes[end..].starts_with('m').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_other_controls_do_not() {
        assert_eq!(printable("a\tb\u{fc}"), "a\tb\u{fc}");
        assert_eq!(printable("\u{1b}[31;1mred"), "\u{1b}[31;1mred\u{1b}[0m");
        assert_eq!(printable("\u{1b}[2J\r\u{1b}"), "\u{fffd}[2J\u{fffd}\u{fffd}");
    }

    #[test]
    fn the_slot_is_shown_where_there_are_others() {
        let line = json!({ "slot": 1, "text": "x", "stream": "stdout" });
        assert_eq!((show(&line, true, false), show(&line, false, false)), ("x".into(), "[slot 1] x".into()));
        assert_eq!(show(&json!({ "slot": null, "text": "x" }), false, false), "[standby] x");
        assert_eq!(show(&line, false, true), line.to_string());
    }
}
