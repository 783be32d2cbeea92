//! Opening sockets to listen on, the way libuv opens them for Node.
//!
//! An app moves to rcluster without noticing only if the same things fail with the same error
//! numbers, so each departure from the plain system calls is libuv's, and is explained.

pub mod group;
mod path;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::net::if_::{if_indextoname, if_nametoindex};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, accept4, bind, getpeername,
    getsockname, getsockopt, setsockopt, socket, sockopt,
};
use nix::sys::stat::{SFlag, fstat};

use super::client::internet;
use super::error::{Doing, SysError};
pub use path::BoundPath;

/// What a listening socket is, in Node's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP over either version of IP.
    Tcp,
    /// A unix stream socket.
    Pipe,
    /// UDP over either version of IP.
    Udp,
}

/// A socket that has been opened: non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Bound {
    /// What it is.
    pub kind: Kind,
    /// Where it really is; `None` for a pipe.
    pub sockname: Option<SocketAddr>,
    /// The file it made, which goes when this is dropped. To be dropped before the socket is closed.
    pub path: Option<BoundPath>,
    /// The socket.
    pub fd: OwnedFd,
}

/// What everybody on the machine may do with a socket in the file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Read it.
    pub readable: bool,
    /// Write to it, which is what connecting takes.
    pub writable: bool,
}

/// How to bind a UDP socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpOptions {
    /// No IPv4 on an IPv6 socket.
    pub ipv6_only: bool,
    /// Others may bind the same address.
    pub reuse_address: bool,
}

/// Reads an IP address of the version asked for. `EINVAL` if it is none, as in libuv.
///
/// An IPv6 address may name an interface, as in `fe80::1%eth0`. As in libuv an interface that
/// does not exist is no error here but where the address is bound, if it needs one at all.
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

/// Writes an address without its port, as `server.address()` has it: a link-local one is of no
/// use without its interface.
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

/// Opens a TCP socket, and listens if there is a `backlog`. `ipv6_only` says nothing to IPv4.
pub fn tcp(address: SocketAddr, ipv6_only: bool, backlog: Option<i32>) -> Result<Bound, SysError> {
    let fd = bind_tcp(address, ipv6_only)?;
    start(&fd, backlog)?;
    Ok(Bound { kind: Kind::Tcp, sockname: local_address(&fd)?, path: None, fd })
}

/// Opens a TCP socket on all addresses: `::`, which takes IPv4 as well, or `0.0.0.0` on a
/// machine without IPv6.
///
/// A port that is taken is taken: only where `::` fails for another reason is `0.0.0.0` tried.
/// Else two services would each get one version of IP without either app knowing.
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
    // Unlike for TCP libuv leaves the system's default alone where it was not asked.
    if options.ipv6_only {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true).doing("binding a UDP socket to IPv6 only")?;
    }
    bind_ip(&fd, address).doing(doing)?;
    Ok(Bound { kind: Kind::Udp, sockname: local_address(&fd)?, path: None, fd })
}

/// Opens a unix socket, and listens if there is a `backlog`. A path that begins with a NUL is an
/// abstract name, all of whose bytes count; there is no file then, and `everybody` says nothing.
///
/// The mode is set before the socket listens: nobody can have connected by the old one.
pub fn unix(path: &Path, everybody: Access, backlog: Option<i32>) -> Result<Bound, SysError> {
    let fd = new_socket(AddressFamily::Unix, SockType::Stream).doing("making a unix socket")?;
    let path = path::bind(&fd, path, everybody)?;
    start(&fd, backlog)?;
    Ok(Bound { kind: Kind::Pipe, sockname: None, path, fd })
}

/// Takes a listening socket, or one that can listen, of which the app knows the number, and
/// listens if there is a `backlog`.
///
/// The number stays the app's: what is returned is a duplicate. It is a number that a worker
/// names, so it may be anything; `EINVAL` for all that is no such socket, as Node has it.
pub fn adopt_stream(number: RawFd, backlog: Option<i32>) -> Result<Bound, SysError> {
    let doing = "listening on a given descriptor";
    let invalid = SysError { doing, errno: Errno::EINVAL };
    let fd = duplicate(number, doing)?;
    let (kind, sockname) = match identify(&fd, doing)? {
        (SockType::Stream, AddressFamily::Inet | AddressFamily::Inet6) => (Kind::Tcp, local_address(&fd)?),
        (SockType::Stream, AddressFamily::Unix) => (Kind::Pipe, None),
        _ => return Err(invalid),
    };
    // The kernel would not let a connection listen either. But a shared socket goes to the worker
    // before it tries, and a connection of the primary's is nothing to hand around: another
    // worker's message channel is one.
    if getpeername::<SockaddrStorage>(fd.as_raw_fd()).is_ok() {
        return Err(invalid);
    }
    make_nonblocking(&fd, doing)?;
    start(&fd, backlog)?;
    Ok(Bound { kind, sockname, path: None, fd })
}

/// Takes a UDP socket of which the app knows the number. See [`adopt_stream`].
pub fn adopt_datagram(number: RawFd) -> Result<Bound, SysError> {
    let doing = "receiving from a given descriptor";
    let fd = duplicate(number, doing)?;
    if !matches!(identify(&fd, doing)?, (SockType::Datagram, AddressFamily::Inet | AddressFamily::Inet6)) {
        return Err(SysError { doing, errno: Errno::EINVAL });
    }
    make_nonblocking(&fd, doing)?;
    Ok(Bound { kind: Kind::Udp, sockname: local_address(&fd)?, path: None, fd })
}

/// Accepts a connection, if one is waiting. Those that were gone before we came do not count.
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>, SysError> {
    let listener = listener.as_fd().as_raw_fd();
    loop {
        match accept4(listener, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC) {
            // SAFETY: accept4 has just made this descriptor, so nobody else owns it. The OwnedFd
            // does from here on, and closes it.
            Ok(number) => return Ok(Some(unsafe { OwnedFd::from_raw_fd(number) })),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(errno) => return Err(errno).doing("accepting a connection"),
        }
    }
}

/// Whether a client waits to be accepted.
///
/// For one who accepts until nobody is left: [`accept`] makes a socket before it looks, so that finding nobody costs it
/// as much as a connection does, and ten times as much as asking.
#[must_use]
pub fn has_client(listener: &impl AsFd) -> bool {
    let mut listener = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    // Where asking fails, accepting tells why.
    poll(&mut listener, PollTimeout::ZERO) != Ok(0)
}

/// The same of a socket that somebody else in this process owns, by its number. False where nobody can be accepted any
/// more.
pub fn has_client_at(number: RawFd) -> Result<bool, SysError> {
    let mut look = libc::pollfd { fd: number, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry of ours is read and written. The descriptor behind the number is only looked at, and an unused
    // number is an answer.
    let told = unsafe { libc::poll(&raw mut look, 1, 0) };
    Errno::result(told).doing("looking for a client")?;
    Ok(look.revents & (libc::POLLIN | libc::POLLHUP | libc::POLLNVAL) == libc::POLLIN)
}

/// What is to be seen of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It listens, and nobody waits.
    Quiet,
    /// A client waits.
    Client,
    /// It does not listen any more: another process that holds it has shut it down.
    Shut,
}

/// Looks at these sockets.
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
        // Nothing is waited for, so that nothing can be interrupted.
        Ok(_) => Ok(looks.iter().map(seen).collect()),
        Err(errno) => Err(errno).doing("looking for clients"),
    }
}

/// Whether a socket that has listened does so no more: another process that holds it has shut it down, and accepting from
/// it fails for ever.
#[must_use]
pub fn is_shut(listener: &impl AsFd) -> bool {
    look([listener]).is_ok_and(|looks| looks == [Look::Shut])
}

/// Has a socket listen no more, for whoever holds it. Wakes those who are blocked in accepting from it.
pub fn stop_listening(listener: &impl AsFd) {
    // It can only have been done before.
    let _ = nix::sys::socket::shutdown(listener.as_fd().as_raw_fd(), nix::sys::socket::Shutdown::Both);
}

fn family(address: &SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn new_socket(family: AddressFamily, kind: SockType) -> nix::Result<OwnedFd> {
    socket(family, kind, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)
}

fn bind_tcp(address: SocketAddr, ipv6_only: bool) -> Result<OwnedFd, SysError> {
    let fd = new_tcp(address, ipv6_only)?;
    bind_ip(&fd, address).doing("binding a TCP socket")?;
    Ok(fd)
}

fn new_tcp(address: SocketAddr, ipv6_only: bool) -> Result<OwnedFd, SysError> {
    let fd = new_socket(family(&address), SockType::Stream).doing("making a TCP socket")?;
    // A restarted service must not wait until the last connections of the old one are forgotten.
    setsockopt(&fd, sockopt::ReuseAddr, &true).doing("sharing a TCP address with the past")?;
    // Set either way: the system's default may be changed, what Node promises may not.
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &ipv6_only).doing("choosing the versions of IP")?;
    }
    Ok(fd)
}

fn bind_ip(fd: &OwnedFd, address: SocketAddr) -> nix::Result<()> {
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(|errno| match errno {
        // libuv's translation of the answer to an address of the wrong kind.
        Errno::EAFNOSUPPORT => Errno::EINVAL,
        errno => errno,
    })
}

/// Listens, if there is a backlog. Not nix's, which refuses the large ones that a system may allow.
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

/// Duplicates a descriptor that somebody else owns. As plain numbers, without the types that
/// promise an open descriptor: nobody knows yet whether there is one.
fn duplicate(number: RawFd, doing: &'static str) -> Result<OwnedFd, SysError> {
    // SAFETY: this fcntl takes and gives plain numbers, and touches no memory of ours.
    let answer = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    match Errno::result(answer) {
        // SAFETY: fcntl has just made this descriptor, so nobody else owns it. The OwnedFd does
        // from here on, and closes it.
        Ok(number) => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        Err(Errno::EBADF) => Err(Errno::EINVAL).doing(doing),
        Err(errno) => Err(errno).doing(doing),
    }
}

/// What kind of socket a descriptor is. `EINVAL` if it is none that Node knows.
fn identify(fd: &OwnedFd, doing: &'static str) -> Result<(SockType, AddressFamily), SysError> {
    let invalid = SysError { doing, errno: Errno::EINVAL };
    let kind = match getsockopt(fd, sockopt::SockType) {
        Ok(kind) => kind,
        // Node takes a FIFO for a pipe, and only the system tells it that this cannot listen.
        Err(Errno::ENOTSOCK) if is_fifo(fd, doing)? => return Err(Errno::ENOTSOCK).doing(doing),
        Err(_) => return Err(invalid),
    };
    let name: SockaddrStorage = getsockname(fd.as_raw_fd()).map_err(|_| invalid)?;
    Ok((kind, name.family().ok_or(invalid)?))
}

fn is_fifo(fd: &OwnedFd, doing: &'static str) -> Result<bool, SysError> {
    let mode = SFlag::from_bits_truncate(fstat(fd).doing(doing)?.st_mode);
    Ok(mode & SFlag::S_IFMT == SFlag::S_IFIFO)
}

/// The app's own descriptor becomes non-blocking with it, as with libuv.
fn make_nonblocking(fd: &OwnedFd, doing: &'static str) -> Result<(), SysError> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).doing(doing)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop).doing(doing)
}
