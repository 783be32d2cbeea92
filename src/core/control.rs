//! The control thread's decisions: which listeners there are, which workers there are to be, and what becomes of both.

pub mod listeners;
pub mod liveness;
pub mod orphans;
pub mod slots;
pub mod supervise;
pub mod unlinked;
