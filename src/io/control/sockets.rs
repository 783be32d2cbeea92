//! The sockets that the primary has opened for its workers.
//!
//! A balanced socket goes to the dispatcher, which accepts on it. A shared one (`SCHED_NONE`, UDP) is kept
//! here, and every worker that requests it gets a duplicate. Under the `kernel` policy there is one for each
//! slot, here and in the dispatcher.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::env::current_dir;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, Instant};

use super::inherited::Passed;
use super::messages::{Tell, unreachable_listener};
use super::systemd::Manager;
use crate::io::dispatcher::{Command as ToDispatcher, Dispatcher};
use rcluster_core::control::listeners::{ListenAddress, ListenerSpec, Opened, Sharing, shorter};
use rcluster_core::frames::{Family, Kind, Reply, Sockname};
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_sys::closer::do_not_linger;
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::error::SysError;
use rcluster_sys::listen::group::Group;
use rcluster_sys::listen::{
    self, Access, Bound, BoundPath, Leftover, ObservedPath, UdpOptions, address_text,
};

/// A socket that workers hold as well. One of them may have turned it into a connection that lingers, which close(2) would
/// wait for.
struct Held(OwnedFd);

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        do_not_linger(&self.0);
    }
}

/// A listening socket that workers share.
struct Shared {
    /// Dropped first: while the socket is open, its file's inode cannot be reused.
    _path: Option<BoundPath>,
    socket: Held,
}

/// A listening socket for each slot, opened when a worker of the slot requests it. The dispatcher has
/// duplicates of all.
struct PerSlot {
    group: Group,
    sockets: HashMap<Slot, Held>,
    /// A listening socket without a slot: the first one, which shows whether the address is available.
    spare: Option<OwnedFd>,
}

/// A Unix socket with a file that the app may remove, and how to open it again.
struct Named {
    file: ObservedPath,
    spec: ListenerSpec,
}

/// See the module documentation.
pub(super) struct Sockets {
    dispatcher: Arc<Dispatcher>,
    tell: Tell,
    named: HashMap<ListenerId, Named>,
    shared: HashMap<ListenerId, Shared>,
    per_slot: HashMap<ListenerId, PerSlot>,
    /// Listeners with one inherited socket that would otherwise have one for each slot. The dispatcher knows
    /// them.
    passed_per_slot: HashSet<ListenerId>,
    /// Listeners that the dispatcher was told to close. A receiver ends when its listener is closed.
    closing: Vec<Receiver<Infallible>>,
    pub(super) passed: Passed,
    leftover: Leftover,
}

/// The longest wait for listeners to be closed. Usually one turn of the dispatcher is enough; what workers hold as well is
/// closed by a thread that may block.
const CLOSING: Duration = Duration::from_millis(500);

impl Sockets {
    pub(super) fn new(dispatcher: Arc<Dispatcher>, tell: Tell) -> Self {
        Self {
            dispatcher,
            tell,
            named: HashMap::new(),
            shared: HashMap::new(),
            per_slot: HashMap::new(),
            passed_per_slot: HashSet::new(),
            closing: Vec::new(),
            passed: Passed::from_environment(),
            leftover: Leftover::Keep,
        }
    }

    /// Supervision begins: sockets are stored with the service manager, and files of Unix sockets that a killed primary has
    /// left are removed. Without supervision, `listen()` fails as with the built-in.
    pub(super) fn begin_supervision(&mut self, manager: &Manager) {
        self.leftover = Leftover::Remove;
        self.passed.begin_to_store(manager);
    }

    /// Opens a socket. The error is the negative errno that the worker will see.
    pub(super) fn open(&mut self, listener: ListenerId, spec: &ListenerSpec) -> Result<Opened, i32> {
        let mut opened = self.try_open(listener, spec);
        // The address may be that of a listener that was just closed here.
        if opened.as_ref().is_err_and(SysError::is_address_in_use) && self.finish_closing() {
            opened = self.try_open(listener, spec);
        }
        opened.map_err(|error| error.negative_errno())
    }

    fn try_open(&mut self, listener: ListenerId, spec: &ListenerSpec) -> Result<Opened, SysError> {
        if let Some(number) = self.passed.claim(listener, &spec.address) {
            return self.open_passed(listener, spec, number);
        }
        if spec.sharing == Sharing::PerSlot {
            return self.open_group(listener, spec);
        }
        let bound = bind(spec, self.leftover)?;
        self.passed.store(listener, &spec.address, &bound);
        Ok(self.give_out(listener, spec, bound))
    }

    /// Waits until what the dispatcher was told to close is closed. Returns false if there was nothing.
    fn finish_closing(&mut self) -> bool {
        let deadline = Instant::now() + CLOSING;
        let mut closing = std::mem::take(&mut self.closing);
        let was_closing = !closing.is_empty();
        closing.retain(|it| {
            let rest = deadline.saturating_duration_since(Instant::now());
            it.recv_timeout(rest) == Err(RecvTimeoutError::Timeout)
        });
        self.closing = closing;
        was_closing
    }

    /// Uses a socket that the service manager has passed.
    fn open_passed(
        &mut self,
        listener: ListenerId,
        spec: &ListenerSpec,
        number: RawFd,
    ) -> Result<Opened, SysError> {
        let bound = match spec.address {
            ListenAddress::Udp { .. } => listen::adopt_datagram(number)?,
            _ => listen::adopt_stream(number, spec.backlog)?,
        };
        if spec.sharing == Sharing::PerSlot {
            // There is one socket, not one for each slot. All workers get it, and the kernel chooses which
            // one accepts.
            let (name, plan) = (spec.name.clone(), Box::new(spec.plan.clone()));
            self.dispatcher.tell(ToDispatcher::AddListener {
                listener,
                socket: None,
                path: None,
                name,
                plan,
            });
            let opened = Opened { kind: kind(bound.kind), sockname: bound.sockname.map(|at| sockname(&at)) };
            self.shared.insert(listener, Shared { socket: Held(bound.fd), _path: None });
            self.passed_per_slot.insert(listener);
            return Ok(opened);
        }
        Ok(self.give_out(listener, spec, bound))
    }

    /// Has the dispatcher give a worker connections of a listener. Each worker of an app that removes the file of its Unix
    /// socket before it listens removes the one that the others have in use, so it is made again.
    pub(super) fn join(&mut self, worker: WorkerId, listener: ListenerId) {
        self.restore_file(listener);
        self.dispatcher.tell(ToDispatcher::Join(worker, listener));
    }

    fn restore_file(&mut self, listener: ListenerId) {
        // Without supervision, the clients find nobody, as with the built-in.
        let Some(named) = self.named.get_mut(&listener).filter(|named| named.file.is_lost()) else { return };
        match bind(&named.spec, self.leftover) {
            Ok(Bound { fd: socket, path: Some(path), .. }) => {
                named.file = path.observe();
                if let Some(shared) = self.shared.get_mut(&listener) {
                    *shared = Shared { socket: Held(socket), _path: Some(path) };
                } else {
                    let path = Some(path);
                    self.dispatcher.tell(ToDispatcher::AddSocket { listener, socket, path });
                }
            }
            // An abstract name has no file to lose.
            Ok(_) => {}
            Err(error) => (self.tell)(unreachable_listener(&named.spec.name, &error)),
        }
    }

    /// Passes an open socket to the side that accepts on it.
    fn give_out(&mut self, listener: ListenerId, spec: &ListenerSpec, bound: Bound) -> Opened {
        let opened = Opened { kind: kind(bound.kind), sockname: bound.sockname.map(|at| sockname(&at)) };
        let Bound { fd: socket, path, sockname: at, .. } = bound;
        if let Some(path) = path.as_ref().filter(|_| self.leftover == Leftover::Remove) {
            self.named.insert(listener, Named { file: path.observe(), spec: spec.clone() });
        }
        if spec.backlog.is_some() {
            let name = at.map_or_else(|| spec.name.clone(), |at| at.port().to_string());
            let plan = Box::new(spec.plan.clone());
            self.dispatcher.tell(ToDispatcher::AddListener {
                listener,
                socket: Some(socket),
                path,
                name,
                plan,
            });
        } else {
            self.shared.insert(listener, Shared { socket: Held(socket), _path: path });
        }
        opened
    }

    /// Opens a group of sockets. The first worker that requests one gets the first.
    fn open_group(&mut self, listener: ListenerId, spec: &ListenerSpec) -> Result<Opened, SysError> {
        let backlog = spec.backlog.unwrap_or_default();
        let group = match &spec.address {
            ListenAddress::Tcp { address, ipv6, port, ipv6_only } => {
                Group::new(listen::parse_address(address, *ipv6, *port)?, *ipv6_only, backlog)?
            }
            ListenAddress::TcpAnywhere { port, ipv6_only } => Group::anywhere(*port, *ipv6_only, backlog)?,
            _ => return Err(SysError::invalid("opening a socket for each slot")),
        };
        let spare = Some(group.open()?);
        let (name, plan) = (group.address().port().to_string(), Box::new(spec.plan.clone()));
        self.dispatcher.tell(ToDispatcher::AddListener { listener, socket: None, path: None, name, plan });
        let opened = Opened { kind: Kind::Tcp, sockname: Some(sockname(&group.address())) };
        self.per_slot.insert(listener, PerSlot { group, sockets: HashMap::new(), spare });
        Ok(opened)
    }

    /// Closes a listener. `is_end`: because of the shutdown, so it stays in the service manager's store.
    pub(super) fn close(&mut self, listener: ListenerId, is_end: bool) {
        self.passed.on_closed(listener, is_end);
        self.named.remove(&listener);
        self.per_slot.remove(&listener);
        if self.shared.remove(&listener).is_none() || self.passed_per_slot.remove(&listener) {
            let (closed, closing) = channel();
            self.closing.retain(|it| it.try_recv() == Err(TryRecvError::Empty));
            self.closing.push(closing);
            self.dispatcher.tell(ToDispatcher::RemoveListener(listener, closed));
        }
    }

    /// The descriptor to send with a reply, if any.
    pub(super) fn shared(&mut self, slot: Option<Slot>, reply: &Reply) -> Result<Option<OwnedFd>, SysError> {
        let Some(listener) = reply.listener.filter(|_| reply.shared) else { return Ok(None) };
        self.restore_file(listener);
        if let Some(per_slot) = self.per_slot.get_mut(&listener) {
            // Replies to a standby wait until it has a slot.
            let slot = slot.ok_or(SysError::invalid("sharing the socket of a slot without one"))?;
            match per_slot.sockets.get(&slot) {
                Some(socket) if !listen::is_shut(socket) => return duplicate(socket).map(Some),
                // A worker of this slot has shut it down. The dispatcher replaces it with the next one.
                Some(_) => drop(per_slot.sockets.remove(&slot)),
                None => {}
            }
            // A listening socket has its index in the group. So if there are no descriptors for the
            // duplicates, it is kept for the next time and not closed.
            let spare = match per_slot.spare.take() {
                Some(spare) => spare,
                None => per_slot.group.open()?,
            };
            let socket = per_slot.spare.insert(spare);
            let (for_dispatcher, for_worker) = (duplicate(socket)?, duplicate(socket)?);
            per_slot.sockets.extend(per_slot.spare.take().map(|socket| (slot, Held(socket))));
            self.dispatcher.tell(ToDispatcher::AddSlot { listener, slot, socket: for_dispatcher });
            return Ok(Some(for_worker));
        }
        self.shared.get(&listener).map(|shared| duplicate(&shared.socket)).transpose()
    }
}

fn bind(spec: &ListenerSpec, leftover: Leftover) -> Result<Bound, SysError> {
    let backlog = spec.backlog;
    match &spec.address {
        ListenAddress::Tcp { address, ipv6, port, ipv6_only } => {
            listen::tcp(listen::parse_address(address, *ipv6, *port)?, *ipv6_only, backlog)
        }
        ListenAddress::TcpAnywhere { port, ipv6_only } => listen::tcp_anywhere(*port, *ipv6_only, backlog),
        ListenAddress::Udp { address, ipv6, port, ipv6_only, reuse_address } => listen::udp(
            listen::parse_address(address, *ipv6, *port)?,
            UdpOptions { ipv6_only: *ipv6_only, reuse_address: *reuse_address },
        ),
        ListenAddress::Path { path, readable_all, writable_all } => {
            let access = Access { readable: *readable_all, writable: *writable_all };
            // Without a working directory the path is used as it is.
            listen::unix(&shorter(path, current_dir().ok().as_deref()), access, leftover, backlog)
        }
        ListenAddress::Datagram { fd } => listen::adopt_datagram(*fd),
        ListenAddress::Stream { fd } => listen::adopt_stream(*fd, backlog),
    }
}

fn kind(kind: listen::Kind) -> Kind {
    match kind {
        listen::Kind::Tcp => Kind::Tcp,
        listen::Kind::Pipe => Kind::Pipe,
        listen::Kind::Udp => Kind::Udp,
    }
}

fn sockname(at: &std::net::SocketAddr) -> Sockname {
    let family = if at.is_ipv4() { Family::IPv4 } else { Family::IPv6 };
    Sockname { address: address_text(at), family, port: at.port() }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rcluster_testing::lingering;

    use super::*;

    #[test]
    fn a_socket_that_a_worker_has_turned_into_a_lingering_connection_is_closed_without_waiting() {
        let (fd, mut peer) = lingering();
        drop(Held(fd));
        // Nothing has been read so far, so closing cannot have waited for that.
        assert!(peer.read_to_end(&mut Vec::new()).is_ok());
    }
}
