//! What the tests of several crates share. Nothing else depends on it.

mod alone;
mod lingering;
mod seed;
mod threads;

pub use alone::{alone, alone_as_user, alone_with_limit};
pub use lingering::lingering;
pub use seed::{Seed, Seeds, seeds};
pub use threads::without_new_threads;
