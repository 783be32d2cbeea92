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

    /// Sends an event once the dispatcher has carried out the commands it has so far.
    pub(super) fn tell_behind_dispatcher(&self, event: Event) {
        self.order.hold(event);
        let order = Arc::clone(&self.order);
        self.dispatcher.tell(Command::Barrier(Barrier::new(move || order.release())));
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

impl Order {
    fn hold(&self, event: Event) {
        self.lock().push_back(Waiting { event, held: true });
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
        let order = Order { tell, waiting: Mutex::default() };
        let told = || std::mem::take(&mut *told.lock().unwrap());
        order.tell(event(1));
        assert_eq!(told(), [1], "nothing is held");
        order.hold(event(2));
        order.tell(event(3));
        order.hold(event(4));
        order.tell(event(5));
        order.tell(event(6));
        assert_eq!(told(), [0; 0]);
        order.release();
        assert_eq!(told(), [2, 3]);
        order.release();
        assert_eq!(told(), [4, 5, 6]);
        order.tell(event(7));
        assert_eq!(told(), [7]);
    }
}
