//! What of `rcluster_core` reads and writes memory that others write at the same time: its sources, not the crate,
//! which has no need of loom.

#[path = "../../crates/core/src"]
mod sources {
    pub mod ids;
    pub mod random;
    pub mod store;
    pub mod warning_limit;
}

pub use sources::{ids, random, store, warning_limit};
