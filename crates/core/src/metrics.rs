//! Metrics, as text for collectors. See `docs/metrics.md` for the meaning of each.
//!
//! Reading resets nothing, and counters only rise: when a worker ends, its counts stay with its slot. Samples
//! are labelled by slot and never by process, so their number does not grow with restarts.

mod exposition;
mod families;
mod histogram;
mod registries;
mod room;
mod slots;
mod stores;
mod totals;

pub use self::exposition::{Exposition, Kind};
pub use self::families::{Snapshot, encode};
pub use self::histogram::Histogram;
pub use self::registries::Registries;
pub use self::slots::{SlotTotals, Spent};
pub use self::totals::Totals;
