//! The shells: what turns system events into inputs of `core` and carries out its outputs.
//!
//! In the primary: [`supervisor`], the thread that knows the workers, and [`dispatcher`], the
//! thread that knows the connections. In a worker: [`link`], which lives on Node's own loop, and
//! [`lifeline`], which does not.

pub mod dispatcher;
pub mod lifeline;
pub mod link;
pub mod supervisor;
