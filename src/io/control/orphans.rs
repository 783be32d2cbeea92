//! Finds orphans that have ended. The primary's main thread reaps them, because only it knows which children
//! libuv waits for.

use std::time::Duration;

use super::messages::Event;
use rcluster_core::control::orphans::{Orphans, Zombie};
use rcluster_sys::orphans::{adopts_orphans, zombies};

/// `None` if this process does not adopt orphans, or they cannot be found.
pub(super) struct OrphanWatch(Option<Orphans>);

impl OrphanWatch {
    /// Starts the search, if this process adopts orphans.
    pub(super) fn new(now: Duration) -> Self {
        Self(adopts_orphans().then(|| Orphans::new(now)))
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.0.as_ref().and_then(Orphans::next_deadline)
    }

    /// Searches if it is time. Returns the event for the app.
    pub(super) fn on_tick(&mut self, now: Duration) -> Option<Event> {
        let orphans = self.0.as_mut()?;
        if orphans.next_deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        let found = match zombies() {
            Ok(found) => found,
            Err(error) => {
                // It would fail every time, for example because /proc is not mounted.
                self.0 = None;
                let message = format!("Orphans that have ended are not reaped: {error}");
                return Some(Event::Warning { code: "RCLUSTER_ORPHANS", message });
            }
        };
        let found: Vec<_> = found.into_iter().map(|(pid, started)| Zombie { pid, started }).collect();
        let due = orphans.on_look(now, &found);
        (!due.is_empty()).then_some(Event::Orphans(due))
    }

    /// The primary's main thread has reaped what it may.
    pub(super) fn on_reaped(&mut self, now: Duration) {
        if let Some(orphans) = &mut self.0 {
            orphans.on_reaped(now);
        }
    }
}
