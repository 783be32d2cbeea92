//! Both ends of a forwarded connection: connecting, moving bytes, closing.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect,
    getpeername, getsockname, recv, send, setsockopt, shutdown, socket, sockopt,
};
use nix::unistd::pipe2;

use super::error::{Doing, SysError};
use super::headroom::Unpolled;

/// The target of a connection.
#[derive(Debug)]
pub enum Endpoint {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket: its file, opened with `O_PATH` rather than named, because the name may refer to another
    /// file later.
    File(Unpolled),
}

/// A connection that is being established, non-blocking and close-on-exec.
#[derive(Debug)]
pub enum Connecting {
    /// It is established.
    Done(OwnedFd),
    /// Not yet. When there is room to write, [`is_connected`] returns the result.
    Pending(OwnedFd),
}

/// Why connecting failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// No process listens there.
    Absent,
    /// A process of another user, with this id, listens there.
    Foreign(u32),
    /// The backlog of the listener is full.
    Saturated,
    /// The system or the process lacks a resource.
    Exhausted(SysError),
}

impl Unanswered {
    pub(super) fn from(errno: Errno) -> Self {
        match errno {
            Errno::EAGAIN => Self::Saturated,
            // EADDRNOTAVAIL: all ephemeral ports are in use.
            Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EADDRNOTAVAIL => {
                Self::Exhausted(SysError { doing: "connecting to a worker", errno })
            }
            _ => Self::Absent,
        }
    }
}

/// Starts connecting. Within this machine it usually completes at once.
pub fn begin(endpoint: &Endpoint) -> Result<Connecting, Unanswered> {
    match endpoint {
        Endpoint::Tcp(at) => {
            let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let fd = stream_socket(family)?;
            // Small pieces are passed on at once.
            setsockopt(&fd, sockopt::TcpNoDelay, &true).map_err(Unanswered::from)?;
            attempt(fd, &SockaddrStorage::from(*at))
        }
        Endpoint::File(file) => {
            // This leads to the file that is open, even if its name means another file by now, or none.
            let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
            let address = UnixAddr::new(path.as_str()).map_err(Unanswered::from)?;
            attempt(stream_socket(AddressFamily::Unix)?, &address)
        }
    }
}

fn stream_socket(family: AddressFamily) -> Result<OwnedFd, Unanswered> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket(family, SockType::Stream, flags, None).map_err(Unanswered::from)
}

fn attempt(fd: OwnedFd, address: &impl SockaddrLike) -> Result<Connecting, Unanswered> {
    match connect(fd.as_raw_fd(), address) {
        Ok(()) => return Ok(Connecting::Done(fd)),
        Err(Errno::EINPROGRESS | Errno::EINTR) => {}
        Err(errno) => return Err(Unanswered::from(errno)),
    }
    // On the loopback interface the connection is established before the call returns; the call just did not
    // wait for it. Trying again costs far less than an event.
    match connect(fd.as_raw_fd(), address) {
        Ok(()) | Err(Errno::EISCONN) => Ok(Connecting::Done(fd)),
        Err(Errno::EALREADY | Errno::EINPROGRESS | Errno::EINTR) => Ok(Connecting::Pending(fd)),
        Err(errno) => Err(Unanswered::from(errno)),
    }
}

/// The result of a pending connection; `None` if it is still pending.
pub fn is_connected(fd: impl AsFd) -> Option<Result<(), Unanswered>> {
    let fd = fd.as_fd();
    match nix::sys::socket::getsockopt(&fd, sockopt::SocketError) {
        Ok(0) => match getpeername::<SockaddrStorage>(fd.as_raw_fd()) {
            Ok(_) => Some(Ok(())),
            Err(_) => None,
        },
        Ok(number) => Some(Err(Unanswered::from(Errno::from_raw(number)))),
        Err(errno) => Some(Err(Unanswered::from(errno))),
    }
}

/// The result of moving bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// The number of bytes moved. 0 when reading means that the other end has ended.
    Done(usize),
    /// There is nothing to read, or no room to write.
    Blocked,
    /// The connection is broken. With `reset`, because the other end has reset it or cannot be reached;
    /// without, because it has closed and accepts no more.
    Broken {
        /// Whether it was reset.
        reset: bool,
    },
}

impl Transfer {
    fn from(result: nix::Result<usize>) -> Self {
        match result {
            Ok(count) => Self::Done(count),
            Err(Errno::EAGAIN | Errno::EINTR) => Self::Blocked,
            Err(errno) => Self::Broken { reset: errno != Errno::EPIPE },
        }
    }
}

/// Reads into a buffer.
pub fn read(from: impl AsFd, buffer: &mut [u8]) -> Transfer {
    retry(|| recv(from.as_fd().as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT))
}

/// Writes from a buffer.
pub fn write(to: impl AsFd, bytes: &[u8]) -> Transfer {
    retry(|| send(to.as_fd().as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL))
}

/// EINTR is returned only if nothing was moved.
fn retry(mut call: impl FnMut() -> nix::Result<usize>) -> Transfer {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return Transfer::from(result),
        }
    }
}

/// Shuts down writing.
pub fn finish(to: impl AsFd) {
    // ENOTCONN: the other end has reset the connection in the meantime. Reading reports that.
    let _gone = shutdown(to.as_fd().as_raw_fd(), Shutdown::Write);
}

/// Closes a connection with a reset (RST), if its protocol has one.
pub fn reset(fd: OwnedFd) {
    let abort = libc::linger { l_onoff: 1, l_linger: 0 };
    // Has no effect on a Unix socket, and cannot fail for TCP.
    let _ = setsockopt(&fd, sockopt::Linger, &abort);
    drop(fd);
}

/// Disables Nagle's algorithm for connections that a TCP listener accepts.
pub fn no_delay(listener: impl AsFd) {
    // A Unix socket does not delay, and does not support the option.
    let _unix = setsockopt(&listener, sockopt::TcpNoDelay, &true);
}

/// The address of one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// An IP address with a port.
    Ip(SocketAddr),
    /// A path, or an abstract name after a NUL; empty for none.
    Unix(Vec<u8>),
    /// The connection is gone, or of another type.
    Unknown,
}

/// The address of the other end.
#[must_use]
pub fn peer_name(fd: impl AsFd) -> Name {
    name(getpeername(fd.as_fd().as_raw_fd()))
}

/// The address of our own end.
#[must_use]
pub fn own_name(fd: impl AsFd) -> Name {
    name(getsockname(fd.as_fd().as_raw_fd()))
}

fn name(found: nix::Result<SockaddrStorage>) -> Name {
    let Ok(found) = found else { return Name::Unknown };
    if let Some(v4) = found.as_sockaddr_in() {
        return Name::Ip(SocketAddr::V4((*v4).into()));
    }
    if let Some(v6) = found.as_sockaddr_in6() {
        return Name::Ip(SocketAddr::V6((*v6).into()));
    }
    let Some(unix) = found.as_unix_addr() else { return Name::Unknown };
    Name::Unix(match (unix.path(), unix.as_abstract()) {
        (Some(path), _) => path.as_os_str().as_bytes().to_vec(),
        (None, Some(name)) => [b"\0", name].concat(),
        (None, None) => Vec::new(),
    })
}

/// A pipe through which bytes are moved from one socket to another without copying.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

impl Pipe {
    /// A pipe of about this many bytes. The system may grant less.
    pub fn new(size: usize) -> Result<Self, SysError> {
        let doing = "making a pipe";
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).doing(doing)?;
        let wanted = i32::try_from(size).unwrap_or(i32::MAX);
        // Refused if the user's pipes take too much memory: then the default size remains.
        let set = fcntl(&write, FcntlArg::F_SETPIPE_SZ(wanted));
        let size = set.or_else(|_| fcntl(&write, FcntlArg::F_GETPIPE_SZ)).doing(doing)?;
        Ok(Self { read, write, size: usize::try_from(size).unwrap_or_default() })
    }

    /// Fills the pipe from a socket.
    pub fn fill(&self, from: impl AsFd) -> Transfer {
        splice_some(from.as_fd(), self.write.as_fd(), self.size)
    }

    /// Empties it into a socket, at most `count` bytes.
    pub fn empty(&self, to: impl AsFd, count: usize) -> Transfer {
        splice_some(self.read.as_fd(), to.as_fd(), count)
    }
}

fn splice_some(from: BorrowedFd<'_>, to: BorrowedFd<'_>, count: usize) -> Transfer {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    retry(|| splice(from, None, to, None, count, flags))
}

/// Prevents writing to a broken connection from raising SIGPIPE. [`write`] does so by itself, but splice(2)
/// cannot: so a thread that uses [`Pipe::empty`] must call this once.
pub fn ignore_broken_pipes() -> Result<(), SysError> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGPIPE);
    signals.thread_block().doing("blocking SIGPIPE")
}
