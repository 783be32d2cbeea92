//! System calls for rcluster, one mechanism per file. Contains `libc`, `nix` and `unsafe`.
//!
//! Every descriptor is an `OwnedFd` or a `BorrowedFd`, and is created close-on-exec. This crate does not know
//! workers or listeners.
#![allow(unsafe_code, reason = "system calls are made here and nowhere else")]

pub mod alarm;
pub mod async_fd;
pub mod cgroup;
pub mod client;
pub mod clock;
pub mod closer;
pub mod descriptor;
pub mod early;
pub mod epoll;
pub mod error;
pub mod exit;
pub mod figures;
pub mod file_watch;
pub mod headroom;
pub mod inherited;
pub mod listen;
pub mod memory;
pub mod notify;
pub mod oom;
pub mod orphans;
pub mod output;
pub mod package;
pub mod passing;
pub mod pipe;
pub mod probe;
pub mod process_start;
pub mod program;
pub mod save_file;
pub mod schedule;
pub mod scoreboard;
pub mod segment;
pub mod signals;
pub mod socket_diag;
pub mod socket_directory;
pub mod spawn;
pub mod stream;
pub mod tree_watch;
pub mod watch;
