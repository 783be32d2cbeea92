//! rcluster: Node's `cluster`, supervised, balanced and fed with connections from native threads.
//!
//! The layout of the code. Imports go one way: `node` -> `io` -> { `rcluster_core`, `rcluster_sys`,
//! `rcluster_js` }.
//!
//! - [`rcluster_core`] decides. It is pure: no sockets, clock or threads; time and facts are arguments.
//! - [`rcluster_sys`] calls Linux: it contains `libc`, `nix` and most of `unsafe`, one mechanism per file.
//! - [`rcluster_js`] calls Node's process: libuv's loop, V8, JavaScript functions.
//! - [`io`] contains the shells: native threads that turn events into inputs of the core and carry out its
//!   outputs.
//! - [`node`] is the Node-API boundary. It converts values and makes no decisions.

pub mod io;
pub mod node;
