//! What rcluster asks of Linux: one mechanism per file, and the home of `libc`, `nix` and `unsafe`.
//!
//! Every descriptor is an `OwnedFd` or a `BorrowedFd`, close-on-exec from birth. Nothing here
//! knows what a worker or a listener is.
#![allow(unsafe_code, reason = "system calls are made here and nowhere else")]

pub mod async_fd;
pub mod client;
pub mod clock;
pub mod closer;
pub mod epoll;
pub mod error;
pub mod exit;
pub mod headroom;
pub mod listen;
pub mod memory;
pub mod notify;
pub mod oom;
pub mod orphans;
pub mod package;
pub mod passing;
pub mod schedule;
pub mod scoreboard;
pub mod segment;
pub mod socket_diag;
pub mod socket_directory;
pub mod spawn;
pub mod stream;
pub mod watch;
