//! A store that all processes of a cluster share: its memory, its operations and their order.
//!
//! There is one writer. All other processes map the memory read-only and read it without a request; they
//! request changes through a [`ring`] of their own. This module does not map memory: callers pass it in as
//! 64-bit words.
//!
//! - [`geometry`]: the layout of the memory.
//! - [`record`]: the records of the log.
//! - [`view`]: reading; [`cursor`]: following the changes.
//! - [`snapshot`]: a store as a file.
//! - [`follow`]: a store that follows another one, as [`remote`] needs it.
//! - [`tally`]: counters, with a page for each process.
//! - [`writer`]: the one writer, which carries out [`ops`]; [`request`]: their encoding; [`linger`]: when the
//!   writer sleeps.

pub mod atomic;
mod blocks;
mod clear;
pub mod cursor;
mod expiry;
pub mod follow;
pub mod geometry;
mod index;
pub mod linger;
mod memory;
pub mod ops;
mod plan;
mod reader;
pub mod record;
pub mod remote;
pub mod request;
pub mod ring;
pub mod snapshot;
pub mod tally;
pub mod view;
pub mod writer;

pub use blocks::Reserve;
