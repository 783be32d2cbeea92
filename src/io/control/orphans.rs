//! Looks for orphans that have ended. The primary's thread reaps them: only it knows what libuv waits for.

use std::time::Duration;

use super::messages::Event;
use rcluster_core::control::orphans::{Orphans, Zombie};
use rcluster_sys::orphans::{adopts_orphans, zombies};

/// None where orphans do not become children of this process, or cannot be looked for.
pub(super) struct OrphanWatch(Option<Orphans>);

impl OrphanWatch {
    /// Begins to look, if orphans become children of this process.
    pub(super) fn new(now: Duration) -> Self {
        Self(adopts_orphans().then(|| Orphans::new(now)))
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.0.as_ref().and_then(Orphans::next_deadline)
    }

    /// Looks, if it is time. Returns what the app is to be told.
    pub(super) fn on_tick(&mut self, now: Duration) -> Option<Event> {
        let orphans = self.0.as_mut()?;
        if orphans.next_deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        let found = match zombies() {
            Ok(found) => found,
            Err(error) => {
                // It would fail every time, as where /proc is not mounted.
                self.0 = None;
                let message = format!("Orphans that have ended are not reaped: {error}");
                return Some(Event::Warning { code: "RCLUSTER_ORPHANS", message });
            }
        };
        let found: Vec<_> = found.into_iter().map(|(pid, started)| Zombie { pid, started }).collect();
        let due = orphans.on_look(now, &found);
        (!due.is_empty()).then_some(Event::Orphans(due))
    }

    /// The primary's thread has reaped what it may.
    pub(super) fn on_reaped(&mut self, now: Duration) {
        if let Some(orphans) = &mut self.0 {
            orphans.on_reaped(now);
        }
    }
}
