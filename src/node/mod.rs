//! The Node-API boundary: converts, decides nothing.

pub mod forward;
pub mod launch;
pub mod locks;
pub mod primary;
pub mod shared;
mod shared_value;
pub mod supervision;
pub mod worker;
