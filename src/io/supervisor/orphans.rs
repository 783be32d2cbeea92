//! Looks for orphans that have ended. The primary's thread reaps them: only it knows what libuv waits for.

use super::Event;
use super::shell::Shell;
use crate::core::control::orphans::{Orphans, Zombie};
use crate::sys::orphans::{adopts_orphans, zombies};

impl Shell {
    /// Begins to look, if orphans become children of this process.
    pub(super) fn look_for_orphans(&mut self) {
        self.orphans = adopts_orphans().then(|| Orphans::new(self.start.elapsed()));
    }

    /// Time has passed.
    pub(super) fn look_at_orphans(&mut self) {
        let now = self.start.elapsed();
        let Some(orphans) = &mut self.orphans else { return };
        if orphans.next_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let found = match zombies() {
            Ok(found) => found,
            Err(error) => {
                // It would fail every time, as where /proc is not mounted.
                self.orphans = None;
                let message = format!("Orphans that have ended are not reaped: {error}");
                return (self.tell)(Event::Warning { code: "RCLUSTER_ORPHANS", message });
            }
        };
        let found: Vec<_> = found.into_iter().map(|(pid, started)| Zombie { pid, started }).collect();
        let due = orphans.on_look(now, &found);
        if !due.is_empty() {
            (self.tell)(Event::Orphans(due));
        }
    }

    /// The primary's thread has reaped what it may.
    pub(super) fn on_orphans_reaped(&mut self) {
        let now = self.start.elapsed();
        if let Some(orphans) = &mut self.orphans {
            orphans.on_reaped(now);
        }
    }
}
