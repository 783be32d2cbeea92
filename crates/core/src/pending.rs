//! Connections whose worker is not known yet: their first bytes have not arrived, or the hook has not
//! answered.
//!
//! Each waits for a limited time. Then it is scheduled with what is known.

use std::collections::VecDeque;
use std::time::Duration;

use super::ids::ListenerId;

/// The waiting connections, in the order of arrival.
#[derive(Debug)]
pub struct Pending<C> {
    /// Not sorted by time, because listeners differ in how long they wait.
    entries: VecDeque<Entry<C>>,
    next: u32,
}

#[derive(Debug)]
struct Entry<C> {
    number: u32,
    listener: ListenerId,
    conn: C,
    until: Duration,
}

impl<C> Default for Pending<C> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), next: 0 }
    }
}

impl<C> Pending<C> {
    /// Adds a connection that waits until `until`. Returns its number.
    pub fn enter(&mut self, listener: ListenerId, conn: C, until: Duration) -> u32 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.entries.push_back(Entry { number, listener, conn, until });
        number
    }

    /// Removes a connection. `None` if it is not waiting any more.
    pub fn take(&mut self, number: u32) -> Option<(ListenerId, C)> {
        let index = self.position(number)?;
        self.entries.remove(index).map(|entry| (entry.listener, entry.conn))
    }

    /// The listener and the connection of this number, if it is waiting.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<(ListenerId, &C)> {
        let entry = &self.entries[self.position(number)?];
        Some((entry.listener, &entry.conn))
    }

    /// The number of waiting connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no connection waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of the connection that has waited longest.
    #[must_use]
    pub fn oldest(&self) -> Option<u32> {
        self.entries.front().map(|entry| entry.number)
    }

    /// The number of a connection whose time is over.
    #[must_use]
    pub fn overdue(&self, now: Duration) -> Option<u32> {
        self.entries.iter().find(|entry| entry.until <= now).map(|entry| entry.number)
    }

    /// When the time of the next connection is over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.entries.iter().map(|entry| entry.until).min()
    }

    fn position(&self, number: u32) -> Option<usize> {
        self.entries.iter().position(|entry| entry.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_goes_in_once_and_the_time_of_each_is_its_own() {
        let ms = Duration::from_millis;
        let (one, other) = (ListenerId(1), ListenerId(2));
        let mut pending = Pending::default();
        let [a, b, c] = [(one, 'a', 30), (other, 'b', 10), (one, 'c', 20)]
            .map(|(listener, conn, until)| pending.enter(listener, conn, ms(until)));
        assert_eq!((pending.oldest(), pending.next_deadline()), (Some(a), Some(ms(10))));
        assert_eq!((pending.overdue(ms(9)), pending.overdue(ms(10))), (None, Some(b)));
        assert_eq!(pending.get(b), Some((other, &'b')));
        assert_eq!((pending.take(b), pending.take(b)), (Some((other, 'b')), None));
        assert_eq!(pending.overdue(ms(25)), Some(c));
        assert_eq!((pending.take(c), pending.take(a)), (Some((one, 'c')), Some((one, 'a'))));
        assert_eq!((pending.len(), pending.next_deadline()), (0, None));
    }
}
