//! Notifications about a supervised cluster to the service manager.

use std::env::var_os;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::liveness::{Probes, Threads};
use rcluster_core::control::liveness::{Liveness, Verdict};
use rcluster_core::control::supervise::{Event, Stats};
use rcluster_core::notify::watchdog_period;
use rcluster_sys::error::SysError;
use rcluster_sys::notify::{Notifier, monotonic_usec};

/// Notifies systemd, or another manager with its protocol, when the cluster is ready, reloads or stops, and
/// that it is alive.
pub(super) struct Systemd {
    notifier: Notifier,
    /// Whether all workers have been ready once: the service has started.
    started: bool,
    /// Only if the service manager has a watchdog.
    watchdog: Option<(Liveness, Probes)>,
    /// Whether the last notification failed, which has been reported.
    unreachable: bool,
}

/// What the environment says about the service manager.
#[derive(Debug)]
pub(super) struct Manager {
    /// Where it expects notifications.
    pub(super) socket: Option<OsString>,
    watchdog: Option<Duration>,
    /// Whether it stores sockets.
    pub(super) stores: bool,
}

impl Manager {
    /// Reads the environment. Must be called on the thread of JavaScript, which may change it.
    pub(super) fn from_environment() -> Self {
        let (usec, pid) = (var_os("WATCHDOG_USEC"), var_os("WATCHDOG_PID"));
        let (usec, pid) = (usec.as_deref().map(OsStr::as_bytes), pid.as_deref().map(OsStr::as_bytes));
        Self {
            socket: var_os("NOTIFY_SOCKET"),
            watchdog: watchdog_period(usec, pid, std::process::id()),
            // From systemd 254 on, this variable is the size of the store.
            stores: var_os("FDSTORE").is_none_or(|most| most != "0"),
        }
    }
}

impl Systemd {
    /// `None` if no notifications are expected.
    pub(super) fn connect(manager: &Manager, now: Duration) -> Result<Option<Self>, SysError> {
        let Some(socket) = &manager.socket else { return Ok(None) };
        Ok(Some(Self::new(Notifier::to(socket, manager.watchdog)?, now)))
    }

    fn new(notifier: Notifier, now: Duration) -> Self {
        let watchdog = notifier.watchdog().map(|period| (Liveness::new(now, period), Probes::default()));
        Self { notifier, started: false, watchdog, unreachable: false }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.watchdog.as_ref().map(|(liveness, _)| liveness.next_deadline())
    }

    /// Time has passed. Feeds the watchdog if this thread, which is the caller, and all others have responded
    /// since the last time. Otherwise returns the thread that has not, once for each time that it is blocked.
    pub(super) fn tick(
        &mut self,
        now: Duration,
        threads: Threads<'_>,
    ) -> Result<Option<&'static str>, SysError> {
        let Some((liveness, probes)) = &mut self.watchdog else { return Ok(None) };
        let unanswered = probes.unanswered();
        match liveness.on_tick(now, unanswered.is_none()) {
            Verdict::Wait => Ok(None),
            Verdict::Withhold => Ok(unanswered),
            Verdict::Feed => {
                probes.ask(threads);
                self.send("WATCHDOG=1").map(|()| None)
            }
        }
    }

    /// Fails once for each time that the manager cannot be reached: the watchdog alone may send many messages
    /// a second.
    fn send(&mut self, state: &str) -> Result<(), SysError> {
        let sent = self.notifier.send(state);
        let is_reported = std::mem::replace(&mut self.unreachable, sent.is_err());
        if is_reported { Ok(()) } else { sent }
    }

    /// Supervision has announced an event; `cluster` is the state after it.
    pub(super) fn on_event(&mut self, event: &Event, cluster: &Stats) -> Result<(), SysError> {
        let status = format!("STATUS={} of {} workers are ready", cluster.ready, cluster.workers);
        match event {
            Event::Ready { .. } if !self.started && cluster.ready >= cluster.workers => {
                self.send(&format!("READY=1\n{status}"))?;
                // If it was not delivered, it is repeated when the next worker is ready.
                self.started = !self.unreachable;
                Ok(())
            }
            Event::ReloadStarted { .. } => {
                self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\n{status}", monotonic_usec()?))
            }
            Event::ReloadDone { .. } => self.send(&format!("READY=1\n{status}")),
            // The service keeps running, with the old code.
            Event::ReloadFailed { failure, .. } => {
                self.send(&format!("READY=1\nSTATUS=The reload failed: {failure}"))
            }
            Event::Stopping { .. } | Event::Shutdown { .. } => self.send(&format!("STOPPING=1\n{status}")),
            Event::Ready { .. } | Event::Restart { .. } | Event::GaveUp { .. } => self.send(&status),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::super::forwarding::Forwarding;
    use super::*;
    use crate::io::barrier::Barrier;
    use crate::io::dispatcher::{Command, Dispatcher};
    use crate::io::forward::{BoundFront, FrontAddress, FrontOptions, Reach};
    use rcluster_core::control::supervise::{Input, Options, Output, SpawnOrder, Supervise, Vitals};
    use rcluster_core::forward::Config;
    use rcluster_core::ids::WorkerId;
    use rcluster_core::schedule::Policy;

    fn stats(ready: u32) -> Stats {
        let mut brain = Supervise::new(Options { workers: 2, ..Options::default() }, 1);
        let mut out = Vec::new();
        brain.handle(Duration::ZERO, Input::Start, &mut out);
        let tickets: Vec<_> = out
            .drain(..)
            .filter_map(|output| match output {
                Output::Spawn(SpawnOrder { ticket, .. }) => Some(ticket),
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
    fn the_manager_is_notified_of_readiness_reloads_and_the_end() {
        let name = format!("rcluster-systemd-{}", std::process::id());
        let manager =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        manager.set_nonblocking(true).unwrap();
        let events = || {
            let mut text = [0; 256];
            let length = manager.recv(&mut text).unwrap_or(0);
            String::from_utf8_lossy(&text[..length]).into_owned()
        };
        let period = Duration::from_secs(10);
        let notifier = Notifier::to(OsStr::new(&format!("@{name}")), Some(period)).unwrap();
        let mut systemd = Systemd::new(notifier, Duration::ZERO);
        let ready = |number| Event::Ready { worker: WorkerId(number), slot: None, boot: Duration::ZERO };

        systemd.on_event(&ready(1), &stats(1)).unwrap();
        assert_eq!(events(), "STATUS=1 of 2 workers are ready");
        systemd.on_event(&ready(2), &stats(2)).unwrap();
        assert_eq!(events(), "READY=1\nSTATUS=2 of 2 workers are ready");
        systemd.on_event(&ready(3), &stats(2)).unwrap();
        assert_eq!(events(), "STATUS=2 of 2 workers are ready");
        systemd.on_event(&Event::ReloadStarted { slots: 2, concurrency: 1 }, &stats(2)).unwrap();
        assert!(events().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        systemd.on_event(&Event::ReloadDone { took: Duration::ZERO }, &stats(2)).unwrap();
        assert_eq!(events(), "READY=1\nSTATUS=2 of 2 workers are ready");
        systemd.on_event(&Event::Shutdown { gave_up: None, timeout: Duration::ZERO }, &stats(0)).unwrap();
        assert_eq!(events(), "STOPPING=1\nSTATUS=0 of 2 workers are ready");
    }

    #[test]
    fn an_unreachable_manager_is_reported_once_each_time() {
        let (gone, mut systemd) = manager("gone", PERIOD);
        drop(gone);
        let ready = |number| Event::Ready { worker: WorkerId(number), slot: None, boot: Duration::ZERO };
        systemd.on_event(&ready(1), &stats(1)).unwrap_err();
        systemd.on_event(&ready(2), &stats(2)).unwrap();

        // It is back, and has not been notified yet that the service has started.
        let name = format!("rcluster-systemd-gone-{}", std::process::id());
        let back =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        back.set_nonblocking(true).unwrap();
        systemd.on_event(&ready(3), &stats(2)).unwrap();
        assert_eq!(events(&back), "READY=1\nSTATUS=2 of 2 workers are ready");
        systemd.on_event(&ready(4), &stats(2)).unwrap();
        assert_eq!(events(&back), "STATUS=2 of 2 workers are ready");
        drop(back);
        systemd.on_event(&ready(5), &stats(2)).unwrap_err();
        systemd.on_event(&ready(6), &stats(2)).unwrap();
    }

    /// A service manager for the test, and its notifier.
    fn manager(name: &str, period: Duration) -> (UnixDatagram, Systemd) {
        let name = format!("rcluster-systemd-{name}-{}", std::process::id());
        let manager =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        manager.set_nonblocking(true).unwrap();
        let notifier = Notifier::to(OsStr::new(&format!("@{name}")), Some(period)).unwrap();
        (manager, Systemd::new(notifier, Duration::ZERO))
    }

    fn events(manager: &UnixDatagram) -> String {
        let mut text = [0; 256];
        let length = manager.recv(&mut text).unwrap_or(0);
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    const PERIOD: Duration = Duration::from_secs(10);

    /// Returns when the thread that runs `then`'s barrier has carried out the commands before it.
    fn wait_for(then: impl FnOnce(Barrier)) {
        let (done, wait) = channel();
        then(Barrier::new(move || done.send(()).unwrap()));
        wait.recv().unwrap();
    }

    fn forwarding() -> Forwarding {
        let spec = FrontOptions {
            address: FrontAddress::Tcp { host: Some("127.0.0.1".into()), port: 0 },
            backlog: 1,
            reach: Some(Reach::Port),
            env: "PORT".into(),
            policy: Policy::RoundRobin,
            proxy: None,
            config: Config::default(),
        };
        let forwarding = Forwarding::default();
        forwarding.start(vec![BoundFront::open(spec).unwrap()], Arc::new(|_| {})).unwrap();
        forwarding
    }

    /// Feeds the watchdog, blocks a thread, and releases it. `then` runs a barrier on that thread.
    fn check(name: &str, blocked: &str, threads: Threads<'_>, then: &dyn Fn(Barrier)) {
        let flush_except = |except: &str| {
            if except != "dispatcher" {
                wait_for(|act| threads.dispatcher.tell(Command::Barrier(act)));
            }
            if except != "forwarder" && threads.forwarding.is_running() {
                wait_for(|act| threads.forwarding.barrier(act));
            }
        };
        let (manager, mut systemd) = manager(name, PERIOD);
        assert_eq!(systemd.tick(Duration::ZERO, threads).unwrap(), None);
        assert_eq!(events(&manager), "WATCHDOG=1");
        assert_eq!(systemd.next_deadline(), Some(PERIOD / 2));
        flush_except("none");
        systemd.tick(PERIOD / 4, threads).unwrap();
        assert_eq!(events(&manager), "", "it is not yet time");

        // The thread answers earlier barriers, and then blocks.
        let (release, held) = channel::<()>();
        then(Barrier::new(move || assert!(held.recv().is_err(), "released by dropping the other end")));
        assert_eq!(systemd.tick(PERIOD / 2, threads).unwrap(), None);
        assert_eq!(events(&manager), "WATCHDOG=1", "the last one before");
        flush_except(blocked);
        assert_eq!(systemd.tick(PERIOD, threads).unwrap(), Some(blocked));
        assert_eq!(systemd.tick(PERIOD * 2, threads).unwrap(), None, "told once");
        assert_eq!(events(&manager), "", "a thread is blocked");

        drop(release);
        flush_except("none");
        assert_eq!(systemd.tick(PERIOD * 3, threads).unwrap(), None);
        assert_eq!(events(&manager), "WATCHDOG=1", "it turns again");
    }

    #[test]
    fn the_watchdog_is_not_fed_while_the_dispatcher_is_blocked() {
        let dispatcher = Dispatcher::start(|_| {}).unwrap();
        let threads = Threads { dispatcher: &dispatcher, forwarding: &Forwarding::default() };
        check("dispatcher", "dispatcher", threads, &|act| dispatcher.tell(Command::Barrier(act)));
    }

    #[test]
    fn the_watchdog_is_not_fed_while_the_forwarder_is_blocked() {
        let dispatcher = Dispatcher::start(|_| {}).unwrap();
        let forwarding = forwarding();
        let threads = Threads { dispatcher: &dispatcher, forwarding: &forwarding };
        check("forwarder", "forwarder", threads, &|act| forwarding.barrier(act));
    }

    #[test]
    fn the_watchdog_is_not_fed_when_the_dispatcher_has_ended() {
        let dispatcher = Dispatcher::start(|_| {}).unwrap();
        let forwarding = Forwarding::default();
        let threads = Threads { dispatcher: &dispatcher, forwarding: &forwarding };
        let (ended, wait) = channel::<()>();
        dispatcher.tell(Command::Barrier(Barrier::new(move || {
            let _ended = ended;
            // Without a panic message, unlike a real failure of the thread.
            std::panic::resume_unwind(Box::new("the test ends the thread"));
        })));
        assert!(wait.recv().is_err(), "dropped by the unwinding");
        let (manager, mut systemd) = manager("ended", PERIOD);
        systemd.tick(Duration::ZERO, threads).unwrap();
        assert_eq!(events(&manager), "WATCHDOG=1");
        for half in 1..10 {
            systemd.tick(PERIOD / 2 * half, threads).unwrap();
            assert_eq!(events(&manager), "");
        }
    }
}
