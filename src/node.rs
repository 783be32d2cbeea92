//! The Node-API boundary: it converts values and makes no decisions.

pub mod early;
mod event_queue;
mod events;
pub mod exchange;
mod exchange_calls;
pub mod file_watch;
pub mod forward;
pub mod launch;
mod link_events;
pub mod locks;
pub mod persist;
pub mod primary;
mod processes;
pub mod shared;
mod shared_requests;
mod shared_value;
pub mod shared_watch;
mod slot_sockets;
pub mod supervision;
pub mod tally;
pub mod tree_watch;
pub mod worker;
