//! Sockets that a service manager has opened for the service, or keeps for it across restarts.
//!
//! Socket activation: the manager has opened the sockets, and a server that listens at the address of one of
//! them gets it. The manager owns them, so they stay open as long as the process runs.
//!
//! The descriptor store: TCP listeners that the primary has opened are given to the manager, which passes
//! them to the next primary. Meanwhile clients wait in the backlog. A listener that the app closes is removed
//! from the store.

use std::collections::HashMap;
use std::env::var_os;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::messages::Event;
use super::systemd::Manager;
use rcluster_core::control::listeners::ListenAddress;
use rcluster_core::ids::ListenerId;
use rcluster_core::notify::{is_stored, passed_descriptors, stored_name};
use rcluster_sys::error::SysError;
use rcluster_sys::inherited::{Inherited, Place, take_passed, takes_ipv4};
use rcluster_sys::listen::{Bound, parse_address};
use rcluster_sys::notify::Notifier;

/// A socket that the manager has passed.
struct Socket {
    inherited: Inherited,
    name: String,
    /// Whether a server has used it, now or before.
    claimed: bool,
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct Passed {
    sockets: Vec<Socket>,
    /// The names of listeners that are in the manager's store.
    stored: HashMap<ListenerId, String>,
    /// `None` if there is no manager, or the cluster is not supervised.
    store: Option<Notifier>,
    failure: Option<SysError>,
    has_told_failure: bool,
    /// Whether all workers have been ready once.
    has_looked: bool,
}

impl Passed {
    /// Takes over the sockets that the manager has passed to this process.
    pub(super) fn from_environment() -> Self {
        let value = |name| var_os(name).map(OsStringExt::into_vec);
        let (count, pid, names) = (value("LISTEN_FDS"), value("LISTEN_PID"), value("LISTEN_FDNAMES"));
        let listed =
            passed_descriptors(count.as_deref(), pid.as_deref(), names.as_deref(), std::process::id());
        let mut passed = Self::default();
        match take_passed(listed.iter().map(|(number, _)| *number)) {
            Ok(sockets) => passed.sockets.extend(sockets.into_iter().map(|inherited| {
                let name = listed.iter().find(|(number, _)| *number == inherited.number());
                let name = name.map(|(_, name)| name.clone()).unwrap_or_default();
                Socket { inherited, name, claimed: false }
            })),
            Err(error) => passed.failure = Some(error),
        }
        passed
    }

    /// From now on, listeners are put into the manager's store.
    pub(super) fn begin_to_store(&mut self, manager: &Manager) {
        let Some(socket) = manager.socket.as_ref().filter(|_| manager.stores) else { return };
        match Notifier::to(socket, None) {
            Ok(notifier) => self.store = Some(notifier),
            // The notification code uses the same socket, and reports its errors.
            Err(_) => self.store = None,
        }
    }

    /// The number of the socket at this address, if one was passed.
    pub(super) fn claim(&mut self, listener: ListenerId, address: &ListenAddress) -> Option<RawFd> {
        if let ListenAddress::Stream { fd } | ListenAddress::Datagram { fd } = address {
            // The app has given the descriptor's number, so the listener is opened by that.
            let known = self.sockets.iter_mut().find(|it| it.inherited.number() == *fd);
            if let Some(socket) = known {
                socket.claimed = true;
            }
            return None;
        }
        let exactly = self.sockets.iter().position(|it| is_at(&it.inherited, address, false));
        let index =
            exactly.or_else(|| self.sockets.iter().position(|it| is_at(&it.inherited, address, true)))?;
        let socket = &mut self.sockets[index];
        socket.claimed = true;
        if is_stored(&socket.name) {
            self.stored.insert(listener, socket.name.clone());
        }
        Some(socket.inherited.number())
    }

    /// Puts a listener that has been opened into the manager's store.
    pub(super) fn store(&mut self, listener: ListenerId, address: &ListenAddress, bound: &Bound) {
        // A port that the system has chosen will be different next time.
        let (ListenAddress::Tcp { port: 1.., .. } | ListenAddress::TcpAnywhere { port: 1.., .. }) = address
        else {
            return;
        };
        let (Some(store), Some(at)) = (&self.store, &bound.sockname) else { return };
        let name = stored_name(at.ip(), at.port());
        // Without `FDPOLL=0` the manager would drop a descriptor that reports an error or a hang-up.
        match store.send_with(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), &bound.fd) {
            Ok(()) => drop(self.stored.insert(listener, name)),
            Err(error) => self.failure = Some(error),
        }
    }

    /// A listener has been closed: `is_end` if by the shutdown, otherwise by the app.
    pub(super) fn on_closed(&mut self, listener: ListenerId, is_end: bool) {
        let Some(name) = self.stored.remove(&listener) else { return };
        if !is_end {
            self.remove(&name);
            self.sockets.retain(|it| it.name != name);
        }
    }

    fn remove(&mut self, name: &str) {
        let sent = self.store.as_ref().map(|store| store.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}")));
        self.failure = sent.and_then(Result::err).or(self.failure.take());
    }

    /// All workers are ready. Warns once of sockets that no server has claimed. Those from the store are
    /// closed, because their clients would wait forever.
    pub(super) fn on_all_ready(&mut self) -> Vec<Event> {
        if std::mem::replace(&mut self.has_looked, true) {
            return Vec::new();
        }
        let ours: Vec<Socket> =
            self.sockets.extract_if(.., |it| !it.claimed && is_stored(&it.name)).collect();
        let mut warnings = Vec::new();
        for socket in ours {
            self.remove(&socket.name);
            let message = format!(
                "No server listens at {} any more, where one did before the restart: the socket that the service manager has kept is closed",
                describe(socket.inherited.place())
            );
            warnings.push(Event::Warning { code: "RCLUSTER_PASSED_SOCKET", message });
        }
        for Socket { inherited, name, .. } in self.sockets.iter().filter(|it| !it.claimed) {
            let number = inherited.number();
            let name = if name.is_empty() { String::new() } else { format!(" ({name})") };
            let message = if *inherited.place() == Place::Other {
                format!(
                    "Descriptor {number}{name}, which the service manager has passed by the count in LISTEN_FDS, is no socket of TCP, UDP or a path: it is not used"
                )
            } else {
                format!(
                    "No server listens at {}, the address of the socket that the service manager has passed as descriptor {number}{name}: its clients wait",
                    describe(inherited.place())
                )
            };
            warnings.push(Event::Warning { code: "RCLUSTER_PASSED_SOCKET", message });
        }
        warnings
    }

    /// The error of updating the manager's store, reported once.
    pub(super) fn take_failure(&mut self) -> Option<Event> {
        let error = self.failure.take().filter(|_| !self.has_told_failure)?;
        self.has_told_failure = true;
        let message = format!("The service manager cannot keep listening sockets: {error}");
        Some(Event::Warning { code: "RCLUSTER_NOTIFY", message })
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        // The app may know their numbers and use them after this.
        for socket in self.sockets.drain(..) {
            socket.inherited.leave_open();
        }
    }
}

/// Whether a socket is what a server would open at this address. `roughly`: a socket of `::` that accepts
/// IPv4 also matches `0.0.0.0`.
fn is_at(socket: &Inherited, address: &ListenAddress, roughly: bool) -> bool {
    match (socket.place(), address) {
        (Place::Tcp(at), ListenAddress::Tcp { address, ipv6, port, .. })
        | (Place::Udp(at), ListenAddress::Udp { address, ipv6, port, .. }) => {
            let Ok(wanted) = parse_address(address, *ipv6, *port) else { return false };
            let is_wider = at.port() == wanted.port()
                && at.is_ipv6()
                && at.ip().is_unspecified()
                && wanted.is_ipv4()
                && wanted.ip().is_unspecified();
            *at == wanted || (roughly && is_wider && takes_ipv4(socket))
        }
        (Place::Tcp(at), ListenAddress::TcpAnywhere { port, .. }) => {
            at.port() == *port && at.ip().is_unspecified() && (at.is_ipv6() || roughly)
        }
        (Place::Path(at), ListenAddress::Path { path, .. }) => at == Path::new(path),
        _ => false,
    }
}

fn describe(place: &Place) -> String {
    match place {
        Place::Tcp(at) => at.to_string(),
        Place::Udp(at) => format!("{at} (UDP)"),
        Place::Path(path) => match path.as_os_str().as_bytes() {
            [0, name @ ..] => format!("@{}", String::from_utf8_lossy(name)),
            _ => path.display().to_string(),
        },
        Place::Other => "an unknown address".into(),
    }
}
