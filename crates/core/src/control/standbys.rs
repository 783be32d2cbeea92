//! The listeners and sockets that standbys get at their promotion.
//!
//! A standby opens its servers like any worker. It gets no connection before its promotion: until then it
//! joins no listener, and gets no socket on which it could accept.

use std::collections::BTreeMap;

use super::messages::Output;
use crate::frames::{Reply, ToWorker};
use crate::ids::{ListenerId, Slot, WorkerId};

/// The joins and replies that one standby gets at its promotion.
#[derive(Debug, Default)]
struct Held {
    /// The listeners to join.
    joins: Vec<ListenerId>,
    /// The replies that carry a socket.
    replies: Vec<Reply>,
}

/// All standbys.
#[derive(Debug, Default)]
pub(super) struct Standbys(BTreeMap<WorkerId, Held>);

impl Standbys {
    pub(super) fn add(&mut self, worker: WorkerId) {
        self.0.entry(worker).or_default();
    }

    /// Holds a join back. False if the worker is no standby.
    pub(super) fn holds_join(&mut self, worker: WorkerId, listener: ListenerId) -> bool {
        let Some(held) = self.0.get_mut(&worker) else { return false };
        held.joins.push(listener);
        true
    }

    /// A worker has left a listener. False if it is not a standby (which has not joined).
    pub(super) fn on_leave(&mut self, worker: WorkerId, listener: ListenerId) -> bool {
        let Some(held) = self.0.get_mut(&worker) else { return false };
        held.joins.retain(|&other| other != listener);
        held.replies.retain(|reply| reply.listener != Some(listener));
        true
    }

    /// Holds back a reply that carries a socket. Returns the reply if it is to be sent now.
    pub(super) fn hold_reply(&mut self, worker: WorkerId, reply: Reply) -> Option<Reply> {
        match self.0.get_mut(&worker) {
            Some(held) if reply.shared => {
                held.replies.push(reply);
                None
            }
            _ => Some(reply),
        }
    }

    /// Gives a standby a slot, and what goes with it. Does nothing if it is not a standby.
    pub(super) fn promote(&mut self, worker: WorkerId, slot: Slot) -> Vec<Output> {
        let Some(Held { joins, replies }) = self.0.remove(&worker) else { return Vec::new() };
        let mut outputs = vec![Output::Promote { worker, slot }];
        outputs.extend(joins.into_iter().map(|listener| Output::Join(worker, listener)));
        outputs.push(Output::Send(worker, ToWorker::Promote { slot }));
        outputs.extend(replies.into_iter().map(|reply| Output::Reply(worker, reply)));
        outputs
    }

    /// A worker leaves or ends, so it will not be promoted.
    pub(super) fn on_go(&mut self, worker: WorkerId) {
        self.0.remove(&worker);
    }

    /// Each standby, and the listeners for which something is held back.
    pub(super) fn held(&self) -> impl Iterator<Item = (WorkerId, ListenerId)> {
        self.0.iter().flat_map(|(&worker, held)| {
            let replies = held.replies.iter().filter_map(|reply| reply.listener);
            held.joins.iter().copied().chain(replies).map(move |listener| (worker, listener))
        })
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: WorkerId = WorkerId(1);
    const B: WorkerId = WorkerId(2);
    const ONE: ListenerId = ListenerId(1);
    const TWO: ListenerId = ListenerId(2);
    const SLOT: Slot = Slot(3);

    fn reply(listener: ListenerId, shared: bool) -> Reply {
        Reply { listener: Some(listener), shared, ..Reply::refusal(7, 0) }
    }

    #[test]
    fn a_standby_gets_the_held_back_outputs_at_its_promotion() {
        let mut standbys = Standbys::default();
        standbys.add(A);
        assert!(standbys.holds_join(A, ONE) && standbys.holds_join(A, TWO) && !standbys.holds_join(B, ONE));
        assert_eq!(standbys.hold_reply(A, reply(TWO, true)), None);
        assert_eq!(standbys.hold_reply(A, reply(ONE, false)), Some(reply(ONE, false)), "it brings no socket");
        assert_eq!(standbys.hold_reply(B, reply(ONE, true)), Some(reply(ONE, true)));
        assert!(standbys.on_leave(A, ONE) && !standbys.on_leave(B, ONE));
        let outputs = [
            Output::Promote { worker: A, slot: SLOT },
            Output::Join(A, TWO),
            Output::Send(A, ToWorker::Promote { slot: SLOT }),
            Output::Reply(A, reply(TWO, true)),
        ];
        assert_eq!(standbys.promote(A, SLOT), outputs);
        assert_eq!(standbys.promote(A, SLOT), []);
        assert!(!standbys.holds_join(A, ONE), "it is a worker like any other");
    }

    #[test]
    fn nothing_is_held_of_a_listener_that_a_standby_has_left() {
        let mut standbys = Standbys::default();
        standbys.add(A);
        standbys.holds_join(A, ONE);
        standbys.hold_reply(A, reply(ONE, true));
        assert!(standbys.on_leave(A, ONE));
        assert_eq!(standbys.held().count(), 0);
        let outputs =
            [Output::Promote { worker: A, slot: SLOT }, Output::Send(A, ToWorker::Promote { slot: SLOT })];
        assert_eq!(standbys.promote(A, SLOT), outputs);
    }
}
