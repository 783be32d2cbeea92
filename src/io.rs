//! The shells: they turn system events into inputs of `core` and carry out its outputs.
//!
//! In the primary: [`control`], the thread that manages workers and listeners; [`dispatcher`], the thread
//! that passes connections; [`forward`], the thread that copies bytes to workers with ports of their own;
//! [`store`], the thread that owns the shared stores and delivers the messages of the [`exchange`];
//! [`redis`], the thread that connects to the servers of stores.
//! In a worker: [`link`], which runs on Node's own event loop, and [`lifeline`], which does not.

pub mod barrier;
mod clock;
pub mod control;
pub mod dispatcher;
pub mod exchange;
mod fairness;
pub mod forward;
pub mod lifeline;
pub mod link;
pub mod logs;
mod native_thread;
mod redis;
pub mod store;
mod turns;
