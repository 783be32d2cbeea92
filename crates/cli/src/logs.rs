//! `rcluster logs`: the output of workers.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::Logs;
use crate::connection::Message;
use crate::follow::Ending;
use crate::output::{Failure, complain, print, print_json};
use crate::{Outcome, find};

/// How long the cluster may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn run(options: &Logs) -> Outcome {
    let mut connection = find::connect(&options.target)?;
    let Logs { slot, lines, follow, json, .. } = options;
    let status = connection.ask(json!({ "verb": "status" }), Some(LIMIT))?;
    connection.send(json!({ "verb": "logs", "slot": slot, "lines": lines, "follow": follow }))?;
    if *follow {
        // For the shutdown.
        connection.send(json!({ "verb": "watch" }))?;
    }
    let is_one = slot.is_some();
    let mut ending = Ending::default();
    loop {
        match connection.receive(None)? {
            Message::Done(result) => {
                let result = result?;
                // The answer to the other request has none.
                let Some(lines) = result["lines"].as_array() else { continue };
                for line in lines {
                    show(line, is_one, *json)?;
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
            Message::Event { name, facts } if name == "log" => show(&facts, is_one, *json)?,
            Message::Event { name, facts } if name == "lost" => {
                complain(&format!(
                    "{} lines are missing here, because they were not read in time",
                    facts["lines"]
                ));
            }
            Message::Event { name, .. } => ending.on_event(&name),
            Message::End => return ending.outcome(),
        }
    }
}

fn show(line: &Value, is_one: bool, json: bool) -> Result<(), Failure> {
    if json { print_json(&line.to_string()) } else { print(&format(line, is_one)) }
}

/// Formats a line for printing; with its slot, if lines of other slots are printed as well.
fn format(line: &Value, is_one: bool) -> String {
    let text = line["text"].as_str().unwrap_or_default();
    match (is_one, line["slot"].as_u64()) {
        (true, _) => text.to_owned(),
        (false, Some(slot)) => format!("[slot {slot}] {text}"),
        (false, None) => format!("[standby] {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_is_shown_if_several_are_printed() {
        let line = json!({ "slot": 1, "text": "x", "stream": "stdout" });
        assert_eq!((format(&line, true), format(&line, false)), ("x".into(), "[slot 1] x".into()));
        assert_eq!(format(&json!({ "slot": null, "text": "x" }), false), "[standby] x");
    }
}
