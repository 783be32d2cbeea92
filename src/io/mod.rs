//! The shells: what turns system events into inputs of `core` and carries out its outputs.
//!
//! In the primary: [`supervisor`], the thread that knows the workers, and [`dispatcher`], the
//! thread that knows the connections. In a worker: [`link`], which lives on Node's own loop.

pub mod dispatcher;
pub mod forward;
pub mod link;
pub mod supervisor;
