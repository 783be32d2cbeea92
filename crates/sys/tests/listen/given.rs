//! Sockets that the app has opened itself and passes by number.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::linger;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockname, setsockopt, socket,
    sockopt,
};
use rcluster_sys::error::SysError;
use rcluster_sys::listen::group::Group;
use rcluster_sys::listen::private::{private_name, private_path};
use rcluster_sys::listen::{
    Access, Bound, Kind, Leftover, UdpOptions, adopt_datagram, adopt_stream, tcp, tcp_anywhere, udp, unix,
};

use crate::tools::*;

/// A socket of the app that neither listens nor is connected.
fn app_socket(kind: SockType) -> OwnedFd {
    socket(AddressFamily::Inet, kind, SockFlag::SOCK_NONBLOCK, None).unwrap()
}

fn bound_app_socket(kind: SockType) -> OwnedFd {
    let given = app_socket(kind);
    bind(given.as_raw_fd(), &SockaddrStorage::from(loopback(0))).unwrap();
    given
}

/// As a worker asks for it that shares it, and as one that gets connections from the dispatcher.
fn both_ways(given: &impl AsRawFd) -> [Result<Bound, SysError>; 2] {
    [None, BACKLOG].map(|backlog| adopt_stream(given.as_raw_fd(), backlog))
}

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
    let given = bound_app_socket(SockType::Stream);
    let bound = adopt_stream(given.as_raw_fd(), None).unwrap();
    assert_eq!(listens_with(&bound.fd), None);
    let bound = adopt_stream(given.as_raw_fd(), Some(3)).unwrap();
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

/// The sockets of operators and of metrics, the fronts of the forwarder, and listeners of other workers.
#[test]
fn a_socket_that_rcluster_has_opened_is_invalid() {
    let directory = Directory::new();
    let name = format!("rcluster-given-{}", std::process::id());
    let group = Group::new(loopback(0), false, 16).unwrap();
    let streams: [(&str, OwnedFd); 7] = [
        ("TCP", tcp(loopback(0), false, BACKLOG).unwrap().fd),
        ("a reserved port", tcp_anywhere(0, false, None).unwrap().fd),
        ("a path", unix(&directory.join("path"), Access::default(), Leftover::Keep, BACKLOG).unwrap().fd),
        ("a private path", private_path(&directory.join("private")).unwrap().0),
        ("a private name", private_name(&name).unwrap()),
        ("a member of a group", group.open().unwrap()),
        ("another member", group.open().unwrap()),
    ];
    for (what, own) in streams {
        for asked in both_ways(&own) {
            assert_eq!(errno(asked), Errno::EINVAL, "{what}");
        }
        let duplicate = own.try_clone().unwrap();
        assert_eq!(
            errno(adopt_stream(duplicate.as_raw_fd(), None)),
            Errno::EINVAL,
            "{what}, by another number"
        );
    }
    let own = udp(loopback(0), UdpOptions::default()).unwrap();
    assert_eq!(errno(adopt_datagram(own.fd.as_raw_fd())), Errno::EINVAL);
}

/// What a worker could read if it got a duplicate.
#[test]
fn a_connection_is_invalid_before_and_after_it_is_established() {
    let listener = bound_app_socket(SockType::Stream);
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let at: SockaddrStorage = getsockname(listener.as_raw_fd()).unwrap();
    let connecting = || {
        let client = app_socket(SockType::Stream);
        assert_eq!(connect(client.as_raw_fd(), &at), Err(Errno::EINPROGRESS));
        client
    };
    // The backlog has room for one client. The others wait for an answer to their SYN.
    let clients: Vec<OwnedFd> = (0..4).map(|_| connecting()).collect();
    for (index, client) in clients.iter().enumerate() {
        for asked in both_ways(client) {
            assert_eq!(errno(asked), Errno::EINVAL, "client {index}");
        }
    }

    let listener = TcpListener::bind(loopback(0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut other, _) = listener.accept().unwrap();
    other.write_all(b"secret").unwrap();
    setsockopt(&other, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 }).unwrap();
    // The client has the data and the reset when this returns: both are on the loopback interface.
    drop(other);
    assert!(client.peer_addr().is_err(), "it was reset");
    for asked in both_ways(&client) {
        assert_eq!(errno(asked), Errno::EINVAL, "reset");
    }
    let mut data = [0; 6];
    client.read_exact(&mut data).unwrap();
    assert_eq!(&data, b"secret");
}

#[test]
fn a_socket_that_could_still_be_connected_is_invalid() {
    for asked in both_ways(&app_socket(SockType::Stream)) {
        assert_eq!(errno(asked), Errno::EINVAL);
    }
    assert_eq!(errno(adopt_datagram(app_socket(SockType::Datagram).as_raw_fd())), Errno::EINVAL);
    adopt_datagram(bound_app_socket(SockType::Datagram).as_raw_fd()).unwrap();
    let resolver = UdpSocket::bind(loopback(0)).unwrap();
    resolver.connect(loopback(9)).unwrap();
    assert_eq!(errno(adopt_datagram(resolver.as_raw_fd())), Errno::EINVAL);
}
