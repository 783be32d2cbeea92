//! The sockets that the primary has opened for its workers.
//!
//! A balanced one goes to the dispatcher, which accepts on it. A shared one (`SCHED_NONE`, UDP)
//! is kept here, and every worker that asks gets a duplicate.

use std::collections::HashMap;
use std::env::current_dir;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::core::ids::ListenerId;
use crate::core::listeners::{Opened, Place, Spec, shorter};
use crate::core::wire::{Family, Kind, Reply, Sockname};
use crate::io::dispatcher::{Command as ToDispatcher, Dispatcher};
use crate::sys::error::SysError;
use crate::sys::listen::{self, Access, Bound, BoundPath, UdpOptions, address_text};
use crate::sys::passing::duplicate;

/// A listening socket that workers share.
struct Shared {
    /// Dropped first: as long as the socket is open, its file's inode cannot become another's.
    _path: Option<BoundPath>,
    socket: OwnedFd,
}

/// See the module.
pub(super) struct Sockets {
    dispatcher: Arc<Dispatcher>,
    shared: HashMap<ListenerId, Shared>,
}

impl Sockets {
    pub(super) fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self { dispatcher, shared: HashMap::new() }
    }

    /// Opens a socket. An error is told by its negative number, as the worker will see it.
    pub(super) fn open(&mut self, listener: ListenerId, spec: &Spec) -> Result<Opened, i32> {
        let bound = bind(spec).map_err(|error| error.negative_errno())?;
        let opened = Opened { kind: kind(bound.kind), sockname: bound.sockname.map(|at| sockname(&at)) };
        let Bound { fd: socket, path, .. } = bound;
        if spec.backlog.is_some() {
            self.dispatcher.tell(ToDispatcher::AddListener { listener, socket, path });
        } else {
            self.shared.insert(listener, Shared { socket, _path: path });
        }
        Ok(opened)
    }

    pub(super) fn close(&mut self, listener: ListenerId) {
        if self.shared.remove(&listener).is_none() {
            self.dispatcher.tell(ToDispatcher::RemoveListener(listener));
        }
    }

    /// The descriptor that has to go with a reply, if any.
    pub(super) fn shared(&self, reply: &Reply) -> Result<Option<OwnedFd>, SysError> {
        let shared = reply.listener.filter(|_| reply.shared).and_then(|listener| self.shared.get(&listener));
        shared.map(|shared| duplicate(&shared.socket)).transpose()
    }
}

fn bind(spec: &Spec) -> Result<Bound, SysError> {
    let backlog = spec.backlog;
    match &spec.place {
        Place::Tcp { address, ipv6, port, ipv6_only } => {
            listen::tcp(listen::parse_address(address, *ipv6, *port)?, *ipv6_only, backlog)
        }
        Place::TcpAnywhere { port, ipv6_only } => listen::tcp_anywhere(*port, *ipv6_only, backlog),
        Place::Udp { address, ipv6, port, ipv6_only, reuse_address } => listen::udp(
            listen::parse_address(address, *ipv6, *port)?,
            UdpOptions { ipv6_only: *ipv6_only, reuse_address: *reuse_address },
        ),
        Place::Path { path, readable_all, writable_all } => {
            let access = Access { readable: *readable_all, writable: *writable_all };
            // Without a working directory there is nothing to be relative to.
            listen::unix(&shorter(path, current_dir().ok().as_deref()), access, backlog)
        }
        Place::Datagram { fd } => listen::adopt_datagram(*fd),
        Place::Stream { fd } => listen::adopt_stream(*fd, backlog),
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
