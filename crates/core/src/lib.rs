//! What rcluster decides, as pure state machines: input and time in, outputs out.
//!
//! Nothing here may touch a socket, a clock, a thread or Node: that is what lets a seeded
//! simulation drive it through situations that no machine would produce on demand.

#![forbid(unsafe_code)]

pub mod accept_watch;
pub mod channel;
pub mod control;
pub mod dispatch;
pub mod forward;
pub mod hook;
pub mod ids;
pub mod inspect;
pub mod lifeline;
pub mod locks;
pub mod notify;
pub mod pending;
pub mod random;
pub mod schedule;
pub mod store;
pub mod warning_limit;
pub mod wire;
