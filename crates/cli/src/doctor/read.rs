//! The readings for the checks, as seen by this process. Any of them may be missing.

use std::fs::{read, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use rcluster_core::control::operator::{Place, Surroundings};
use rcluster_sys::cgroup::{Cgroups, usable_cpus};
use rcluster_sys::listen::private::own_user;
use rcluster_sys::probe::{self, FEATURES, Feature};
use rcluster_sys::program::find;
use serde::Deserialize;

/// Set by `bin/rcluster.js`: the executable of Node, if that has run it, and the directory of the package.
const NODE: &str = "RCLUSTER_NODE";
const PACKAGE: &str = "RCLUSTER_PACKAGE";

/// Set by the operator: `1` uses the built-in. See `lib/system.js`.
const FALLBACK: &str = "RCLUSTER_FALLBACK";

/// What Node reports about itself and the native part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Node {
    pub(super) version: String,
    /// Why the native part cannot be loaded; `None` if it can.
    pub(super) failure: Option<String>,
}

/// A directory, and whether this process may create files in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) writable: bool,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Readings {
    pub(super) node: Option<Result<Node, String>>,
    pub(super) kernel: Option<String>,
    /// The features tried, and the kernel's error, if any.
    pub(super) features: Vec<(Feature, Option<String>)>,
    pub(super) open_files: (u64, u64),
    /// Whether the built-in is used instead of the native part, because the environment says so.
    pub(super) is_fallback: bool,
    /// Of the cgroup: the current and the maximum number of processes and threads.
    pub(super) pids: Option<(u64, u64)>,
    pub(super) somaxconn: Option<u64>,
    pub(super) cpus: u32,
    pub(super) memory_limit: Option<u64>,
    pub(super) temporary: Option<Directory>,
    /// The places of the control socket, best first, and whether each can be used.
    pub(super) socket_places: Vec<(Place, bool)>,
    pub(super) lists_sockets: bool,
    pub(super) shows_processes: bool,
    pub(super) notify_socket: Option<String>,
    pub(super) watchdog: Option<String>,
    pub(super) clock_source: Option<String>,
    /// In seconds since the epoch.
    pub(super) time: u64,
}

impl Readings {
    pub(super) fn take() -> Self {
        let number = |path: &str| read_to_string(path).ok()?.trim().parse().ok();
        let text = |path: &str| Some(read_to_string(path).ok()?.trim().to_owned());
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let groups = Cgroups::of_this_process();
        Self {
            node: ask_node(),
            is_fallback: variable(FALLBACK).is_some_and(|value| value == "1"),
            kernel: text("/proc/sys/kernel/osrelease"),
            features: FEATURES
                .iter()
                .map(|feature| (*feature, feature.probe().err().map(|error| error.to_string())))
                .collect(),
            open_files: probe::open_files(),
            pids: groups.processes(),
            somaxconn: number("/proc/sys/net/core/somaxconn"),
            cpus: usable_cpus(&groups),
            memory_limit: groups.memory_limit(),
            temporary: Some(directory(std::env::temp_dir())),
            socket_places: socket_places(&variable),
            // Not as text: a socket may have any bytes as its name.
            lists_sockets: read("/proc/net/unix").is_ok(),
            shows_processes: read_to_string("/proc/self/stat").is_ok(),
            notify_socket: variable("NOTIFY_SOCKET"),
            watchdog: variable("WATCHDOG_USEC"),
            clock_source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }
}

fn directory(path: PathBuf) -> Directory {
    let writable = probe::can_write_to(&path);
    Directory { path, writable }
}

/// Starts Node as workers are started, and makes it load the native part.
fn ask_node() -> Option<Result<Node, String>> {
    let package = std::env::var_os(PACKAGE)?;
    let node = std::env::var_os(NODE).or_else(|| Some(find("node")?.into_os_string()));
    let Some(node) = node else { return Some(Err("there is no program `node` in PATH".into())) };
    let probe = Path::new(&package).join("lib").join("cli").join("probe.js");
    let output = Command::new(node).arg(probe).stdin(Stdio::null()).output();
    Some(output.map_err(|error| error.to_string()).and_then(|output| {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        serde_json::from_slice(&output.stdout)
            .map_err(|_| if said.is_empty() { output.status.to_string() } else { said })
    }))
}

fn socket_places(variable: &dyn Fn(&str) -> Option<String>) -> Vec<(Place, bool)> {
    let surroundings = Surroundings {
        runtime_directory: variable("RUNTIME_DIRECTORY"),
        session_directory: variable("XDG_RUNTIME_DIR"),
        uid: own_user(),
        pid: std::process::id(),
    };
    let usable = |place: &Place| match place {
        Place::Abstract(_) => true,
        Place::Path(path) => {
            // The directory for several clusters is created if it is missing.
            let parents = path.ancestors().skip(1).take(2);
            parents.into_iter().find(|parent| parent.exists()).is_some_and(probe::can_write_to)
        }
    };
    let places = Place::candidates("auto", &surroundings);
    places.into_iter().map(|place| (place.clone(), usable(&place))).collect()
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    use super::*;

    #[test]
    fn sockets_are_listed_whatever_their_names_are() {
        let mut name = format!("rcluster-doctor-{}-", std::process::id()).into_bytes();
        name.push(0xff);
        let _other = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        assert!(Readings::take().lists_sockets);
    }
}
