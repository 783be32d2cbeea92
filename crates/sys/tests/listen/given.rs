//! Sockets that the app has opened itself and passes by number.

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rcluster_sys::listen::{Kind, adopt_datagram, adopt_stream, tcp};

use crate::tools::*;

#[test]
fn a_given_tcp_socket_is_listened_on() {
    let given = TcpListener::bind(loopback(0)).unwrap();
    let address = given.local_addr().unwrap();
    let bound = adopt_stream(given.as_raw_fd(), Some(9)).unwrap();
    assert_eq!((bound.kind, bound.sockname), (Kind::Tcp, Some(address)));
    assert_ne!(bound.fd.as_raw_fd(), given.as_raw_fd());
    assert_nonblocking_and_close_on_exec(&bound.fd);
    assert_eq!(listens_with(&given), Some(9));

    // The app's own socket stays open, and so do its clients' connections.
    drop(bound);
    TcpStream::connect(address).unwrap();
    given.accept().unwrap();
}

#[test]
fn a_given_socket_that_is_only_bound_listens_if_it_is_to() {
    let given = tcp(loopback(0), false, None).unwrap();
    let bound = adopt_stream(given.fd.as_raw_fd(), None).unwrap();
    assert_eq!(listens_with(&bound.fd), None);
    let bound = adopt_stream(given.fd.as_raw_fd(), Some(3)).unwrap();
    assert_eq!(listens_with(&bound.fd), Some(3));
}

#[test]
fn a_given_pipe_keeps_its_file() {
    let directory = Directory::new();
    let path = directory.join("socket");
    let given = UnixListener::bind(&path).unwrap();
    let bound = adopt_stream(given.as_raw_fd(), BACKLOG).unwrap();
    assert_eq!((bound.kind, bound.sockname), (Kind::Pipe, None));
    assert!(bound.path.is_none());
    drop(bound);
    assert!(path.exists());
}

#[test]
fn a_given_udp_socket_is_received_from() {
    let given = UdpSocket::bind(loopback(0)).unwrap();
    let bound = adopt_datagram(given.as_raw_fd()).unwrap();
    assert_eq!((bound.kind, bound.sockname), (Kind::Udp, Some(given.local_addr().unwrap())));
    assert_nonblocking_and_close_on_exec(&bound.fd);
}

#[test]
fn a_descriptor_that_cannot_listen_is_invalid_and_left_as_it_was() {
    let directory = Directory::new();
    let path = directory.join("file");
    let listener = TcpListener::bind(loopback(0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _peer) = UnixStream::pair().unwrap();
    let (datagram, _peer) = UnixDatagram::pair().unwrap();
    let (input, _output) = nix::unistd::pipe().unwrap();
    let udp: OwnedFd = UdpSocket::bind(loopback(0)).unwrap().into();
    let cases: [(&str, OwnedFd, Errno); 6] = [
        ("a file", File::create(&path).unwrap().into(), Errno::EINVAL),
        ("a connection", client.into(), Errno::EINVAL),
        ("a message channel", stream.into(), Errno::EINVAL),
        ("a unix datagram socket", datagram.into(), Errno::EINVAL),
        ("a UDP socket", udp, Errno::EINVAL),
        // Node treats it as a pipe, and the system call fails.
        ("a FIFO", input, Errno::ENOTSOCK),
    ];
    for (what, given, expected) in cases {
        for backlog in [BACKLOG, None] {
            assert_eq!(errno(adopt_stream(given.as_raw_fd(), backlog)), expected, "{what}");
        }
        if what != "a UDP socket" {
            assert_eq!(errno(adopt_datagram(given.as_raw_fd())), expected, "{what}");
        }
        let status = OFlag::from_bits_retain(fcntl(&given, FcntlArg::F_GETFL).unwrap());
        assert!(!status.contains(OFlag::O_NONBLOCK), "{what}");
    }
    for number in [-1, i32::MIN, i32::MAX] {
        assert_eq!(errno(adopt_stream(number, BACKLOG)), Errno::EINVAL);
        assert_eq!(errno(adopt_datagram(number)), Errno::EINVAL);
    }
    assert_eq!(errno(adopt_datagram(listener.as_raw_fd())), Errno::EINVAL);
}
