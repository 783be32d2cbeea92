//! Messages between the processes of a cluster. The thread of shared state delivers them, so a message
//! involves the JavaScript of its sender and its receivers only.
//!
//! A process sends requests on the ring of its link with that thread, see [`Line`](super::store::Line), and
//! receives frames on its socket. When one process has made requests to another, the thread gives the two a
//! socket pair, over which short messages travel directly and wake no other process. The decisions are in
//! [`rcluster_core::exchange`].

mod client;
mod remote;
mod room;

pub use client::ExchangeClient;
pub(in crate::io) use room::ExchangeRoom;
