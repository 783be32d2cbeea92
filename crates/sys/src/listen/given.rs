//! Sockets that are given by their number in this process.
//!
//! A worker chooses the number, so it may be anything. What it may have is a socket of the app that listens, or that
//! can: one that is bound and has never been connected. Everything else is `EINVAL`, as in Node:
//!
//! - A connection, also while it is being made or after it was reset. With a shared socket, which the worker listens
//!   on by itself, the worker would receive what is sent to the primary.
//! - A socket without an address. It may be about to be connected, on another thread.
//! - A socket that rcluster itself has opened: see [`OwnSockets`](super::own::OwnSockets).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};
use nix::sys::stat::{SFlag, fstat};

use super::{Bound, Kind, OWN, start};
use crate::client::internet;
use crate::error::{Doing, SysError};

/// Uses a listening socket of the app, or one that can listen, given by its number, and listens if there is a
/// `backlog`.
///
/// The number stays the app's: the result is a duplicate.
pub fn adopt_stream(number: RawFd, backlog: Option<i32>) -> Result<Bound, SysError> {
    let doing = "listening on a given descriptor";
    let given = Given::take(number, doing)?;
    let (kind, sockname) = match (given.kind, given.family()) {
        (SockType::Stream, Some(AddressFamily::Inet | AddressFamily::Inet6)) => {
            (Kind::Tcp, internet(&given.name))
        }
        (SockType::Stream, Some(AddressFamily::Unix)) => (Kind::Pipe, None),
        _ => return Err(SysError { doing, errno: Errno::EINVAL }),
    };
    let fd = given.accept(doing)?;
    start(&fd, backlog)?;
    Ok(Bound { kind, sockname, path: None, fd })
}

/// Uses a UDP socket by its number in the app. See [`adopt_stream`].
pub fn adopt_datagram(number: RawFd) -> Result<Bound, SysError> {
    let doing = "receiving from a given descriptor";
    let given = Given::take(number, doing)?;
    let (SockType::Datagram, Some(AddressFamily::Inet | AddressFamily::Inet6)) = (given.kind, given.family())
    else {
        return Err(SysError { doing, errno: Errno::EINVAL });
    };
    let sockname = internet(&given.name);
    Ok(Bound { kind: Kind::Udp, sockname, path: None, fd: given.accept(doing)? })
}

/// A duplicate of a socket that was given.
struct Given {
    fd: OwnedFd,
    kind: SockType,
    name: SockaddrStorage,
}

impl Given {
    /// `EINVAL` if it is not a socket.
    fn take(number: RawFd, doing: &'static str) -> Result<Self, SysError> {
        let invalid = SysError { doing, errno: Errno::EINVAL };
        let fd = duplicate(number, doing)?;
        let kind = match getsockopt(&fd, sockopt::SockType) {
            Ok(kind) => kind,
            // Node treats a FIFO as a pipe, and only the system call fails because it cannot listen.
            Err(Errno::ENOTSOCK) if is_fifo(&fd, doing)? => return Err(Errno::ENOTSOCK).doing(doing),
            Err(_) => return Err(invalid),
        };
        let name = getsockname(fd.as_raw_fd()).map_err(|_| invalid)?;
        Ok(Self { fd, kind, name })
    }

    fn family(&self) -> Option<AddressFamily> {
        self.name.family()
    }

    fn is_bound(&self) -> bool {
        match self.name.as_unix_addr() {
            Some(unix) => unix.path().is_some() || unix.as_abstract().is_some(),
            None => internet(&self.name).is_some_and(|at| at.port() != 0),
        }
    }

    /// The socket, if a worker may have it.
    fn accept(self, doing: &'static str) -> Result<OwnedFd, SysError> {
        if !self.is_bound() || has_had_peer(&self.fd) || OWN.has(&self.fd).doing(doing)? {
            return Err(Errno::EINVAL).doing(doing);
        }
        make_nonblocking(&self.fd, doing)?;
        Ok(self.fd)
    }
}

/// Duplicates a descriptor of another owner. Uses plain numbers rather than types that guarantee an open
/// descriptor, because the number may not be open.
fn duplicate(number: RawFd, doing: &'static str) -> Result<OwnedFd, SysError> {
    // SAFETY: this fcntl uses plain numbers and touches no memory.
    let answer = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    match Errno::result(answer) {
        // SAFETY: fcntl has just created this descriptor, so it has no other owner. The OwnedFd owns it from
        // here on and closes it.
        Ok(number) => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        Err(Errno::EBADF) => Err(Errno::EINVAL).doing(doing),
        Err(errno) => Err(errno).doing(doing),
    }
}

fn is_fifo(fd: &OwnedFd, doing: &'static str) -> Result<bool, SysError> {
    let mode = SFlag::from_bits_truncate(fstat(fd).doing(doing)?.st_mode);
    Ok(mode & SFlag::S_IFMT == SFlag::S_IFIFO)
}

/// Whether a socket is or was connected, or is being connected.
///
/// `getpeername` reports established connections only. This option has the other address from the connect(2) on, and
/// after a reset, when data may still be unread.
fn has_had_peer(fd: &OwnedFd) -> bool {
    // The beginning of an address is enough, because only its presence counts.
    let mut family: libc::sa_family_t = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&family)).unwrap_or_default();
    // SAFETY: `fd` is open, and the kernel writes at most `length` bytes to `family`, for which all values are
    // valid.
    let answer = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERNAME,
            (&raw mut family).cast(),
            &raw mut length,
        )
    };
    // If the kernel does not answer, the socket is not passed on.
    Errno::result(answer) != Err(Errno::ENOTCONN)
}

/// This makes the app's own descriptor non-blocking as well, as libuv does.
fn make_nonblocking(fd: &OwnedFd, doing: &'static str) -> Result<(), SysError> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).doing(doing)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop).doing(doing)
}
