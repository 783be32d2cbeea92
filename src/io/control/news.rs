//! The order of events for the app.
//!
//! A worker's exit is reported after the dispatcher has carried out all earlier commands: by then it has closed
//! the worker's listeners, and the app can listen there itself. Other events are reported at once, unless
//! they would overtake such an exit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::messages::{Event, Tell};
use crate::io::barrier::Barrier;
use crate::io::dispatcher::{Command, Dispatcher};

/// Sends events to the app, in order.
#[derive(Clone)]
pub(super) struct News {
    dispatcher: Arc<Dispatcher>,
    order: Arc<Order>,
}

impl News {
    pub(super) fn new(dispatcher: Arc<Dispatcher>, tell: Tell) -> Self {
        Self { dispatcher, order: Arc::new(Order { tell, waiting: Mutex::default() }) }
    }

    /// Sends an event once the dispatcher has carried out the commands it has so far, or has ended.
    pub(super) fn tell_behind_dispatcher(&self, event: Event) {
        let held = Order::hold(&self.order, event);
        self.dispatcher.tell(Command::Barrier(Barrier::new(move || drop(held))));
    }

    /// Sends an event after all events sent before.
    pub(super) fn tell(&self, event: Event) {
        self.order.tell(event);
    }
}

/// Events that wait. The first one, if there is any, is held.
struct Order {
    tell: Tell,
    waiting: Mutex<VecDeque<Waiting>>,
}

struct Waiting {
    event: Event,
    /// Whether it waits for its release.
    held: bool,
}

/// Releases the first held event when it is dropped. A thread that has ended drops the commands that it has not carried
/// out, and nothing may wait for it for ever.
struct Held(Arc<Order>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Order {
    #[must_use]
    fn hold(order: &Arc<Self>, event: Event) -> Held {
        order.lock().push_back(Waiting { event, held: true });
        Held(Arc::clone(order))
    }

    fn tell(&self, event: Event) {
        let mut waiting = self.lock();
        if waiting.is_empty() {
            // Under the lock, so that no other event overtakes it.
            (self.tell)(event);
        } else {
            waiting.push_back(Waiting { event, held: false });
        }
    }

    /// Sends the first held event, and those that waited behind it.
    fn release(&self) {
        let mut waiting = self.lock();
        if let Some(Waiting { event, .. }) = waiting.pop_front() {
            (self.tell)(event);
        }
        while waiting.front().is_some_and(|next| !next.held)
            && let Some(Waiting { event, .. }) = waiting.pop_front()
        {
            (self.tell)(event);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Waiting>> {
        // A panic is reported where it happens, and the queue is valid all the same.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: i32) -> Event {
        Event::StopPrimary { code }
    }

    #[test]
    fn nothing_overtakes_an_event_that_is_held() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hearing = Arc::clone(&told);
        let tell: Tell = Arc::new(move |event| {
            let Event::StopPrimary { code } = event else { panic!("{event:?}") };
            hearing.lock().unwrap().push(code);
        });
        let order = Arc::new(Order { tell, waiting: Mutex::default() });
        let told = || std::mem::take(&mut *told.lock().unwrap());
        order.tell(event(1));
        assert_eq!(told(), [1], "nothing is held");
        let second = Order::hold(&order, event(2));
        order.tell(event(3));
        let fourth = Order::hold(&order, event(4));
        order.tell(event(5));
        order.tell(event(6));
        assert_eq!(told(), [0; 0]);
        drop(second);
        assert_eq!(told(), [2, 3]);
        // As by a thread that has ended.
        drop(Barrier::new(move || drop(fourth)));
        assert_eq!(told(), [4, 5, 6]);
        order.tell(event(7));
        assert_eq!(told(), [7]);
    }
}
