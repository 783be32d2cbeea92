//! What starting a program costs the calling thread, beside the ways there were before: in a small
//! process, and in one with a large heap. `cargo bench --bench spawn`
#![allow(unsafe_code, reason = "fork is called here to compare with it")]

use std::ffi::CString;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::ptr;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, geteuid, pipe2};
use rcluster_sys::exit;
use rcluster_sys::spawn::{Spawn, dev_null};

/// A heap of this size, made of blocks that are as small as those of a real one.
const HEAP: usize = 1536 << 20;
const BLOCK: usize = 64 << 10;

/// Starts `/bin/true` once and says how long the calling thread was busy with it.
type Way = fn(&OwnedFd) -> Duration;

fn main() {
    measure("small process", 500);
    let mut heap: Vec<Vec<u8>> = Vec::new();
    heap.resize_with(HEAP / BLOCK, || vec![1; BLOCK]);
    measure("1.5 GB of heap", 100);
    black_box(&heap);
}

/// Takes the ways in turn, so that all see the same machine, and prints the median of each.
fn measure(title: &str, turns: usize) {
    let null = dev_null().unwrap();
    let ways: [(&str, Way); 5] = [
        ("Spawn", |null| ours(null, None)),
        ("Spawn with a uid", |null| ours(null, Some(geteuid().as_raw()))),
        ("fork", fork_only),
        ("fork, until exec", fork_until_exec),
        ("std::process::Command", command),
    ];
    let mut times = vec![Vec::with_capacity(turns); ways.len()];
    for _ in 0..turns {
        for ((_, way), times) in ways.iter().zip(&mut times) {
            times.push(way(&null));
        }
    }
    println!("{title}, median of {turns} on the calling thread:");
    for ((name, _), times) in ways.iter().zip(&mut times) {
        times.sort_unstable();
        println!("  {name:24}{:9.1} µs", times[turns / 2].as_secs_f64() * 1e6);
    }
}

fn ours(null: &OwnedFd, uid: Option<u32>) -> Duration {
    let spawn = Spawn {
        file: c"/bin/true".into(),
        args: vec![c"true".into()],
        env: vec![CString::new("PATH=/bin").unwrap()],
        uid,
        fds: vec![null.as_fd(); 3],
        ..Spawn::default()
    };
    let start = Instant::now();
    let child = spawn.spawn().unwrap();
    let time = start.elapsed();
    assert_eq!(exit::wait(child.pidfd.as_fd()).unwrap(), exit::Exit::Code(0));
    time
}

/// The least that `fork` can cost: without a word on whether the program was found.
fn fork_only(_: &OwnedFd) -> Duration {
    let start = Instant::now();
    let child = fork_and_exec();
    let time = start.elapsed();
    waitpid(child, None).unwrap();
    time
}

/// What libuv does: the child's end of a pipe closes when the program is executed.
fn fork_until_exec(_: &OwnedFd) -> Duration {
    let start = Instant::now();
    let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let child = fork_and_exec();
    drop(writer);
    assert_eq!(File::from(reader).read(&mut [0; 4]).unwrap(), 0);
    let time = start.elapsed();
    waitpid(child, None).unwrap();
    time
}

fn fork_and_exec() -> Pid {
    let args = [c"true".as_ptr(), ptr::null()];
    // SAFETY: the child only makes the two system calls below.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: C strings and an array of them, ended by a null pointer.
        unsafe { libc::execve(c"/bin/true".as_ptr(), args.as_ptr(), [ptr::null()].as_ptr()) };
        // SAFETY: ends the child without the parent's exit handlers.
        unsafe { libc::_exit(127) };
    }
    assert!(pid > 0, "fork failed");
    Pid::from_raw(pid)
}

fn command(_: &OwnedFd) -> Duration {
    let mut command = Command::new("/bin/true");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let time = start.elapsed();
    assert!(child.wait().unwrap().success());
    time
}
