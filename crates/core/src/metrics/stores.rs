//! The metrics of shared stores.

use super::exposition::{Exposition, Kind, whole};
use super::families::flag;
use crate::control::operator::StoreStatus;
use crate::store::remote::status::State;

/// A metric of stores: its type, its name, its help text and its value.
type Metric = (Kind, &'static str, &'static str, fn(&StoreStatus) -> Option<f64>);

const METRICS: [Metric; 8] = [
    (Kind::Gauge, "rcluster_store_keys", "Keys in a shared store.", |it| Some(whole(it.keys))),
    (Kind::Gauge, "rcluster_store_bytes", "The size of a store's keys and values.", |it| {
        Some(whole(it.bytes))
    }),
    (Kind::Gauge, "rcluster_store_limit_bytes", "The limit of that size.", |it| Some(whole(it.limit))),
    (Kind::Gauge, "rcluster_store_memory_bytes", "Memory in use, with history and index.", |it| {
        Some(whole(it.memory))
    }),
    (Kind::Counter, "rcluster_store_evicted", "Keys evicted because the store was full.", |it| {
        Some(whole(it.evicted))
    }),
    (Kind::Counter, "rcluster_store_expired", "Keys whose time had passed.", |it| Some(whole(it.expired))),
    (
        Kind::Gauge,
        "rcluster_store_connected",
        "Whether a store with a server is connected, and up to date.",
        |it| it.backend.as_ref().map(|backend| flag(backend.state == State::Following)),
    ),
    (Kind::Counter, "rcluster_store_disconnects", "How often the connection to the server was lost.", |it| {
        it.backend.as_ref().map(|backend| whole(backend.disconnects))
    }),
];

pub(super) fn stores(to: &mut Exposition, stores: &[StoreStatus]) {
    for (kind, name, help, value) in METRICS {
        let mut family = to.family(kind, name, help);
        for store in stores {
            family.add_known(&[("store", &store.name)], value(store));
        }
    }
}
