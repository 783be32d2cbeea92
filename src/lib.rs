//! rcluster: Node's `cluster`, supervised, balanced and fed with connections from native threads.
//!
//! The map of the house. Imports run one way: `node` -> `io` -> { `rcluster_core`, `rcluster_sys`, `rcluster_js` }.
//!
//! - [`rcluster_core`] decides. Pure: no sockets, no clock, no threads; time and facts are arguments.
//! - [`rcluster_sys`] asks Linux: the home of `libc`, `nix` and most of `unsafe`, one mechanism per file.
//! - [`rcluster_js`] asks Node's process: libuv's loop, V8, calls into JavaScript.
//! - [`io`] is the shells: native threads that turn events into inputs of the core and carry out its outputs.
//! - [`node`] is the Node-API boundary. It converts and decides nothing.

pub mod io;
pub mod node;
