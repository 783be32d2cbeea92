//! The stores in the status document.

use rcluster_core::control::operator::{BackendStatus, StoreStatus};
use rcluster_core::store::follow::read_told;
use rcluster_core::store::geometry::Field;
use rcluster_core::store::remote::status::State;
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
        backend: backend(store),
    }
}

fn backend(store: &Store<Segment>) -> Option<BackendStatus> {
    let view = store.view();
    // Written by this thread, so it is complete.
    let (state, told) = (State::of(view.field(Field::ServerState))?, read_told(view)?);
    Some(BackendStatus {
        state,
        url: told.url,
        queued: view.field(Field::ServerQueued),
        disconnects: view.field(Field::ServerDisconnects),
        loads: view.field(Field::ServerLoads),
        error: told.error,
    })
}
