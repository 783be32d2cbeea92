//! A store that all processes of a cluster share: its memory, what may be done with it, and in which order.
//!
//! One writer decides. Everybody else maps the memory read-only and reads without asking anyone; what they want to
//! change they ask for through a [`ring`] of their own. Nothing here maps memory: it is given as words of 64 bits.
//!
//! - [`geometry`]: where everything is in the memory.
//! - [`record`]: what the log consists of.
//! - [`view`]: reading; [`cursor`]: following the changes.
//! - [`writer`]: the one writer, which answers [`ops`]; [`request`]: how they are asked for; [`linger`]: when it sleeps.

pub mod atomic;
pub mod cursor;
pub mod geometry;
pub mod linger;
mod memory;
pub mod ops;
pub mod record;
pub mod request;
pub mod ring;
pub mod view;
pub mod writer;

pub use memory::Reserve;
