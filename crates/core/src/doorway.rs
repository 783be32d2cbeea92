//! Connections of which it is not known yet where they belong: their clients have yet to say something, or the app
//! has yet to answer.
//!
//! They wait for a limited time and without holding up anybody. When that is over they go in with what is known.

use std::collections::VecDeque;
use std::time::Duration;

use super::ids::ListenerId;

/// Who stands in the doorway, in the order of arrival.
#[derive(Debug)]
pub struct Doorway<C> {
    /// Listeners differ in how long they wait, so the order is not that of the time.
    arrivals: VecDeque<Arrival<C>>,
    next: u32,
}

#[derive(Debug)]
struct Arrival<C> {
    number: u32,
    listener: ListenerId,
    conn: C,
    until: Duration,
}

impl<C> Default for Doorway<C> {
    fn default() -> Self {
        Self { arrivals: VecDeque::new(), next: 0 }
    }
}

impl<C> Doorway<C> {
    /// Has a connection wait until `until`. Answers the number by which it is known from then on.
    pub fn enter(&mut self, listener: ListenerId, conn: C, until: Duration) -> u32 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.arrivals.push_back(Arrival { number, listener, conn, until });
        number
    }

    /// Lets it in. `None` if it has gone in already.
    pub fn take(&mut self, number: u32) -> Option<(ListenerId, C)> {
        let index = self.position(number)?;
        self.arrivals.remove(index).map(|arrival| (arrival.listener, arrival.conn))
    }

    /// Looks at it.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<(ListenerId, &C)> {
        let arrival = &self.arrivals[self.position(number)?];
        Some((arrival.listener, &arrival.conn))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// The one that has stood there longest.
    #[must_use]
    pub fn oldest(&self) -> Option<u32> {
        self.arrivals.front().map(|arrival| arrival.number)
    }

    /// One whose time is up.
    #[must_use]
    pub fn overdue(&self, now: Duration) -> Option<u32> {
        self.arrivals.iter().find(|arrival| arrival.until <= now).map(|arrival| arrival.number)
    }

    /// When the time of the next one is up.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.arrivals.iter().map(|arrival| arrival.until).min()
    }

    fn position(&self, number: u32) -> Option<usize> {
        self.arrivals.iter().position(|arrival| arrival.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_goes_in_once_and_the_time_of_each_is_its_own() {
        let ms = Duration::from_millis;
        let (one, other) = (ListenerId(1), ListenerId(2));
        let mut doorway = Doorway::default();
        let [a, b, c] = [(one, 'a', 30), (other, 'b', 10), (one, 'c', 20)]
            .map(|(listener, conn, until)| doorway.enter(listener, conn, ms(until)));
        assert_eq!((doorway.oldest(), doorway.next_deadline()), (Some(a), Some(ms(10))));
        assert_eq!((doorway.overdue(ms(9)), doorway.overdue(ms(10))), (None, Some(b)));
        assert_eq!(doorway.get(b), Some((other, &'b')));
        assert_eq!((doorway.take(b), doorway.take(b)), (Some((other, 'b')), None));
        assert_eq!(doorway.overdue(ms(25)), Some(c));
        assert_eq!((doorway.take(c), doorway.take(a)), (Some((one, 'c')), Some((one, 'a'))));
        assert_eq!((doorway.len(), doorway.next_deadline()), (0, None));
    }
}
