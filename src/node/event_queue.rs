//! Events on their way from the control thread to JavaScript.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::io::control::Event;

/// Keeps events until JavaScript takes them.
///
/// # Design
/// Some events own descriptors, which become plain numbers when JavaScript gets them. Node-API may refuse a call, and drops
/// or leaks those that are queued when the environment ends, as that of a worker thread does. So a call carries no event, and
/// only says that there is one here; what is never taken is closed with this queue.
#[derive(Clone, Debug, Default)]
pub(super) struct EventQueue(Arc<Mutex<VecDeque<Event>>>);

impl EventQueue {
    /// Adds an event. Each has to be followed by a call that takes one.
    pub(super) fn push(&self, event: Event) {
        self.lock().push_back(event);
    }

    /// The next event.
    pub(super) fn take(&self) -> Option<Event> {
        self.lock().pop_front()
    }

    /// JavaScript takes no more events.
    pub(super) fn clear(&self) {
        let events = std::mem::take(&mut *self.lock());
        // Not under the lock, because it closes descriptors.
        drop(events);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        // It is valid after a panic as well.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use rcluster_core::examine::Examination;

    use super::*;

    fn event() -> (Event, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Event::Examine { what: Examination::Heap, socket: OwnedFd::from(ours) }, theirs)
    }

    fn is_closed(mut other: &UnixStream) -> bool {
        other.set_nonblocking(true).unwrap();
        other.read(&mut [0]).is_ok_and(|length| length == 0)
    }

    #[test]
    fn events_are_taken_in_order() {
        let queue = EventQueue::default();
        for number in 0..3 {
            queue.push(Event::Orphans(vec![number]));
        }
        for number in 0..3 {
            assert!(matches!(queue.take(), Some(Event::Orphans(pids)) if pids == [number]));
        }
        assert!(queue.take().is_none());
    }

    #[test]
    fn descriptors_of_events_that_nobody_takes_are_closed() {
        let queue = EventQueue::default();
        let (event_of_queue, other) = event();
        queue.push(event_of_queue);
        assert!(!is_closed(&other));
        queue.clear();
        assert!(is_closed(&other));
        let (event_of_queue, other) = event();
        queue.clone().push(event_of_queue);
        assert!(!is_closed(&other));
        drop(queue);
        assert!(is_closed(&other));
    }
}
