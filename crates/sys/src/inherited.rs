//! Sockets that a service manager has opened and passed to this process: `sd_listen_fds(3)`.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};

use super::client::internet;
use super::error::{Doing, SysError};

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A TCP socket, listening or not yet.
    Tcp(SocketAddr),
    /// A UDP socket.
    Udp(SocketAddr),
    /// A Unix stream socket, at a path or, with a leading NUL, an abstract name.
    Path(PathBuf),
    /// Anything else, which is not used.
    Other,
}

/// A descriptor that this process has inherited.
#[derive(Debug)]
pub struct Inherited {
    fd: OwnedFd,
    place: Place,
}

/// Whether they have been taken over.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes over the descriptors with these numbers, which the service manager has passed to this process, and
/// marks them close-on-exec. Numbers that are not open are left out. Works once per process: a second call
/// returns none.
pub fn take_passed(numbers: impl IntoIterator<Item = RawFd>) -> Result<Vec<Inherited>, SysError> {
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    numbers.into_iter().filter_map(|number| Inherited::take(number).transpose()).collect()
}

impl Inherited {
    fn take(number: RawFd) -> Result<Option<Self>, SysError> {
        let doing = "taking a descriptor from the service manager";
        // SAFETY: this fcntl uses plain numbers and touches no memory.
        let answer = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        match Errno::result(answer) {
            Ok(_) => {}
            Err(Errno::EBADF) => return Ok(None),
            Err(errno) => return Err(errno).doing(doing),
        }
        // SAFETY: it is open, and was passed to the caller of `take_passed`.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        let place = place_of(&fd);
        Ok(Some(Self { fd, place }))
    }

    /// Its address.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its number, which stays the same while this is kept.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Leaves the descriptor open for good: other code may use it by its number.
    pub fn leave_open(self) {
        std::mem::forget(self.fd);
    }
}

fn place_of(fd: &OwnedFd) -> Place {
    let kind = getsockopt(fd, sockopt::SockType);
    let name = getsockname::<SockaddrStorage>(fd.as_raw_fd());
    let (Ok(kind), Ok(name)) = (kind, name) else { return Place::Other };
    match (kind, name.family()) {
        (SockType::Stream, Some(AddressFamily::Inet | AddressFamily::Inet6)) => {
            internet(&name).map_or(Place::Other, Place::Tcp)
        }
        (SockType::Datagram, Some(AddressFamily::Inet | AddressFamily::Inet6)) => {
            internet(&name).map_or(Place::Other, Place::Udp)
        }
        (SockType::Stream, Some(AddressFamily::Unix)) => unix_path(&name).map_or(Place::Other, Place::Path),
        _ => Place::Other,
    }
}

fn unix_path(name: &SockaddrStorage) -> Option<PathBuf> {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let unix = name.as_unix_addr()?;
    if let Some(path) = unix.path() {
        return Some(path.to_owned());
    }
    let abstract_name = unix.as_abstract()?;
    let mut bytes = vec![0];
    bytes.extend_from_slice(abstract_name);
    Some(OsString::from_vec(bytes).into())
}

/// Whether a socket of `::` accepts IPv4 as well.
#[must_use]
pub fn takes_ipv4(socket: &Inherited) -> bool {
    getsockopt(&socket.fd, sockopt::Ipv6V6Only).is_ok_and(|only| !only)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::IntoRawFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    fn take(fd: impl IntoRawFd) -> Inherited {
        Inherited::take(fd.into_raw_fd()).unwrap().unwrap()
    }

    #[test]
    fn the_kinds_of_sockets_are_distinguished_and_close_on_exec() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        fcntl(&tcp, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let tcp = take(tcp);
        assert_eq!(tcp.place(), &Place::Tcp(address));
        assert!(fcntl(&tcp.fd, FcntlArg::F_GETFD).unwrap() & libc::FD_CLOEXEC != 0);
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let address = udp.local_addr().unwrap();
        assert_eq!(take(udp).place(), &Place::Udp(address));
        let name = format!("rcluster-inherited-{}", std::process::id());
        let unix = UnixListener::bind_addr(&UnixAddress::from_abstract_name(&name).unwrap()).unwrap();
        assert_eq!(take(unix).place(), &Place::Path(format!("\0{name}").into()));
        let path = std::env::temp_dir().join(&name);
        let unix = UnixListener::bind(&path).unwrap();
        assert_eq!(take(unix).place(), &Place::Path(path.clone()));
        std::fs::remove_file(path).unwrap();
        assert_eq!(take(std::fs::File::open("/dev/null").unwrap()).place(), &Place::Other);
    }

    #[test]
    fn a_socket_of_all_addresses_may_accept_ipv4() {
        let Ok(both) = TcpListener::bind("[::]:0") else { return };
        let both = take(both);
        assert!(takes_ipv4(&both));
        assert!(!takes_ipv4(&take(TcpListener::bind("127.0.0.1:0").unwrap())));
    }

    #[test]
    fn numbers_that_are_not_open_are_left_out() {
        assert!(Inherited::take(i32::MAX).unwrap().is_none());
    }
}
