//! The shells: what turns system events into inputs of `core` and carries out its outputs.
//!
//! In the primary: [`control`], the thread that knows the workers, [`dispatcher`], the thread that
//! knows the connections, and [`forward`], the one that moves bytes to workers that listen by themselves.
//! In a worker: [`link`], which lives on Node's own loop, and [`lifeline`], which does not.

pub mod barrier;
pub mod control;
pub mod dispatcher;
pub mod forward;
pub mod lifeline;
pub mod link;
mod native_thread;
pub mod store;
