//! Conversion of a worker's launch from JavaScript for the control thread.

use std::ffi::CString;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use napi_derive::napi;

use super::shared::failure;
use crate::io::control::{Inspect, Launch, Ports, Preload, Stdio};
use rcluster_core::inspect::Chosen;
use rcluster_sys::descriptor::{adopt, duplicate_number, replace};
use rcluster_sys::error::SysError;
use rcluster_sys::package::Package;

/// The source of one of the worker's descriptors.
#[napi(object)]
pub struct StdioSpec {
    /// `ignore`: /dev/null. `pipe`: a socket pair, whose other end is returned. `fd`: a duplicate of `fd`.
    /// `inherit`: the same, for the descriptor of the same number; supervision may capture the output.
    #[napi(ts_type = "'ignore' | 'pipe' | 'fd' | 'inherit'")]
    pub kind: String,
    /// The descriptor of this process for `fd` or `inherit`.
    pub fd: Option<i32>,
}

/// The options of a worker to spawn.
#[napi(object)]
pub struct SpawnOptions {
    /// The worker's number.
    pub id: u32,
    /// The program; looked up in the PATH of `env` if it has no slash.
    pub file: String,
    /// Its arguments, starting with its name.
    pub args: Vec<String>,
    /// Its environment, as `NAME=value`.
    pub env: Vec<String>,
    /// Its working directory; the primary's by default.
    pub cwd: Option<String>,
    /// Its descriptors from 0 on.
    pub stdio: Vec<StdioSpec>,
    /// The user to run as.
    pub uid: Option<u32>,
    /// The group to run as.
    pub gid: Option<u32>,
    /// Whether it becomes the leader of a new session and process group.
    pub detached: Option<bool>,
    /// Whether it is an external program: it gets SIGTERM as its order to exit, and when the primary ends.
    pub external: Option<bool>,
    /// The path of the preload, as it appears in `args` or `env`.
    pub preload: Option<String>,
    /// Set if each worker has an inspector port of its own.
    pub inspect: Option<InspectSpec>,
}

/// The files of this package that a worker loads.
#[napi(object)]
pub struct PackageFiles {
    /// The folder of the package.
    pub root: String,
    /// The native part, an absolute path.
    pub addon: String,
}

/// Next to the folder `lib`.
const FILES: [&str; 1] = ["package.json"];
/// The folder of the files that a worker may load.
const FOLDER: &str = "lib";
/// Files that primaries and apps load, from the package's original location.
const EXCEPT: [&str; 5] = ["lib/adapters", "lib/fallback", "lib/locks", "lib/primary", "lib/shared"];
const FIRST: &str = "lib/worker/preload.js";

impl PackageFiles {
    /// Keeps the files for later workers. `None` if the system cannot read them, as in a zip file: then
    /// workers load them from where they are.
    pub(super) fn keep(&self) -> Option<Arc<Package>> {
        let (root, addon) = (Path::new(&self.root), Path::new(&self.addon));
        let kept = Package::keep(root, &FILES, FOLDER, &EXCEPT, FIRST, addon);
        kept.ok().map(Arc::new)
    }
}

/// The source of the inspector ports of workers.
#[napi(object)]
pub struct InspectSpec {
    /// The index of the argument that contains the port.
    pub argument: u32,
    /// The primary's own port, if the ports are counted from there.
    pub debug_port: Option<u32>,
    /// Otherwise the ports that the app has chosen, one for each worker to come.
    pub ports: Option<Vec<String>>,
}

/// Converts the options for the control thread; descriptors are duplicated.
pub(super) fn launch(options: SpawnOptions, package: Option<&Arc<Package>>) -> Result<Launch, SysError> {
    let preload = options.preload.zip(package).map(|(path, package)| {
        let path = text(path)?;
        Ok(Preload { path, package: Arc::clone(package) })
    });
    Ok(Launch {
        file: text(options.file)?,
        args: texts(options.args)?,
        env: texts(options.env)?,
        cwd: options.cwd.map(text).transpose()?,
        uid: options.uid,
        gid: options.gid,
        detached: options.detached.unwrap_or(false),
        external: options.external.unwrap_or(false),
        preload: preload.transpose()?,
        inspect: options.inspect.map(inspect),
        stdio: options.stdio.iter().map(stdio).collect::<Result<_, _>>()?,
    })
}

fn inspect(spec: InspectSpec) -> Inspect {
    let ports = match spec.debug_port {
        Some(debug_port) => Ports::Counted { debug_port },
        None => Ports::Chosen(Chosen::new(spec.ports.unwrap_or_default())),
    };
    Inspect { argument: spec.argument as usize, ports }
}

fn stdio(spec: &StdioSpec) -> Result<Stdio, SysError> {
    match (spec.kind.as_str(), spec.fd) {
        ("ignore", _) => Ok(Stdio::Ignore),
        ("pipe", _) => Ok(Stdio::Pipe),
        ("inherit", Some(number)) => Ok(Stdio::Inherit(duplicate_number(number)?)),
        ("fd", Some(number)) => Ok(Stdio::Same(duplicate_number(number)?)),
        _ => Err(SysError::invalid("reading what a descriptor of a worker is to be")),
    }
}

/// Hands descriptors over to JavaScript, by number; -1 where there is none.
pub(super) fn numbers(pipes: Vec<Option<OwnedFd>>) -> Vec<i32> {
    pipes.into_iter().map(|fd| fd.map_or(-1, IntoRawFd::into_raw_fd)).collect()
}

fn texts(texts: Vec<String>) -> Result<Vec<CString>, SysError> {
    texts.into_iter().map(text).collect()
}

fn text(text: String) -> Result<CString, SysError> {
    CString::new(text).map_err(|_| SysError::invalid("reading a text that may not hold a NUL character"))
}

/// Replaces the descriptor `number` by `source`, and closes `source`.
#[napi(catch_unwind)]
pub fn replace_descriptor(number: i32, source: i32) -> napi::Result<()> {
    adopt(source).and_then(|source| replace(number, &source)).map_err(failure)
}
