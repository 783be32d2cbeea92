//! When the successor of a worker takes its place: not before it serves what nobody else does.
//!
//! An app may open its servers one after the other. When the first one is up it is ready, as far as it knows; but if the
//! old worker went now, there would be nobody at an address that the new one opens a moment later.

use std::time::Duration;

use super::member::{Place, Stage};
use super::restart::Loss;
use super::{Supervise, Why};
use crate::ids::WorkerId;

/// How long a successor waits for what it does not serve. The new code may never serve it.
pub const TAKEOVER: Duration = Duration::from_secs(10);

/// How long a worker that is cut off may take to end before it is killed.
const CUT_OFF: Duration = crate::control::unlinked::GRACE;

impl Supervise {
    /// It is known on how many listeners a worker is the only one who serves.
    pub(super) fn serves_alone(&mut self, worker: WorkerId, listeners: usize) {
        if let Some(index) = self.find(worker) {
            self.members[index].sole = listeners;
        }
    }

    /// A worker has come as far as is asked for. It is ready, unless it is a successor that has to wait.
    pub(super) fn came_far_enough(&mut self, index: usize) {
        self.members[index].able = true;
        if self.must_wait(index) {
            self.members[index].stage = Stage::Starting { ready_by: self.in_time(TAKEOVER) };
        } else {
            self.is_ready_now(index);
        }
    }

    /// Those who have waited and need not any more become ready.
    pub(super) fn end_waits(&mut self) {
        for index in 0..self.members.len() {
            let member = &self.members[index];
            if member.able && matches!(member.stage, Stage::Starting { .. }) && !self.must_wait(index) {
                self.is_ready_now(index);
            }
        }
    }

    fn must_wait(&self, index: usize) -> bool {
        let Place::Successor(slot) = self.members[index].place else { return false };
        self.current(slot).is_some_and(|old| self.members[old].is_ready() && self.members[old].sole > 0)
    }

    /// The link to a worker is cut: it gets nothing any more, and is killed if it does not end.
    pub(super) fn cut_off(&mut self, worker: WorkerId) {
        let Some(index) = self.find(worker).filter(|index| !self.members[*index].is_former()) else { return };
        self.note_health(index);
        let member = &self.members[index];
        let (place, going) = (member.place, member.going.clone());
        let loss = Loss::of(member, Why::CutOff);
        let until = self.in_time(CUT_OFF);
        self.dismiss(index, Stage::Terminating { until });
        self.lost(place, going.as_ref(), loss);
    }
}
