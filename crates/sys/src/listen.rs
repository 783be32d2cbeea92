//! Opening sockets to listen on, the way libuv opens them for Node.
//!
//! An app can move to rcluster without changes only if the same things fail with the same error numbers. So
//! each departure from the plain system calls is libuv's, and is explained.

mod backlog;
mod bound_path;
mod given;
pub mod group;
mod leftover;
mod own;
mod path;
pub mod private;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::net::if_::{if_indextoname, if_nametoindex};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, accept4, bind, getsockname, setsockopt, socket,
    sockopt,
};

use super::client::internet;
use super::error::{Doing, SysError};
pub use backlog::{Backlog, backlog, listening_address};
pub use bound_path::{BoundPath, ObservedPath};
pub use given::{adopt_datagram, adopt_stream};
pub use leftover::Leftover;
use own::OWN;

/// The type of a listening socket, in Node's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP over either version of IP.
    Tcp,
    /// A Unix stream socket.
    Pipe,
    /// UDP over either version of IP.
    Udp,
}

/// A socket that has been opened: non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Bound {
    /// Its type.
    pub kind: Kind,
    /// The actual address; `None` for a pipe.
    pub sockname: Option<SocketAddr>,
    /// The file it created, which is removed when this is dropped. Must be dropped before the socket is
    /// closed.
    pub path: Option<BoundPath>,
    /// The socket.
    pub fd: OwnedFd,
}

/// The access of all users of the machine to a socket in the file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Read access.
    pub readable: bool,
    /// Write access, which connecting needs.
    pub writable: bool,
}

/// How to bind a UDP socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpOptions {
    /// Whether an IPv6 socket refuses IPv4.
    pub ipv6_only: bool,
    /// Whether other sockets may bind the same address.
    pub reuse_address: bool,
}

/// Parses an IP address of the given version. `EINVAL` if it is invalid, as in libuv.
///
/// An IPv6 address may name an interface, as in `fe80::1%eth0`. As in libuv, an interface that does not exist
/// is not an error here, but only when the address is bound, if it is needed at all.
pub fn parse_address(text: &str, ipv6: bool, port: u16) -> Result<SocketAddr, SysError> {
    let invalid = SysError { doing: "reading an IP address", errno: Errno::EINVAL };
    if !ipv6 {
        let address: Ipv4Addr = text.parse().map_err(|_| invalid)?;
        return Ok(SocketAddr::from((address, port)));
    }
    let (address, scope) = text
        .split_once('%')
        .map_or((text, 0), |(address, interface)| (address, if_nametoindex(interface).unwrap_or(0)));
    let address: Ipv6Addr = address.parse().map_err(|_| invalid)?;
    Ok(SocketAddrV6::new(address, port, 0, scope).into())
}

/// Formats an address without its port, as in `server.address()`. A link-local address includes its
/// interface.
#[must_use]
pub fn address_text(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() != 0 => {
            let interface = if_indextoname(v6.scope_id())
                .map_or_else(|_| v6.scope_id().to_string(), |name| name.to_string_lossy().into_owned());
            format!("{}%{interface}", v6.ip())
        }
        _ => address.ip().to_string(),
    }
}

/// Opens a TCP socket, and listens if there is a `backlog`. `ipv6_only` is ignored for IPv4.
pub fn tcp(address: SocketAddr, ipv6_only: bool, backlog: Option<i32>) -> Result<Bound, SysError> {
    let fd = bind_tcp(address, ipv6_only)?;
    start(&fd, backlog)?;
    Ok(Bound { kind: Kind::Tcp, sockname: local_address(&fd)?, path: None, fd })
}

/// Opens a TCP socket on all addresses: `::`, which accepts IPv4 as well, or `0.0.0.0` on a machine without
/// IPv6.
///
/// If the port is in use, that is an error: `0.0.0.0` is tried only if `::` fails for another reason.
/// Otherwise two services could each get one version of IP without noticing.
pub fn tcp_anywhere(port: u16, ipv6_only: bool, backlog: Option<i32>) -> Result<Bound, SysError> {
    let everywhere = |ip: IpAddr| bind_tcp(SocketAddr::new(ip, port), ipv6_only);
    let fd = match everywhere(Ipv6Addr::UNSPECIFIED.into()) {
        Err(error) if error.errno != Errno::EADDRINUSE => everywhere(Ipv4Addr::UNSPECIFIED.into()),
        bound => bound,
    }?;
    start(&fd, backlog)?;
    Ok(Bound { kind: Kind::Tcp, sockname: local_address(&fd)?, path: None, fd })
}

/// Opens a UDP socket.
pub fn udp(address: SocketAddr, options: UdpOptions) -> Result<Bound, SysError> {
    let doing = "binding a UDP socket";
    if options.ipv6_only && address.is_ipv4() {
        return Err(SysError { doing, errno: Errno::EINVAL });
    }
    let fd = new_socket(family(&address), SockType::Datagram).doing("making a UDP socket")?;
    if options.reuse_address {
        setsockopt(&fd, sockopt::ReuseAddr, &true).doing("sharing a UDP address")?;
    }
    // Unlike for TCP, libuv keeps the system's default unless the option is given.
    if options.ipv6_only {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true).doing("binding a UDP socket to IPv6 only")?;
    }
    bind_ip(&fd, address).doing(doing)?;
    Ok(Bound { kind: Kind::Udp, sockname: local_address(&fd)?, path: None, fd })
}

/// Opens a Unix socket, and listens if there is a `backlog`. A path that begins with a NUL is an abstract
/// name, all of whose bytes count; there is no file then, and `everybody` is ignored.
///
/// The mode is set before the socket listens, so no client can have connected under the old one.
pub fn unix(
    path: &Path,
    everybody: Access,
    leftover: Leftover,
    backlog: Option<i32>,
) -> Result<Bound, SysError> {
    let fd = new_socket(AddressFamily::Unix, SockType::Stream).doing("making a unix socket")?;
    let path = path::bind(&fd, path, everybody, leftover).map_err(|error| match error.errno {
        // libuv's translation: a missing directory gives the same error on Linux as on Windows.
        Errno::ENOENT => SysError { errno: Errno::EACCES, ..error },
        _ => error,
    })?;
    start(&fd, backlog)?;
    Ok(Bound { kind: Kind::Pipe, sockname: None, path, fd })
}

/// The maximum number of clients that one call of [`accept`] skips because of an error of theirs.
const SKIPPED: usize = 64;

/// Accepts a connection, if one is waiting.
///
/// accept(2) also reports errors of the connection that it was about to return (`EPROTO`, `ENETDOWN`, `EPERM` of a
/// firewall …). Those clients are skipped. A security module, however, refuses each call and leaves the client where it
/// is: after [`SKIPPED`] errors in a row, the last one is returned.
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>, SysError> {
    let listener = listener.as_fd().as_raw_fd();
    let mut skipped = 0;
    loop {
        match accept4(listener, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC) {
            // SAFETY: accept4 has just created this descriptor, so it has no other owner. The OwnedFd owns it
            // from here on and closes it.
            Ok(number) => return Ok(Some(unsafe { OwnedFd::from_raw_fd(number) })),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(errno) if is_of_the_connection(errno) && skipped < SKIPPED => skipped += 1,
            Err(errno) => return Err(errno).doing("accepting a connection"),
        }
    }
}

/// Whether accept(2) reports an error of the connection with this number; see its manual page. The next connection may
/// be good.
fn is_of_the_connection(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENETDOWN
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::EHOSTUNREACH
            | Errno::EOPNOTSUPP
            | Errno::ENETUNREACH
            | Errno::EPERM
            | Errno::ETIMEDOUT
    )
}

/// Whether a client waits to be accepted.
///
/// For loops that accept until no client is left: [`accept`] allocates a socket before it checks, so a call
/// that finds no client costs as much as accepting one, and ten times as much as this check.
#[must_use]
pub fn has_client(listener: &impl AsFd) -> bool {
    let mut listener = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    // If polling fails, accepting reports the error.
    poll(&mut listener, PollTimeout::ZERO) != Ok(0)
}

/// Like [`has_client`], for a socket that other code in this process owns, by its number. False if it does
/// not listen any more.
pub fn has_client_at(number: RawFd) -> Result<bool, SysError> {
    let mut look = libc::pollfd { fd: number, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry of ours is read and written. The descriptor is only polled, and an unused number is a
    // valid argument.
    let told = unsafe { libc::poll(&raw mut look, 1, 0) };
    Errno::result(told).doing("looking for a client")?;
    Ok(look.revents & (libc::POLLIN | libc::POLLHUP | libc::POLLNVAL) == libc::POLLIN)
}

/// The state of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It listens, and no client waits.
    Quiet,
    /// A client waits.
    Client,
    /// It does not listen any more: another process that holds it has shut it down.
    Shut,
}

/// Checks the state of these sockets.
pub fn look<'a, L: AsFd + 'a>(listeners: impl IntoIterator<Item = &'a L>) -> Result<Vec<Look>, SysError> {
    let mut looks: Vec<PollFd<'_>> =
        listeners.into_iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
    let seen = |look: &PollFd<'_>| {
        let events = look.revents().unwrap_or(PollFlags::empty());
        match events.contains(PollFlags::POLLHUP) {
            true => Look::Shut,
            false if events.is_empty() => Look::Quiet,
            false => Look::Client,
        }
    };
    match poll(&mut looks, PollTimeout::ZERO) {
        // It does not wait, so it cannot be interrupted.
        Ok(_) => Ok(looks.iter().map(seen).collect()),
        Err(errno) => Err(errno).doing("looking for clients"),
    }
}

/// Whether a socket that has listened does not any more: another process that holds it has shut it down, and
/// accepting from it always fails.
#[must_use]
pub fn is_shut(listener: &impl AsFd) -> bool {
    look([listener]).is_ok_and(|looks| looks == [Look::Shut])
}

/// Shuts down a listening socket for all its holders. Wakes threads that are blocked in accepting from it.
pub fn stop_listening(listener: &impl AsFd) {
    // It fails only if it has been shut down before.
    let _ = nix::sys::socket::shutdown(listener.as_fd().as_raw_fd(), nix::sys::socket::Shutdown::Both);
}

fn family(address: &SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// A socket of rcluster itself, which no worker may name.
fn new_socket(family: AddressFamily, kind: SockType) -> nix::Result<OwnedFd> {
    let fd = socket(family, kind, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    OWN.add(&fd)?;
    Ok(fd)
}

fn bind_tcp(address: SocketAddr, ipv6_only: bool) -> Result<OwnedFd, SysError> {
    let fd = new_tcp(address, ipv6_only)?;
    bind_ip(&fd, address).doing("binding a TCP socket")?;
    Ok(fd)
}

fn new_tcp(address: SocketAddr, ipv6_only: bool) -> Result<OwnedFd, SysError> {
    let fd = new_socket(family(&address), SockType::Stream).doing("making a TCP socket")?;
    // A restarted service must not wait for old connections in TIME_WAIT.
    setsockopt(&fd, sockopt::ReuseAddr, &true).doing("sharing a TCP address with the past")?;
    // Always set: the system's default may have been changed, but Node's behavior is fixed.
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &ipv6_only).doing("choosing the versions of IP")?;
    }
    Ok(fd)
}

fn bind_ip(fd: &OwnedFd, address: SocketAddr) -> nix::Result<()> {
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(|errno| match errno {
        // libuv's translation of the error for an address of the wrong family.
        Errno::EAFNOSUPPORT => Errno::EINVAL,
        errno => errno,
    })
}

/// Listens, if there is a backlog. Not with nix, which refuses large values that a system may allow.
fn start(fd: &OwnedFd, backlog: Option<i32>) -> Result<(), SysError> {
    let Some(backlog) = backlog else { return Ok(()) };
    // SAFETY: listen takes plain numbers; the descriptor is borrowed for the call.
    let answer = unsafe { libc::listen(fd.as_raw_fd(), backlog) };
    Errno::result(answer).map(drop).doing("listening")
}

fn local_address(fd: &OwnedFd) -> Result<Option<SocketAddr>, SysError> {
    let name: SockaddrStorage = getsockname(fd.as_raw_fd()).doing("asking a socket for its address")?;
    Ok(internet(&name))
}
