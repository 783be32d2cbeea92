//! Sockets that workers hold as well: what comes of accepting there, and what is done when one is shut down.

use std::time::{Duration, Instant};

use super::{Shell, SlotOutcome};
use crate::io::dispatcher::DispatcherEvent;
use crate::io::dispatcher::acceptor::Outcome;
use crate::io::dispatcher::listening::Listening;
use rcluster_core::ids::{ListenerId, Slot};
use rcluster_sys::closer::do_not_linger;
use rcluster_sys::error::SysError;

/// How long those who wait at a socket may take to be accepted before it is closed.
const CLOSE_WAIT: Duration = Duration::from_millis(100);

impl Shell {
    /// Has those accepted who wait at the sockets that workers hold as well.
    pub(super) fn order(&mut self, listener: ListenerId) {
        let Some(listening) = self.listeners.get_mut(&listener) else { return };
        let ordered = listening.order(|slot| {
            let (tell, waker) = (self.slots.0.clone(), self.waker.clone());
            move |outcome| {
                // When the dispatcher has ended nobody is served any more, and the connection closes.
                let _ended = tell.send((listener, slot, outcome));
                waker.wake();
            }
        });
        if let Err(error) = ordered {
            self.try_later(error);
        }
        // While one accepts, the socket need not be watched.
        self.watch_listener(listener);
    }

    /// The same for a socket that is about to be closed for good: waits for what is accepted, for a limited time.
    pub(super) fn order_and_wait(&mut self, listener: ListenerId) {
        let until = Instant::now() + CLOSE_WAIT;
        self.order(listener);
        while self.listeners.get(&listener).is_some_and(Listening::is_busy) {
            match self.slots.1.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(outcome) => self.on_slot_outcome(outcome),
                // A thread that a worker has blocked is not waited for.
                Err(_) => return,
            }
        }
    }

    /// Takes in what came of it.
    pub(super) fn take_slot_outcomes(&mut self) {
        while let Ok(outcome) = self.slots.1.try_recv() {
            self.on_slot_outcome(outcome);
        }
    }

    fn on_slot_outcome(&mut self, (listener, slot, outcome): SlotOutcome) {
        let Some(listening) = self.listeners.get_mut(&listener) else { return };
        match outcome {
            Outcome::Connection(fd) => {
                // It has inherited the options that workers have set on the socket.
                do_not_linger(&fd);
                let fd = listening.foreign(fd);
                return self.on_client(listener, fd);
            }
            Outcome::Done => {
                listening.answered(slot);
                // It may have been given up for this order.
                if self.reserve.refill().is_err() {
                    self.pause();
                }
            }
            Outcome::Failed(error) if error.is_shortage() => {
                listening.answered(slot);
                self.warn_exhausted(error);
                if self.reserve.release() {
                    return self.order(listener);
                }
                self.pause();
            }
            // Such a socket will never listen again. Whatever it is, another one is sound.
            Outcome::Failed(_) => {
                listening.answered(slot);
                self.replace(listener, slot);
            }
        }
        self.watch_listener(listener);
    }

    /// Looks whether workers have shut down sockets of this listener.
    pub(super) fn replace_shut(&mut self, listener: ListenerId) {
        let Some(Ok(shut)) = self.listeners.get(&listener).map(Listening::shut) else { return };
        for slot in shut {
            self.replace(listener, slot);
        }
    }

    /// The socket of a slot is of no use any more: its clients are accepted at one of our own.
    fn replace(&mut self, listener: ListenerId, slot: Slot) {
        let Some(listening) = self.listeners.get_mut(&listener) else { return };
        let Some(replaced) = listening.replace(slot, &self.poller) else { return };
        self.report_shut(listener, replaced.err());
        self.arrange(listener);
    }

    /// Says once for each listener that a worker has shut a socket down, and each time if there is none in its place.
    pub(super) fn report_shut(&mut self, listener: ListenerId, error: Option<SysError>) {
        let Some(listening) = self.listeners.get_mut(&listener) else { return };
        let told = std::mem::replace(&mut listening.reported_shut, true);
        if !told || error.is_some() {
            (self.notify)(DispatcherEvent::Shut { name: listening.name.clone(), error });
        }
    }
}
