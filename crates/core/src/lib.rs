//! The decisions of rcluster, as pure state machines: inputs and the time in, outputs out.
//!
//! Nothing here uses a socket, a clock, a thread or Node, so that a seeded simulation can drive it through
//! situations that no machine would produce on demand.

#![forbid(unsafe_code)]

pub mod accept_watch;
pub mod base64;
pub mod channel;
pub mod control;
pub mod dispatch;
pub mod event_loop;
pub mod examine;
pub mod exchange;
pub mod forward;
pub mod frames;
pub mod hook;
pub mod http;
pub mod ids;
pub mod inspect;
pub mod leases;
pub mod lifeline;
pub mod locks;
pub mod logs;
pub mod machines;
pub mod metrics;
pub mod notify;
pub mod own_frames;
pub mod pending;
pub mod pieces;
pub mod random;
pub mod schedule;
pub mod shortage;
pub mod store;
pub mod warning_limit;
