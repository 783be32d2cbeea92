//! What to start a worker with, between JavaScript and the supervisor.

use std::ffi::CString;
use std::os::fd::{IntoRawFd, OwnedFd};

use napi_derive::napi;

use crate::io::supervisor::{Launch, Stdio};
use crate::sys::error::SysError;
use crate::sys::passing::duplicate_number;

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
    pub stranger: Option<bool>,
}

/// As the supervisor knows it; descriptors are duplicated.
pub(super) fn launch(options: SpawnOptions) -> Result<Launch, SysError> {
    Ok(Launch {
        file: text(options.file)?,
        args: texts(options.args)?,
        env: texts(options.env)?,
        cwd: options.cwd.map(text).transpose()?,
        uid: options.uid,
        gid: options.gid,
        detached: options.detached.unwrap_or(false),
        stranger: options.stranger.unwrap_or(false),
        stdio: options.stdio.iter().map(stdio).collect::<Result<_, _>>()?,
    })
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
