//! The queue from the acceptor threads to the dispatcher.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::acceptor::Outcome;
use rcluster_core::ids::{ListenerId, Slot};
use rcluster_sys::epoll::Waker;

/// An outcome of accepting from the socket of a slot.
pub(super) struct SlotOutcome {
    pub(super) listener: ListenerId,
    pub(super) slot: Slot,
    pub(super) socket: SocketNumber,
    pub(super) outcome: Outcome,
}

/// Tells the sockets of a slot apart. One may be replaced while its thread is blocked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SocketNumber(pub(super) u32);

pub(super) struct Outcomes {
    tell: Sender<SlotOutcome>,
    told: Receiver<SlotOutcome>,
    waker: Waker,
}

impl Outcomes {
    /// `waker` wakes the dispatcher.
    pub(super) fn new(waker: Waker) -> Self {
        let (tell, told) = channel();
        Self { tell, told, waker }
    }

    /// The callback for the outcomes of the thread of a slot's socket.
    pub(super) fn of(
        &self,
        listener: ListenerId,
        slot: Slot,
        socket: SocketNumber,
    ) -> impl Fn(Outcome) + Send + use<> {
        let (tell, waker) = (self.tell.clone(), self.waker.clone());
        move |outcome| {
            // If the dispatcher has ended, the connection is dropped, which closes it.
            let _ended = tell.send(SlotOutcome { listener, slot, socket, outcome });
            waker.wake();
        }
    }

    pub(super) fn next(&self) -> Option<SlotOutcome> {
        self.told.try_recv().ok()
    }

    /// Waits for an outcome, at most until `until`.
    pub(super) fn wait(&self, until: Instant) -> Option<SlotOutcome> {
        self.told.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }
}
