//! The Node-API boundary: converts, decides nothing.

pub mod forward;
pub mod primary;
pub mod worker;
