//! The members of a listener, for an app that is asked to choose one.

use serde::Serialize;

use super::{Board, Connection, Dispatch, Time};
use crate::ids::{ListenerId, Slot, WorkerId};
use crate::schedule::ALWAYS_BUSY;

/// A member that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// Who it is.
    #[serde(rename = "id")]
    pub worker: WorkerId,
    /// Its slot.
    pub slot: Option<Slot>,
    /// Connections that it has open or that are on their way to it.
    pub connections: u32,
    /// How much of its time its event loop is at work: from 0 to 1.
    pub utilization: f64,
    /// It may be given a connection now.
    pub ready: bool,
}

impl<C: Connection> Dispatch<C> {
    /// Those who listen there. This decides nothing and takes note of nothing that has to be acted on.
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
