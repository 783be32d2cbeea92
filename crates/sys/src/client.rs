//! The primary's operations on client connections.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockType, SockaddrLike, SockaddrStorage, getpeername, getsockname,
    getsockopt, recv, send, setsockopt, shutdown, sockopt,
};

use super::error::{Doing, SysError};

/// The client's address; `None` on a Unix socket, and if the client is gone.
#[must_use]
pub fn peer(connection: &impl AsFd) -> Option<SocketAddr> {
    getpeername(connection.as_fd().as_raw_fd()).ok().and_then(|name| internet(&name))
}

/// The address that the client has connected to; `None` on a Unix socket.
#[must_use]
pub fn local(connection: &impl AsFd) -> Option<SocketAddr> {
    getsockname(connection.as_fd().as_raw_fd()).ok().and_then(|name| internet(&name))
}

/// The IP address, if it is one.
pub(super) fn internet(name: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = name.as_sockaddr_in().map(|name| SocketAddr::V4((*name).into()));
    v4.or_else(|| name.as_sockaddr_in6().map(|name| SocketAddr::V6((*name).into())))
}

/// Whether a descriptor that another process has sent is a connection that a listener could have accepted: a
/// stream over TCP or a Unix socket that does not listen itself.
#[must_use]
pub fn is_connection(fd: &impl AsFd) -> bool {
    let fd = fd.as_fd();
    let stream = getsockopt(&fd, sockopt::SockType) == Ok(SockType::Stream);
    let listens = getsockopt(&fd, sockopt::AcceptConn) != Ok(false);
    let Ok(name) = getsockname::<SockaddrStorage>(fd.as_raw_fd()) else { return false };
    let known = match name.family() {
        Some(AddressFamily::Unix) => true,
        // Other stream protocols over IP do not know this option.
        Some(AddressFamily::Inet | AddressFamily::Inet6) => getsockopt(&fd, sockopt::TcpNoDelay).is_ok(),
        _ => false,
    };
    stream && !listens && known
}

/// The result of peeking at a client's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Peeked {
    /// The number of bytes; more may follow.
    Bytes(usize),
    /// The end of the data.
    End,
}

/// Copies the beginning of a client's data into `bytes` without consuming it.
pub fn peek(connection: &impl AsFd, bytes: &mut [u8]) -> Peeked {
    loop {
        match recv(connection.as_fd().as_raw_fd(), bytes, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Peeked::End,
            Ok(length) => return Peeked::Bytes(length),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Peeked::Bytes(0),
            // The worker will get the error.
            Err(_) => return Peeked::End,
        }
    }
}

/// Writes all of `bytes` to the connection with this number, or returns false without writing if there is no
/// room.
pub fn write_at_once(number: RawFd, bytes: &[u8]) -> Result<bool, SysError> {
    let doing = "writing to a connection";
    // The number of a handle that has been closed.
    if number < 0 {
        return Err(Errno::EBADF).doing(doing);
    }
    // SAFETY: the descriptor is borrowed for this call only, and its number is not -1. The caller that names it has it
    // open; if it has not, poll(2) says so, and nothing is written.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    // A socket that polls as writable has room for a third of its buffer.
    let mut polled = [PollFd::new(fd, PollFlags::POLLOUT)];
    if poll(&mut polled, PollTimeout::ZERO).doing(doing)? == 0
        || !polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT))
    {
        return Ok(false);
    }
    match send(number, bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        Ok(length) if length == bytes.len() => Ok(true),
        // A partial write would corrupt what follows.
        Ok(_) => Err(Errno::EIO).doing(doing),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
        Err(error) => Err(error).doing(doing),
    }
}

/// Closes a connection with a reset, so that its client notices at once.
pub fn reset<C: AsFd>(connection: C) -> Result<(), SysError> {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    let set = setsockopt(&connection, sockopt::Linger, &at_once).doing("turning a client away");
    drop(connection);
    set
}

/// Writes all of `bytes` and shuts down writing, without blocking. Returns false if they do not fit or the
/// client is gone.
#[must_use]
pub fn send_last(connection: &impl AsFd, bytes: &[u8]) -> bool {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let number = connection.as_fd().as_raw_fd();
    send(number, bytes, flags) == Ok(bytes.len()) && shutdown(number, Shutdown::Write).is_ok()
}

/// Reads and discards what a client has sent. Returns true at the end of the data.
#[must_use]
pub fn read_to_the_end(connection: impl AsFd) -> bool {
    let mut bytes = [0; 16 * 1024];
    // Bounded, so that a client that never stops does not delay the others. The rest triggers another event.
    for _ in 0..16 {
        match recv(connection.as_fd().as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return false,
            Err(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn connection() -> (TcpStream, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0.into())
    }

    #[test]
    fn a_client_has_an_address_unless_it_is_on_a_unix_socket() {
        let (client, connection) = connection();
        assert_eq!(peer(&connection), Some(client.local_addr().unwrap()));
        assert_eq!(local(&connection), Some(client.peer_addr().unwrap()));
        let (one, _other) = UnixStream::pair().unwrap();
        let one = OwnedFd::from(one);
        assert_eq!((peer(&one), local(&one)), (None, None));
    }

    #[test]
    fn writing_at_once_writes_all_or_nothing_and_survives_any_number() {
        let (mut one, other) = UnixStream::pair().unwrap();
        assert!(write_at_once(other.as_raw_fd(), b"abc").unwrap());
        let mut got = [0; 3];
        one.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"abc");
        for number in [-1, i32::MIN] {
            assert_eq!(write_at_once(number, b"x").unwrap_err().errno, Errno::EBADF);
        }
        assert!(!write_at_once(i32::MAX, b"x").unwrap(), "no descriptor has this number");
    }

    #[test]
    fn only_connections_are_accepted_as_such() {
        let (client, connection) = connection();
        let (pair, _other) = UnixStream::pair().unwrap();
        assert!(is_connection(&client) && is_connection(&connection) && is_connection(&pair));
        let (messages, _end) = crate::passing::message_pair().unwrap();
        let others: [OwnedFd; 5] = [
            messages,
            TcpListener::bind("127.0.0.1:0").unwrap().into(),
            UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            std::io::pipe().unwrap().0.into(),
            std::fs::File::open("/").unwrap().into(),
        ];
        assert!(!others.iter().any(is_connection));
    }

    #[test]
    fn peeking_consumes_nothing() {
        let (mut client, connection) = connection();
        let mut bytes = [0; 8];
        assert_eq!(peek(&connection, &mut bytes), Peeked::Bytes(0));
        client.write_all(b"hello").unwrap();
        for _ in 0..2 {
            assert_eq!(peek(&connection, &mut bytes), Peeked::Bytes(5));
        }
        let mut server = TcpStream::from(connection);
        server.read_exact(&mut bytes[..5]).unwrap();
        assert_eq!(&bytes[..5], b"hello");
        drop(client);
        assert_eq!(server.read(&mut bytes).unwrap(), 0);
        assert_eq!(peek(&OwnedFd::from(server), &mut bytes), Peeked::End);
    }

    #[test]
    fn a_reset_reaches_the_client() {
        let (mut client, connection) = connection();
        reset(connection).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn the_last_response_arrives_although_the_client_had_sent_more() {
        let (mut client, connection) = connection();
        client.write_all(&vec![7; 100_000]).unwrap();
        assert!(send_last(&connection, b"sorry"));
        let mut heard = String::new();
        client.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "sorry");
        client.shutdown(std::net::Shutdown::Write).unwrap();
        while !read_to_the_end(&connection) {}
    }
}
