//! What the tests of several crates share. Nothing else depends on it.

mod lingering;
mod seed;

pub use lingering::lingering;
pub use seed::Seed;
