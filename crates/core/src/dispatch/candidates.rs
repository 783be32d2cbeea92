//! The members of a listener, for a hook that chooses one.

use serde::Serialize;

use super::{Board, Connection, Dispatch, Time};
use crate::ids::{ListenerId, Slot, WorkerId};
use crate::schedule::ALWAYS_BUSY;

/// A member that the hook may choose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The number of the worker.
    #[serde(rename = "id")]
    pub worker: WorkerId,
    /// Its slot.
    pub slot: Option<Slot>,
    /// Connections open or in flight.
    pub connections: u32,
    /// The share of time during which its event loop is busy, from 0 to 1.
    pub utilization: f64,
    /// Whether it may get a connection now.
    pub ready: bool,
}

impl<C: Connection> Dispatch<C> {
    /// The members of a listener. The call has no effects.
    pub fn candidates(&mut self, listener: ListenerId, now: Time, board: &impl Board) -> Vec<Candidate> {
        let Some(index) = self.position(listener) else { return Vec::new() };
        let Self { listeners, workers, config, .. } = self;
        let members = listeners[index].members.iter();
        let candidates = members.map(|member| {
            let worker = &mut workers[member.place];
            let in_flight = worker.in_flight_now(board);
            Candidate {
                worker: worker.id,
                slot: worker.slot,
                connections: in_flight.saturating_add(board.open(worker.id)),
                utilization: f64::from(worker.gauge(now, board).min(ALWAYS_BUSY)) / f64::from(ALWAYS_BUSY),
                ready: member.is_open(now) && worker.takes(in_flight, config.window),
            }
        });
        candidates.collect()
    }
}
