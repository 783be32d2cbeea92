//! The sockets that the primary has opened for its workers.
//!
//! A balanced one goes to the dispatcher, which accepts on it. A shared one (`SCHED_NONE`, UDP)
//! is kept here, and every worker that asks gets a duplicate. Under the kernel policy there is one for each slot,
//! here and in the dispatcher.

use std::collections::HashMap;
use std::env::current_dir;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::io::dispatcher::{Command as ToDispatcher, Dispatcher};
use rcluster_core::control::listeners::{ListenAddress, ListenerSpec, Opened, Sharing, shorter};
use rcluster_core::ids::{ListenerId, Slot};
use rcluster_core::wire::{Family, Kind, Reply, Sockname};
use rcluster_sys::error::SysError;
use rcluster_sys::listen::group::Group;
use rcluster_sys::listen::{self, Access, Bound, BoundPath, UdpOptions, address_text};
use rcluster_sys::passing::duplicate;

/// A listening socket that workers share.
struct Shared {
    /// Dropped first: as long as the socket is open, its file's inode cannot become another's.
    _path: Option<BoundPath>,
    socket: OwnedFd,
}

/// A listening socket for each slot, once a worker of that slot has asked. The dispatcher has duplicates of all.
struct PerSlot {
    group: Group,
    sockets: HashMap<Slot, OwnedFd>,
    /// One that listens and is nobody's yet: the first one, which says whether the address can be had at all.
    spare: Option<OwnedFd>,
}

/// See the module.
pub(super) struct Sockets {
    dispatcher: Arc<Dispatcher>,
    shared: HashMap<ListenerId, Shared>,
    per_slot: HashMap<ListenerId, PerSlot>,
}

impl Sockets {
    pub(super) fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self { dispatcher, shared: HashMap::new(), per_slot: HashMap::new() }
    }

    /// Opens a socket. An error is told by its negative number, as the worker will see it.
    pub(super) fn open(&mut self, listener: ListenerId, spec: &ListenerSpec) -> Result<Opened, i32> {
        if spec.sharing == Sharing::PerSlot {
            return self.open_group(listener, spec).map_err(|error| error.negative_errno());
        }
        let bound = bind(spec).map_err(|error| error.negative_errno())?;
        let opened = Opened { kind: kind(bound.kind), sockname: bound.sockname.map(|at| sockname(&at)) };
        let Bound { fd: socket, path, sockname: at, .. } = bound;
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
            self.shared.insert(listener, Shared { socket, _path: path });
        }
        Ok(opened)
    }

    /// Opens a group of sockets, of which the first worker that asks gets the first.
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

    pub(super) fn close(&mut self, listener: ListenerId) {
        self.per_slot.remove(&listener);
        if self.shared.remove(&listener).is_none() {
            self.dispatcher.tell(ToDispatcher::RemoveListener(listener));
        }
    }

    /// The descriptor that has to go with a reply, if any.
    pub(super) fn shared(&mut self, slot: Option<Slot>, reply: &Reply) -> Result<Option<OwnedFd>, SysError> {
        let Some(listener) = reply.listener.filter(|_| reply.shared) else { return Ok(None) };
        if let Some(per_slot) = self.per_slot.get_mut(&listener) {
            // A standby gets its replies once it has one.
            let slot = slot.ok_or(SysError::invalid("sharing the socket of a slot without one"))?;
            match per_slot.sockets.get(&slot) {
                Some(socket) if !listen::is_shut(socket) => return duplicate(socket).map(Some),
                // A worker of this slot has shut it down. The dispatcher takes the next one in its place.
                Some(_) => drop(per_slot.sockets.remove(&slot)),
                None => {}
            }
            // Once it listens it has its number in the group. So it is not closed again if there are no descriptors
            // for the others; it is used next time.
            let spare = match per_slot.spare.take() {
                Some(spare) => spare,
                None => per_slot.group.open()?,
            };
            let socket = per_slot.spare.insert(spare);
            let (for_dispatcher, for_worker) = (duplicate(socket)?, duplicate(socket)?);
            per_slot.sockets.extend(per_slot.spare.take().map(|socket| (slot, socket)));
            self.dispatcher.tell(ToDispatcher::AddSlot { listener, slot, socket: for_dispatcher });
            return Ok(Some(for_worker));
        }
        self.shared.get(&listener).map(|shared| duplicate(&shared.socket)).transpose()
    }
}

fn bind(spec: &ListenerSpec) -> Result<Bound, SysError> {
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
            // Without a working directory there is nothing to be relative to.
            listen::unix(&shorter(path, current_dir().ok().as_deref()), access, backlog)
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
