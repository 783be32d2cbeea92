//! What rcluster asks of the system: one mechanism per file, and the only home of `unsafe`.
//!
//! Every descriptor is an `OwnedFd` or a `BorrowedFd`, close-on-exec from birth. Nothing here
//! knows what a worker or a listener is, and nothing here imports from `core`.
#![allow(unsafe_code, reason = "system calls and libuv are called here and nowhere else")]

pub mod async_fd;
pub mod client;
pub mod clock;
pub mod closer;
pub mod epoll;
pub mod error;
pub mod exit;
pub mod headroom;
pub mod js;
pub mod js_value;
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
pub mod uv;
pub mod v8;
pub mod watch;
