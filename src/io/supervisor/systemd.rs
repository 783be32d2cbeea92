//! What the service manager is told of a supervised cluster.

use std::time::Duration;

use crate::core::supervise::{Event, Stats};
use crate::sys::error::SysError;
use crate::sys::notify::{Notifier, monotonic_usec};

/// Tells systemd, or who else speaks its protocol, when the cluster is ready, reloads, stops, and is alive.
pub(super) struct Systemd {
    notifier: Notifier,
    /// All workers have been ready once: the service has started.
    started: bool,
    /// When to say that we are alive, and how often.
    watchdog: Option<(Duration, Duration)>,
}

impl Systemd {
    /// `None` if nobody wants to know.
    pub(super) fn from_environment(now: Duration) -> Result<Option<Self>, SysError> {
        Ok(Notifier::from_environment()?.map(|notifier| Self::new(notifier, now)))
    }

    fn new(notifier: Notifier, now: Duration) -> Self {
        // Twice as often as is asked for, as the manual advises.
        let watchdog = notifier.watchdog().map(|period| (now, period / 2));
        Self { notifier, started: false, watchdog }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.watchdog.map(|(next, _)| next)
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Duration) -> Result<(), SysError> {
        match &mut self.watchdog {
            Some((next, period)) if *next <= now => {
                *next = now + *period;
                self.notifier.send("WATCHDOG=1")
            }
            _ => Ok(()),
        }
    }

    /// The cluster has decided something, and stands like this.
    pub(super) fn hear(&mut self, event: &Event, cluster: &Stats) -> Result<(), SysError> {
        let status = format!("STATUS={} of {} workers are ready", cluster.ready, cluster.workers);
        match event {
            Event::Ready { .. } if !self.started && cluster.ready >= cluster.workers => {
                self.started = true;
                self.notifier.send(&format!("READY=1\n{status}"))
            }
            Event::ReloadStarted { .. } => {
                self.notifier.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\n{status}", monotonic_usec()?))
            }
            Event::ReloadDone { .. } => self.notifier.send(&format!("READY=1\n{status}")),
            // The service goes on, with the old code.
            Event::ReloadFailed { failure, .. } => {
                self.notifier.send(&format!("READY=1\nSTATUS=The reload failed: {failure}"))
            }
            Event::Stopping { .. } | Event::Shutdown { .. } => {
                self.notifier.send(&format!("STOPPING=1\n{status}"))
            }
            Event::Ready { .. } | Event::Restart { .. } | Event::GaveUp { .. } => self.notifier.send(&status),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;
    use crate::core::ids::WorkerId;
    use crate::core::supervise::{Input, Options, Output, Supervise, Vitals};

    fn stats(ready: u32) -> Stats {
        let mut brain = Supervise::new(Options { workers: 2, ..Options::default() }, 1);
        let mut out = Vec::new();
        brain.handle(Duration::ZERO, Input::Start, &mut out);
        let tickets: Vec<_> = out
            .drain(..)
            .filter_map(|output| match output {
                Output::Spawn { ticket, .. } => Some(ticket),
                _ => None,
            })
            .collect();
        for (ticket, number) in tickets.into_iter().zip(1..) {
            let worker = WorkerId(number);
            brain.handle(Duration::ZERO, Input::Spawned { ticket, worker }, &mut out);
            if number <= ready {
                brain.handle(Duration::ZERO, Input::Listening { worker }, &mut out);
            }
        }
        let vitals = Vitals { turns: 0, rss: None, clients: 0, connections: 0 };
        brain.handle(Duration::ZERO, Input::Vitals { worker: WorkerId(1), vitals }, &mut out);
        brain.stats(Duration::ZERO)
    }

    #[test]
    fn the_manager_is_told_what_it_wants_to_know() {
        let name = format!("rcluster-systemd-{}", std::process::id());
        let manager =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        manager.set_nonblocking(true).unwrap();
        let heard = || {
            let mut text = [0; 256];
            let length = manager.recv(&mut text).unwrap_or(0);
            String::from_utf8_lossy(&text[..length]).into_owned()
        };
        let period = Duration::from_secs(10);
        let notifier = Notifier::to(OsStr::new(&format!("@{name}")), Some(period)).unwrap();
        let mut systemd = Systemd::new(notifier, Duration::ZERO);
        let ready = |number| Event::Ready { worker: WorkerId(number), slot: None, boot: Duration::ZERO };

        systemd.hear(&ready(1), &stats(1)).unwrap();
        assert_eq!(heard(), "STATUS=1 of 2 workers are ready");
        systemd.hear(&ready(2), &stats(2)).unwrap();
        assert_eq!(heard(), "READY=1\nSTATUS=2 of 2 workers are ready");
        systemd.hear(&ready(3), &stats(2)).unwrap();
        assert_eq!(heard(), "STATUS=2 of 2 workers are ready");
        systemd.hear(&Event::ReloadStarted { slots: 2, concurrency: 1 }, &stats(2)).unwrap();
        assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        systemd.hear(&Event::ReloadDone { took: Duration::ZERO }, &stats(2)).unwrap();
        assert_eq!(heard(), "READY=1\nSTATUS=2 of 2 workers are ready");
        systemd.hear(&Event::Shutdown { gave_up: false, timeout: Duration::ZERO }, &stats(0)).unwrap();
        assert_eq!(heard(), "STOPPING=1\nSTATUS=0 of 2 workers are ready");

        systemd.tick(Duration::ZERO).unwrap();
        assert_eq!(heard(), "WATCHDOG=1");
        assert_eq!(systemd.next_deadline(), Some(period / 2));
        systemd.tick(period / 4).unwrap();
        assert_eq!(heard(), "", "it is not yet time");
        systemd.tick(period / 2).unwrap();
        assert_eq!(heard(), "WATCHDOG=1");
    }
}
