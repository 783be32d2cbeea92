//! The address of a listening socket, and the clients that wait to be accepted.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;
use nix::sys::socket::{SockaddrLike, SockaddrStorage, getsockname};
use nix::sys::stat::fstat;

use crate::socket_diag::unix_backlog;

/// The kernel's accept queue of a listening socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The clients that have not been accepted yet.
    pub waiting: u32,
    /// The maximum length of the queue.
    pub limit: u32,
}

/// The clients that wait at a socket. `None` if the kernel does not report them, for example for Unix sockets
/// without its diagnostics module.
#[must_use]
pub fn backlog(listener: &impl AsFd) -> Option<Backlog> {
    let fd = listener.as_fd();
    tcp_backlog(fd).or_else(|| unix_backlog(u32::try_from(fstat(fd).ok()?.st_ino).ok()?).ok().flatten())
}

/// `None` if it is not TCP.
fn tcp_backlog(fd: BorrowedFd<'_>) -> Option<Backlog> {
    /// The words of `struct tcp_info` up to the two that are needed. Their meaning for a listening socket is
    /// in the kernel's `tcp_get_info`.
    const WORDS: usize = 8;
    let mut info = [0_u32; WORDS];
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
    // SAFETY: `fd` is open, and the kernel writes at most `length` bytes to `info`, for which all values are
    // valid.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let is_whole = usize::try_from(length).is_ok_and(|length| length == size_of_val(&info));
    (result == 0 && is_whole).then_some(Backlog { waiting: info[6], limit: info[7] })
}

/// `address:port`, a path, or `@name`. `None` if it has no name.
#[must_use]
pub fn listening_address(listener: &impl AsFd) -> Option<String> {
    let address: SockaddrStorage = getsockname(listener.as_fd().as_raw_fd()).ok()?;
    if let Some(unix) = address.as_unix_addr() {
        let name = unix.as_abstract().map(|name| format!("@{}", String::from_utf8_lossy(name)));
        return name.or_else(|| Some(unix.path()?.display().to_string()));
    }
    address.family().map(|_| address.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn clients_at_a_tcp_socket_are_counted_until_they_are_accepted() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let at = listener.local_addr().unwrap();
            assert_eq!(listening_address(&listener), Some(at.to_string()));
            let limit = backlog(&listener).unwrap().limit;
            assert!(limit > 0);
            let _clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(at).unwrap()).collect();
            assert_eq!(backlog(&listener), Some(Backlog { waiting: 3, limit }), "{address}");
            listener.accept().unwrap();
            assert_eq!(backlog(&listener), Some(Backlog { waiting: 2, limit }), "{address}");
        }
    }

    #[test]
    fn clients_at_a_unix_socket_are_counted_if_the_kernel_can() {
        let path = std::env::temp_dir().join(format!("rcluster-backlog-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(listening_address(&listener), Some(path.display().to_string()));
        let _clients: Vec<UnixStream> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
        let seen = backlog(&listener).map(|backlog| backlog.waiting);
        std::fs::remove_file(&path).unwrap();
        assert!([Some(3), None].contains(&seen), "{seen:?}");
    }

    #[test]
    fn a_unix_socket_that_does_not_listen_has_no_backlog() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!((backlog(&one), listening_address(&one)), (None, None));
    }
}
