//! Both ends of a forwarded connection: connecting, moving bytes, ending.

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

/// What can be connected to.
#[derive(Debug)]
pub enum Endpoint {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A unix socket: its file, opened as a place and not by its name, which may come to mean another file.
    File(Unpolled),
}

/// A connection that is being made, non-blocking and close-on-exec.
#[derive(Debug)]
pub enum Connecting {
    /// It is made.
    Done(OwnedFd),
    /// Not yet. When there is room, [`is_connected`] tells what came of it.
    Pending(OwnedFd),
}

/// Why nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Nobody listens there.
    Absent,
    /// Somebody listens there who is not the one that is meant: this user.
    Foreign(u32),
    /// More wait there than the listener has room for.
    Saturated,
    /// The system or the process is short of something.
    Exhausted(SysError),
}

impl Unanswered {
    pub(super) fn from(errno: Errno) -> Self {
        match errno {
            Errno::EAGAIN => Self::Saturated,
            // EADDRNOTAVAIL: all ports that a client can have are used up.
            Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EADDRNOTAVAIL => {
                Self::Exhausted(SysError { doing: "connecting to a worker", errno })
            }
            _ => Self::Absent,
        }
    }
}

/// Begins to connect. To this machine itself that is usually done at once.
pub fn begin(endpoint: &Endpoint) -> Result<Connecting, Unanswered> {
    match endpoint {
        Endpoint::Tcp(at) => {
            let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let fd = stream_socket(family)?;
            // What comes in small pieces is passed on in small pieces, at once.
            setsockopt(&fd, sockopt::TcpNoDelay, &true).map_err(Unanswered::from)?;
            attempt(fd, &SockaddrStorage::from(*at))
        }
        Endpoint::File(file) => {
            // It leads to the very file that is open, whatever has its name by now, or if nothing has.
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
    // On the loopback the answer has come in before the call returns; it only was not looked at. To look
    // costs far less than to be told.
    match connect(fd.as_raw_fd(), address) {
        Ok(()) | Err(Errno::EISCONN) => Ok(Connecting::Done(fd)),
        Err(Errno::EALREADY | Errno::EINPROGRESS | Errno::EINTR) => Ok(Connecting::Pending(fd)),
        Err(errno) => Err(Unanswered::from(errno)),
    }
}

/// What came of a connection that was pending; `None` if it still is.
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

/// What came of moving bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// So many have been moved. None when reading means that the other end has ended.
    Done(usize),
    /// Nothing to read, or no room to write.
    Blocked,
    /// The connection is broken. With `reset` because the other end has reset it, or cannot be
    /// reached; without because it has ended and wants no more.
    Broken {
        /// It was reset.
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

/// EINTR comes before anything was moved.
fn retry(mut call: impl FnMut() -> nix::Result<usize>) -> Transfer {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return Transfer::from(result),
        }
    }
}

/// Says that nothing more comes from here.
pub fn finish(to: impl AsFd) {
    // ENOTCONN: the other end has reset the connection in the meantime. Reading will tell.
    let _gone = shutdown(to.as_fd().as_raw_fd(), Shutdown::Write);
}

/// Closes a connection so that the other end sees that it was cut off (RST), where the protocol knows
/// such a thing.
pub fn reset(fd: OwnedFd) {
    let abort = libc::linger { l_onoff: 1, l_linger: 0 };
    // Of no meaning for a unix socket; for TCP it cannot fail.
    let _ = setsockopt(&fd, sockopt::Linger, &abort);
    drop(fd);
}

/// Makes connections that a TCP listener accepts pass on small pieces at once.
pub fn no_delay(listener: impl AsFd) {
    // A unix socket does so anyway, and refuses.
    let _unix = setsockopt(&listener, sockopt::TcpNoDelay, &true);
}

/// The address of one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// TCP.
    Ip(SocketAddr),
    /// A path, or an abstract name behind a NUL; empty for none.
    Unix(Vec<u8>),
    /// Gone, or of another kind.
    Unknown,
}

/// The other end's address.
#[must_use]
pub fn peer_name(fd: impl AsFd) -> Name {
    name(getpeername(fd.as_fd().as_raw_fd()))
}

/// Our own end's address.
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

/// A pipe through which bytes go from one socket to another without being copied.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

impl Pipe {
    /// A pipe of about so many bytes. The system may give less.
    pub fn new(size: usize) -> Result<Self, SysError> {
        let doing = "making a pipe";
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).doing(doing)?;
        let wanted = i32::try_from(size).unwrap_or(i32::MAX);
        // Refused to a user whose pipes take too much memory: then it stays as it is.
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

/// Keeps writing to a connection that is gone from being a signal for the process. [`write`] does so by
/// itself, and splice(2) cannot: so the thread that uses [`Pipe::empty`] calls this once.
pub fn ignore_broken_pipes() -> Result<(), SysError> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGPIPE);
    signals.thread_block().doing("blocking SIGPIPE")
}
