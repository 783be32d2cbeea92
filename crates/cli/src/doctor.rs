//! `rcluster doctor`: checks for obstacles to running a cluster on this machine, and gives advice.

mod judge;
mod read;

use std::process::ExitCode;

use serde::Serialize;

use self::read::Readings;
use crate::Outcome;
use crate::args::Doctor;
use crate::output::{print, print_json};

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    /// What to do; `None` if the check has passed.
    advice: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It works, but could be better.
    Warn,
    /// It does not work.
    Fail,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), advice: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Fail, found: found.into(), advice: Some(advice.into()) }
    }
}

pub(crate) fn run(options: &Doctor) -> Outcome {
    let checks = judge::all(&Readings::take());
    if options.json {
        print_json(&serde_json::to_string(&checks).unwrap_or_default())?;
    } else {
        for line in checks.iter().flat_map(lines) {
            print(&line)?;
        }
        print(&summary(&checks))?;
    }
    let has_failed = checks.iter().any(|check| check.state == State::Fail);
    Ok(if has_failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn lines(check: &Check) -> Vec<String> {
    let state = match check.state {
        State::Ok => "ok",
        State::Warn => "warn",
        State::Fail => "fail",
    };
    let mut lines = vec![format!("{state:<5} {:<16} {}", check.name, check.found)];
    lines.extend(check.advice.as_ref().map(|advice| format!("{:<22} → {advice}", "")));
    lines
}

fn summary(checks: &[Check]) -> String {
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    match (count(State::Fail), count(State::Warn)) {
        (0, 0) => "no problems found".into(),
        (0, warnings) => format!("rcluster works here; {warnings} could be better"),
        (failures, warnings) => format!("{failures} must be fixed, {warnings} could be better"),
    }
}
