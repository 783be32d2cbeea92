//! The stores in the status document.

use rcluster_core::control::operator::StoreStatus;
use rcluster_core::store::geometry::Field;
use rcluster_core::store::writer::Store;
use rcluster_sys::segment::Segment;

/// The status of a store that `clients` processes have open.
pub(super) fn status(name: &str, store: &Store<Segment>, clients: usize) -> StoreStatus {
    let view = store.view();
    StoreStatus {
        name: name.to_owned(),
        keys: view.field(Field::Count),
        bytes: view.field(Field::Live) * 8,
        limit: view.geometry().live_limit() as u64 * 8,
        memory: view.memory(),
        revision: view.field(Field::Revision),
        evicted: view.field(Field::Evicted),
        expired: view.field(Field::Expired),
        clients,
    }
}
