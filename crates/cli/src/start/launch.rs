//! Turns this process into the primary: it executes Node.
//!
//! Node takes longer to start than everything else before a first answer, so that of the first worker is started at the same
//! time.

use std::env;
use std::ffi::{CString, OsString};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use rcluster_sys::early::EarlyWorker;
use rcluster_sys::program::{find, is_binary, leave_text};
use rcluster_sys::spawn::Spawn;

use crate::output::{Failure, reason};

/// The number of the descriptor from which `bin/rcluster.js` reads the plan.
const PLAN: &str = "RCLUSTER_PLAN";

/// Variables that were set for this executable only.
const OURS: [&str; 3] = ["RCLUSTER_SHIM", "RCLUSTER_NODE", "RCLUSTER_PACKAGE"];

/// With one of these, the primary would start something else: Node has other options, rcluster uses the built-in, or a service
/// manager has set what workers do not get.
const SPECIAL: [&str; 6] =
    ["NODE_OPTIONS", "NODE_UNIQUE_ID", "NODE_CHANNEL_FD", "RCLUSTER_FALLBACK", "NOTIFY_SOCKET", "LISTEN_FDS"];

/// Executes Node with the primary's program. Returns only why that failed.
pub(super) fn execute_node(mut plan: Value, package: &Path) -> Failure {
    let Some(node) = find("node") else {
        return Failure::Refused("`start` needs Node: there is no program `node` in PATH".into());
    };
    // If it cannot be started, the first worker is started as all others, and that error is reported.
    if let Some(early) = early_worker(&plan, &node, package)
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
    for name in OURS {
        command.env_remove(name);
    }
    let error = command.env(PLAN, number.to_string()).exec();
    Failure::Refused(format!("cannot execute {}: {}", node.display(), reason(&error)))
}

/// Starts the first worker's Node as the primary would: see `lib/cli/start.js` and `lib/seam/request.js`. The primary
/// uses it only if nothing differs.
fn early_worker(plan: &Value, node: &Path, package: &Path) -> Option<EarlyWorker> {
    if SPECIAL.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return None;
    }
    let node = node.canonicalize().ok().filter(is_node)?;
    let text = |name: &str| plan[name].as_str().map(OsString::from);
    let mut args = vec![node.clone().into_os_string()];
    args.extend(text("envFile").map(|file| joined(["--env-file=".into(), file])));
    args.extend(["-r".into(), package.join("lib/worker/preload.js").into_os_string(), text("app")?]);
    args.extend(plan["args"].as_array()?.iter().filter_map(|arg| arg.as_str().map(OsString::from)));
    let mut variables: Vec<OsString> = env::vars_os()
        .filter(|(name, _)| !OURS.iter().any(|ours| name == ours))
        .map(|(name, value)| joined([name, "=".into(), value]))
        .collect();
    let addon = joined(["RCLUSTER_ADDON=".into(), addon()?.into_os_string()]);
    variables.extend([
        "NODE_UNIQUE_ID=1".into(),
        "NODE_CHANNEL_FD=3".into(),
        "NODE_CHANNEL_SERIALIZATION_MODE=json".into(),
        addon,
    ]);
    let spawn = Spawn {
        file: c_string(node.into_os_string())?,
        args: args.into_iter().map(c_string).collect::<Option<_>>()?,
        env: variables.into_iter().map(c_string).collect::<Option<_>>()?,
        cwd: text("cwd").map(c_string).map_or(Some(None), |cwd| cwd.map(Some))?,
        ..Spawn::default()
    };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    EarlyWorker::start(spawn, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).ok()
}

/// Whether it is Node itself. Version managers have programs of that name that look for one.
fn is_node(file: &PathBuf) -> bool {
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
