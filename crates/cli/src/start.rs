//! `rcluster start`: checks the options, and passes the plan to the shim.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::args::{Log, LogMode, Ready, Start};
use crate::output::{self, Failure};

/// Set by the shim, which reads the plan.
const SHIM: &str = "RCLUSTER_SHIM";

/// The exit code that marks the output as a plan.
const PLAN: u8 = 100;

/// The extensions that Node tries if it does not find a program.
const EXTENSIONS: [&str; 4] = ["", ".js", ".json", ".node"];

pub(crate) fn plan(start: &Start) -> Outcome {
    if std::env::var_os(SHIM).is_none() {
        let text =
            "`start` needs Node: run it as `npx rcluster start`, or as `rcluster start` where npm has put it";
        return Err(Failure::Usage(text.into()));
    }
    let plan = json!({
        "app": program(&start.app)?,
        "args": start.args,
        "config": start.config.as_deref().map(file).transpose()?,
        "envFile": start.env_file.as_deref().map(file).transpose()?,
        "watch": watched(start)?,
        "options": options(start),
    });
    output::print(&plan.to_string())?;
    Ok(ExitCode::from(PLAN))
}

/// The options of `supervise()`, under their names there.
fn options(start: &Start) -> Map<String, Value> {
    let ms = |time: Duration| json!(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let mut options = Map::new();
    let workers = |text: &String| text.parse::<u32>().map_or_else(|_| json!("auto"), Value::from);
    let given = [
        ("workers", start.workers.as_ref().map(workers)),
        ("standby", start.standby.map(Value::from)),
        ("control", start.control.clone().map(Value::from)),
        ("metrics", start.metrics.clone().map(Value::from)),
        ("minReady", start.min_ready.map(Value::from)),
        (
            "ready",
            start.ready.map(|ready| {
                json!(match ready {
                    Ready::Online => "online",
                    Ready::Listening => "listening",
                    Ready::Explicit => "explicit",
                })
            }),
        ),
        ("unresponsiveAfter", start.unresponsive_after.map(ms)),
        ("recycle", start.max_memory.as_ref().map(|memory| json!({ "memory": memory }))),
        ("drainTimeout", start.drain_timeout.map(ms)),
        ("shutdownDelay", start.shutdown_delay.map(ms)),
        (
            "logs",
            start.logs.map(|mode| {
                json!(match mode {
                    LogMode::Auto => "auto",
                    LogMode::Inherit => "inherit",
                    LogMode::Raw => "raw",
                    LogMode::Prefix => "prefix",
                    LogMode::Json => "json",
                })
            }),
        ),
        (
            "log",
            start.log.map(|log| match log {
                Log::Off => json!(false),
                Log::Warn => json!("warn"),
                Log::Info => json!("info"),
            }),
        ),
    ];
    options.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    options
}

/// The program, resolved as Node does it. A directory is left to Node.
fn program(app: &Path) -> Result<String, Failure> {
    let exists = |extension: &&str| {
        let mut name = app.as_os_str().to_owned();
        name.push(extension);
        PathBuf::from(name).exists()
    };
    if !EXTENSIONS.iter().any(exists) {
        return Err(Failure::Usage(format!("there is no program {}", app.display())));
    }
    absolute(app)
}

/// The paths to watch; null for none. Folders that the operator has chosen are watched with everything in
/// them.
fn watched(start: &Start) -> Result<Value, Failure> {
    if !start.watch && start.watch_path.is_empty() {
        return Ok(Value::Null);
    }
    let missing = start.watch_path.iter().find(|path| !path.exists());
    if let Some(path) = missing {
        return Err(Failure::Usage(format!("there is nothing to watch at {}", path.display())));
    }
    let chosen: Vec<String> = start.watch_path.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?;
    Ok(json!({ "paths": chosen }))
}

fn file(path: &Path) -> Result<String, Failure> {
    if !path.is_file() {
        return Err(Failure::Usage(format!("there is no file {}", path.display())));
    }
    absolute(path)
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path).map_err(|error| Failure::Usage(error.to_string()))?;
    path.into_os_string().into_string().map_err(|_| Failure::Usage("a path is not UTF-8".into()))
}
