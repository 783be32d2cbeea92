//! What to start a worker with, between JavaScript and the control thread.

use std::ffi::CString;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use napi_derive::napi;

use crate::io::control::{Inspect, Launch, Ports, Preload, Stdio};
use rcluster_core::inspect::Chosen;
use rcluster_sys::error::SysError;
use rcluster_sys::package::Package;
use rcluster_sys::passing::duplicate_number;

/// What a descriptor of the worker is to be.
#[napi(object)]
pub struct StdioSpec {
    /// `ignore`: /dev/null. `pipe`: a socket pair whose other end comes back. `fd`: a duplicate.
    #[napi(ts_type = "'ignore' | 'pipe' | 'fd'")]
    pub kind: String,
    /// The descriptor of this process that is meant by `fd`.
    pub fd: Option<i32>,
}

/// What to spawn.
#[napi(object)]
pub struct SpawnOptions {
    /// The worker's number.
    pub id: u32,
    /// The program; searched on the PATH of `env` when it has no slash.
    pub file: String,
    /// Its arguments, beginning with its name.
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
    /// Whether it leads a session and process group of its own.
    pub detached: Option<bool>,
    /// Whether it is a program that knows nothing of us: it gets SIGTERM when it is to go, and when the
    /// primary ends.
    pub external: Option<bool>,
    /// The path of what Node loads first, as `args` or `env` has it.
    pub preload: Option<String>,
    /// Where each worker has an inspector's port of its own.
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

/// Beside the folder `lib`.
const FILES: [&str; 1] = ["package.json"];
/// What a worker may load; what the primary needs has been loaded.
const FOLDERS: [&str; 1] = ["lib"];
const FIRST: &str = "lib/worker/preload.js";

impl PackageFiles {
    /// Keeps them for workers to come. None if they cannot be read by the system, as those in a zip file cannot: then
    /// workers load them wherever they are.
    pub(super) fn keep(&self) -> Option<Arc<Package>> {
        let kept = Package::keep(Path::new(&self.root), &FILES, &FOLDERS, FIRST, Path::new(&self.addon));
        kept.ok().map(Arc::new)
    }
}

/// Where the ports of the workers' inspectors come from.
#[napi(object)]
pub struct InspectSpec {
    /// Which of the arguments names the port.
    pub argument: u32,
    /// The primary's own port, if they are counted from there.
    pub debug_port: Option<u32>,
    /// Otherwise those that the app has chosen, one for each worker to come.
    pub ports: Option<Vec<String>>,
}

/// As the control thread knows it; descriptors are duplicated.
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
        ("fd", Some(number)) => Ok(Stdio::Same(duplicate_number(number)?)),
        _ => Err(SysError::invalid("reading what a descriptor of a worker is to be")),
    }
}

/// Descriptors as JavaScript takes them over, by number.
pub(super) fn numbers(pipes: Vec<Option<OwnedFd>>) -> Vec<i32> {
    pipes.into_iter().map(|fd| fd.map_or(-1, IntoRawFd::into_raw_fd)).collect()
}

fn texts(texts: Vec<String>) -> Result<Vec<CString>, SysError> {
    texts.into_iter().map(text).collect()
}

fn text(text: String) -> Result<CString, SysError> {
    CString::new(text).map_err(|_| SysError::invalid("reading a text that may not hold a NUL character"))
}
