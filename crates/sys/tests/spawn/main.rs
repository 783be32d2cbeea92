//! Real processes: started, inspected and reaped.
#![allow(unsafe_code, reason = "signal dispositions and a thread's own identity are set here")]

mod descriptors;
mod identity;
mod life;
mod program;

use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nix::errno::Errno;
use nix::unistd::{geteuid, getpid};
use rcluster_sys::error::SysError;
use rcluster_sys::exit::{Exit, wait};
use rcluster_sys::spawn::{Child, Spawn, dev_null, socket_pair};

/// Held shared by every test, and exclusively by those that count resources of the whole process, or write a
/// program: a process started meanwhile would inherit the file open for writing, and it could not be
/// executed.
static PROCESS: RwLock<()> = RwLock::new(());

/// A failed test does not affect the process, so a poisoned lock is ignored.
fn share_process() -> RwLockReadGuard<'static, ()> {
    PROCESS.read().unwrap_or_else(PoisonError::into_inner)
}

fn own_process() -> RwLockWriteGuard<'static, ()> {
    PROCESS.write().unwrap_or_else(PoisonError::into_inner)
}

fn strings(values: &[&str]) -> Vec<CString> {
    values.iter().map(|value| CString::new(*value).unwrap()).collect()
}

fn command(args: &[&str]) -> Spawn<'static> {
    let args = strings(args);
    Spawn { file: args[0].clone(), args, env: strings(&["PATH=/usr/bin:/bin"]), ..Spawn::default() }
}

fn shell(script: &str) -> Spawn<'static> {
    command(&["/bin/sh", "-c", script])
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

/// The same program started with shared memory and with a copy, as a change of identity requires.
fn both_ways<'fd>(spawn: &Spawn<'fd>) -> [Spawn<'fd>; 2] {
    [spawn.clone(), Spawn { uid: Some(geteuid().as_raw()), ..spawn.clone() }]
}

/// Starts a program with the three standard streams, and `more` from number 3 on.
fn start(spawn: &Spawn<'_>, more: &[BorrowedFd<'_>]) -> Result<(Child, UnixStream), SysError> {
    let null = dev_null()?;
    let (ours, theirs) = socket_pair()?;
    let mut fds = vec![null.as_fd(), theirs.as_fd(), theirs.as_fd()];
    fds.extend_from_slice(more);
    let child = Spawn { fds, ..spawn.clone() }.spawn()?;
    let stream = UnixStream::from(ours);
    stream.set_nonblocking(false).unwrap();
    Ok((child, stream))
}

/// The exit and the output of a program.
fn outcome(spawn: &Spawn<'_>, more: &[BorrowedFd<'_>]) -> (Exit, String) {
    let (child, mut stream) = start(spawn, more).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    (wait(child.pidfd.as_fd()).unwrap(), text)
}

fn output(spawn: &Spawn<'_>) -> String {
    let (exit, text) = outcome(spawn, &[]);
    assert_eq!(exit, Exit::Code(0), "{text}");
    text
}

fn failure(spawn: &Spawn<'_>) -> (&'static str, Errno) {
    let error = start(spawn, &[]).map(|(child, _)| child).unwrap_err();
    assert_eq!(error.negative_errno(), -(error.errno as i32));
    (error.doing, error.errno)
}

/// A directory for one test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rcluster-spawn-{}-{name}", getpid()));
        fs::create_dir(&path).unwrap();
        Self(fs::canonicalize(path).unwrap())
    }

    fn write(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}
