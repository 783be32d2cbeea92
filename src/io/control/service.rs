//! The service manager, if there is one: notifications to it, and warnings to the app if they fail.

use std::time::Duration;

use super::liveness::Threads;
use super::messages::Event;
use super::systemd::{Manager, Systemd};
use rcluster_core::control::supervise::{self, Stats};
use rcluster_sys::error::SysError;

/// `None` if no service manager expects notifications.
#[derive(Default)]
pub(super) struct Service(Option<Systemd>);

impl Service {
    /// Starts notifying the service manager. Returns a warning for the app if that is impossible.
    pub(super) fn begin(&mut self, manager: &Manager, now: Duration) -> Option<Event> {
        match Systemd::connect(manager, now) {
            Ok(systemd) => {
                self.0 = systemd;
                None
            }
            Err(error) => Some(warning(&error)),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.0.as_ref().and_then(Systemd::next_deadline)
    }

    /// Supervision has announced an event. Returns a warning for the app if the manager cannot be notified.
    pub(super) fn on_event(
        &mut self,
        event: &supervise::Event,
        stats: impl FnOnce() -> Option<Stats>,
    ) -> Option<Event> {
        let systemd = self.0.as_mut()?;
        systemd.on_event(event, &stats()?).err().map(|error| warning(&error))
    }

    /// Time has passed. Returns a warning for the app if a thread is blocked, or the manager cannot be
    /// notified.
    pub(super) fn on_tick(&mut self, now: Duration, threads: Threads<'_>) -> Option<Event> {
        match self.0.as_mut()?.tick(now, threads) {
            Ok(None) => None,
            Ok(Some(blocked)) => {
                let message = format!(
                    "The service manager's watchdog is not fed, because the {blocked}'s thread does not answer"
                );
                Some(Event::Warning { code: "RCLUSTER_NOTIFY", message })
            }
            Err(error) => Some(warning(&error)),
        }
    }
}

/// The cluster keeps running without notifications, but the service manager may soon consider it dead.
fn warning(error: &SysError) -> Event {
    let message = format!("The service manager cannot be notified: {error}");
    Event::Warning { code: "RCLUSTER_NOTIFY", message }
}
