//! Redis and Valkey: the thread that connects to them, and the link of a store with its server.
//!
//! # Design
//! The client library needs an asynchronous runtime. The runtime has a thread of its own, which starts when
//! the first store with a server is opened. Each store has two connections: one for commands, and one on
//! which it waits for changes with blocking reads.
//!
//! [`Link`](rcluster_core::store::remote::link::Link) decides what happens when; this module carries it out.
//! Outputs for the memory of the store and for processes go to the thread of the stores, in order.

mod calls;
mod connect;
mod convert;
mod drive;
mod leases;
mod machines;
mod runtime;
mod session;

pub(super) use drive::{Server, Start};
pub(super) use leases::{LeaseServer, LeaseStart};
pub(super) use machines::{MachineLink, MachineStart};
pub(super) use runtime::runtime;
