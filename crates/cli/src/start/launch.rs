//! Turns this process into the primary: it executes Node.
//!
//! Node takes longer to start than everything else before a first answer, so that of the first worker is started at the same
//! time.

use std::env;
use std::ffi::{CString, OsString};
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use rcluster_core::base64;
use rcluster_sys::early::EarlyWorker;
use rcluster_sys::program::{find, is_binary, leave_text};
use rcluster_sys::spawn::Spawn;

use crate::output::{Failure, reason};

/// The number of the descriptor from which `lib/cli/command.js` reads the plan.
const PLAN_FD: &str = "RCLUSTER_PLAN";

/// Variables that the shell has dropped, each with a NUL byte at its end, in base64.
const DROPPED: &str = "RCLUSTER_DROPPED";

/// Variables that were set for this executable only.
const FOR_EXECUTABLE: [&str; 4] = ["RCLUSTER_SHIM", "RCLUSTER_NODE", "RCLUSTER_PACKAGE", DROPPED];

/// With one of these, the primary would start something else: Node has other options, rcluster uses the built-in, or a service
/// manager has set what workers do not get.
const WITHOUT_EARLY_WORKER: [&str; 6] =
    ["NODE_OPTIONS", "NODE_UNIQUE_ID", "NODE_CHANNEL_FD", "RCLUSTER_FALLBACK", "NOTIFY_SOCKET", "LISTEN_FDS"];

/// A variable of the environment.
type Variable = (OsString, OsString);

/// Executes Node with the primary's program. Returns only why that failed.
pub(super) fn execute_node(mut plan: Value, package: &Path) -> Failure {
    let Some(node) = find("node") else {
        return Failure::Refused("`start` needs Node: there is no program `node` in PATH".into());
    };
    let variables = variables();
    // If it cannot be started, the first worker is started as all others, and that error is reported.
    if let Some(early) = early_worker(&plan, &node, package, &variables)
        && let Ok(numbers) = early.leave_to_program()
    {
        plan["early"] = json!({
            "pid": numbers.pid,
            "pidfd": numbers.pidfd,
            "orders": numbers.orders,
            "channel": numbers.channel,
        });
    }
    let number = match leave_text(c"rcluster-plan", plan.to_string().as_bytes()) {
        Ok(number) => number,
        Err(error) => return Failure::Refused(error.to_string()),
    };
    let mut command = Command::new(&node);
    command.arg0("node").arg(package.join("bin").join("rcluster.js")).args(env::args_os().skip(1));
    let error = command.env_clear().envs(variables).env(PLAN_FD, number.to_string()).exec();
    Failure::Refused(format!("cannot execute {}: {}", node.display(), reason(&error)))
}

/// The environment of Node.
fn variables() -> Vec<Variable> {
    let is_foreign = |(name, _): &Variable| !FOR_EXECUTABLE.iter().any(|ours| name == ours);
    let mut variables: Vec<_> = env::vars_os().filter(is_foreign).collect();
    for variable in env::var(DROPPED).map(|text| read_dropped(&text)).unwrap_or_default() {
        if !variables.iter().any(|(name, _)| *name == variable.0) {
            variables.push(variable);
        }
    }
    variables
}

fn read_dropped(text: &str) -> Vec<Variable> {
    let digits: String = text.split_ascii_whitespace().collect();
    let bytes = base64::decode(&digits).unwrap_or_default();
    let pairs = bytes.split(|byte| *byte == 0).filter_map(|pair| {
        let end = pair.iter().skip(1).position(|byte| *byte == b'=')? + 1;
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Some((text(&pair[..end]), text(&pair[end + 1..])))
    });
    pairs.collect()
}

/// Starts the first worker's Node as the primary would: see `lib/cli/start.js` and `lib/seam/request.js`. The primary
/// uses it only if nothing differs.
fn early_worker(plan: &Value, node: &Path, package: &Path, variables: &[Variable]) -> Option<EarlyWorker> {
    let is_special = |(name, value): &Variable| {
        !value.is_empty() && WITHOUT_EARLY_WORKER.iter().any(|special| name == special)
    };
    let node = node.canonicalize().ok().filter(|node| is_node(node))?;
    let text = |name: &str| plan[name].as_str().map(OsString::from);
    if variables.iter().any(is_special) || changes_before_start(plan) {
        return None;
    }
    let mut args = vec![node.clone().into_os_string()];
    args.extend(text("envFile").map(|file| joined(["--env-file=".into(), file])));
    args.extend(["-r".into(), package.join("lib/worker/preload.js").into_os_string(), text("app")?]);
    args.extend(plan["args"].as_array()?.iter().filter_map(|arg| arg.as_str().map(OsString::from)));
    let pair = |(name, value): &Variable| joined([name.clone(), "=".into(), value.clone()]);
    let mut environment: Vec<OsString> = variables.iter().map(pair).collect();
    let addon = joined(["RCLUSTER_ADDON=".into(), addon()?.into_os_string()]);
    environment.extend([
        "NODE_UNIQUE_ID=1".into(),
        "NODE_CHANNEL_FD=3".into(),
        "NODE_CHANNEL_SERIALIZATION_MODE=json".into(),
        addon,
    ]);
    let spawn = Spawn {
        file: c_string(node.into_os_string())?,
        args: args.into_iter().map(c_string).collect::<Option<_>>()?,
        env: environment.into_iter().map(c_string).collect::<Option<_>>()?,
        cwd: match text("cwd") {
            Some(cwd) => Some(c_string(cwd)?),
            None => None,
        },
        ..Spawn::default()
    };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    EarlyWorker::start(spawn, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).ok()
}

/// Whether the file with variables may be another one when the primary starts workers, or has options for Node.
fn changes_before_start(plan: &Value) -> bool {
    let Some(file) = plan["envFile"].as_str() else { return false };
    let has_options = || fs::read_to_string(file).is_ok_and(|text| text.contains("NODE_OPTIONS"));
    !plan["config"].is_null() || has_options()
}

/// Whether it is Node itself. Version managers have programs of that name that look for one.
fn is_node(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "node" || name == "nodejs") && is_binary(file)
}

/// The native part for Node, which is beside this executable under a similar name.
fn addon() -> Option<PathBuf> {
    let executable = env::current_exe().ok()?;
    let (_, system) = executable.file_name()?.to_str()?.split_once('.')?;
    let addon = executable.with_file_name(format!("rcluster.{system}.node"));
    addon.is_file().then_some(addon)
}

fn joined(parts: impl IntoIterator<Item = OsString>) -> OsString {
    parts.into_iter().collect()
}

fn c_string(text: OsString) -> Option<CString> {
    CString::new(text.into_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_variables_are_read_whatever_they_contain() {
        let text = base64::encode(b"my.option=a=b\0a-b=two\nlines\0=odd=1\0nothing\0");
        let (start, end) = text.split_at(8);
        let variables = read_dropped(&format!("{start}\n{end}\n"));
        let expected = [("my.option", "a=b"), ("a-b", "two\nlines"), ("=odd", "1")];
        assert_eq!(variables, expected.map(|(name, value)| (name.into(), value.into())));
        assert!(read_dropped("").is_empty() && read_dropped("no base64").is_empty());
    }
}
