//! What of rcluster reads and writes memory that others write at the same time.

#[path = "../../src/core"]
pub mod core {
    pub mod random;
    pub mod store;
}
