//! rcluster: Node's `cluster`, supervised, balanced and fed with connections from native threads.
//!
//! The map of the house. Imports run one way: `node` -> `io` -> { `core`, `sys` }.
//!
//! - [`core`] decides. Pure: no sockets, no clock, no threads; time and facts are arguments.
//! - [`sys`] acts. The only home of `libc`, `nix` and `unsafe`: one system mechanism per file.
//! - [`io`] is the shells: native threads that turn events into `core` inputs and carry out its outputs.
//! - [`node`] is the Node-API boundary. It converts and decides nothing.

pub mod core;
pub mod io;
pub mod node;
pub mod sys;
