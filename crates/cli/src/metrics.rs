//! `rcluster metrics`: the metrics, for a collector that reads the output of commands.

use std::io::{IsTerminal as _, stdout};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::args::Metrics;
use crate::output::{Failure, print, print_exactly};
use crate::{Outcome, find};

/// How long the cluster may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn run(options: &Metrics) -> Outcome {
    let answer = find::connect(&options.target)?.ask(json!({ "verb": "metrics" }), Some(LIMIT))?;
    let text = answer["text"].as_str();
    let text = text.ok_or_else(|| Failure::Refused("the cluster has answered without metrics".into()))?;
    // Printing adds the final line break.
    let text = text.trim_end();
    let print = if stdout().is_terminal() { print } else { print_exactly };
    print(text)?;
    Ok(ExitCode::SUCCESS)
}
