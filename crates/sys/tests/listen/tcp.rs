//! TCP: ports, addresses, versions of IP, backlogs.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use rcluster_sys::listen::{
    Kind, UdpOptions, accept, address_text, has_client, parse_address, tcp, tcp_anywhere, udp,
};

use crate::tools::*;

#[test]
fn a_tcp_listener_accepts() {
    let bound = tcp(loopback(0), false, BACKLOG).unwrap();
    assert_eq!(bound.kind, Kind::Tcp);
    assert_eq!(bound.sockname.unwrap().ip(), Ipv4Addr::LOCALHOST);
    assert_ne!(port_of(&bound), 0);
    assert!(bound.path.is_none());
    assert_nonblocking_and_close_on_exec(&bound.fd);

    assert!(accept(&bound.fd).unwrap().is_none());
    assert!(!has_client(&bound.fd));
    let client = TcpStream::connect(bound.sockname.unwrap()).unwrap();
    assert!(has_client(&bound.fd));
    let accepted = accept(&bound.fd).unwrap().expect("a connection waits");
    assert_nonblocking_and_close_on_exec(&accepted);
    assert_eq!(TcpStream::from(accepted).peer_addr().unwrap(), client.local_addr().unwrap());
    assert!(!has_client(&bound.fd));
    assert!(accept(&bound.fd).unwrap().is_none());
}

#[test]
fn accepting_where_nobody_listens_is_an_error() {
    let bound = tcp(loopback(0), false, None).unwrap();
    assert_eq!(errno(accept(&bound.fd)), Errno::EINVAL);
}

#[test]
fn an_error_that_each_call_reports_is_not_skipped_for_ever() {
    // The kernel says of it what it also says of a single connection.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(errno(accept(&socket)), Errno::EOPNOTSUPP);
}

#[test]
fn a_taken_port_is_taken() {
    let holder = TcpListener::bind(loopback(0)).unwrap();
    let taken = holder.local_addr().unwrap();
    assert_eq!(errno(tcp(taken, false, BACKLOG)), Errno::EADDRINUSE);
    assert_eq!(errno(tcp(taken, false, None)), Errno::EADDRINUSE);
    // On all addresses as well: not on the one version of IP that happens to be free.
    assert_eq!(errno(tcp_anywhere(taken.port(), false, BACKLOG)), Errno::EADDRINUSE);
    if has_ipv6() {
        let holder = TcpListener::bind("[::1]:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        assert_eq!(errno(tcp_anywhere(port, false, BACKLOG)), Errno::EADDRINUSE);
    }
}

#[test]
fn a_port_is_free_again_while_its_last_connections_are_remembered() {
    let bound = tcp(apart_from_other_tests(0), false, BACKLOG).unwrap();
    let address = bound.sockname.unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    // The side that closes first keeps the connection in TIME_WAIT.
    drop(accept(&bound.fd).unwrap().expect("a connection waits"));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    drop(client);
    drop(bound);
    tcp(address, false, BACKLOG).unwrap();
}

#[test]
fn a_privileged_port_takes_privileges() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let Some(privileged) = first.trim().parse::<u16>().unwrap().checked_sub(1).filter(|port| *port > 0)
    else {
        eprintln!("no port is privileged on this machine");
        return;
    };
    as_nobody(|| {
        assert_eq!(errno(tcp(loopback(privileged), false, BACKLOG)), Errno::EACCES);
        assert_eq!(errno(tcp_anywhere(privileged, false, BACKLOG)), Errno::EACCES);
        assert_eq!(errno(udp(loopback(privileged), UdpOptions::default())), Errno::EACCES);
    });
}

#[test]
fn an_address_of_another_machine_is_not_available() {
    // An address reserved for documentation.
    let foreign = parse_address("203.0.113.1", false, 0).unwrap();
    assert_eq!(errno(tcp(foreign, false, BACKLOG)), Errno::EADDRNOTAVAIL);
    assert_eq!(errno(udp(foreign, UdpOptions::default())), Errno::EADDRNOTAVAIL);
}

#[test]
fn what_is_no_address_is_invalid() {
    for text in ["", "localhost", "127.0.0.1:80", "127.0.0", "1.2.3.256", "01.2.3.4", "::1", "127.0.0.1\0"] {
        assert_eq!(errno(parse_address(text, false, 80)), Errno::EINVAL, "{text:?}");
    }
    for text in ["", "127.0.0.1", "[::1]", "::g", "1:2:3:4:5:6:7:8:9", "::1/128", "%lo", "\0"] {
        assert_eq!(errno(parse_address(text, true, 80)), Errno::EINVAL, "{text:?}");
    }
}

#[test]
fn addresses_are_written_as_they_are_read() {
    for (text, ipv6) in [("127.0.0.1", false), ("::", true), ("::ffff:1.2.3.4", true), ("fe80::1%lo", true)] {
        let address = parse_address(text, ipv6, 80).unwrap();
        assert_eq!(address.port(), 80);
        assert_eq!(address_text(&address), text);
    }
    // Only where it matters.
    assert_eq!(address_text(&parse_address("::1%lo", true, 80).unwrap()), "::1");
}

#[test]
fn an_interface_that_does_not_exist_matters_where_one_is_needed() {
    let link_local = parse_address("fe80::1%no-such", true, 0).unwrap();
    assert_eq!(address_text(&link_local), "fe80::1");
    if has_ipv6() {
        assert_eq!(errno(tcp(link_local, false, BACKLOG)), Errno::EINVAL);
        tcp(parse_address("::1%no-such", true, 0).unwrap(), false, BACKLOG).unwrap();
        // The interface exists, but has no such address.
        let elsewhere = parse_address("fe80::1%lo", true, 0).unwrap();
        assert_eq!(errno(tcp(elsewhere, false, BACKLOG)), Errno::EADDRNOTAVAIL);
    }
}

#[test]
fn anywhere_means_both_versions_of_ip() {
    let bound = tcp_anywhere(0, false, BACKLOG).unwrap();
    let port = port_of(&bound);
    TcpStream::connect(loopback(port)).unwrap();
    if has_ipv6() {
        assert_eq!(address_text(&bound.sockname.unwrap()), "::");
        TcpStream::connect(("::1", port)).unwrap();
    } else {
        assert_eq!(address_text(&bound.sockname.unwrap()), "0.0.0.0");
    }
}

#[test]
fn anywhere_means_ipv4_where_there_is_no_ipv6() {
    without_ipv6(|| {
        for ipv6_only in [false, true] {
            let bound = tcp_anywhere(0, ipv6_only, BACKLOG).unwrap();
            assert_eq!(address_text(&bound.sockname.unwrap()), "0.0.0.0");
        }
        let ipv6 = parse_address("::", true, 0).unwrap();
        assert_eq!(errno(tcp(ipv6, false, BACKLOG)), Errno::EAFNOSUPPORT);
    });
}

#[test]
fn ipv6_only_is_set_either_way() {
    if !has_ipv6() {
        eprintln!("there is no IPv6 on this machine");
        return;
    }
    let anywhere = parse_address("::", true, 0).unwrap();
    for ipv6_only in [false, true] {
        for bound in
            [tcp(anywhere, ipv6_only, BACKLOG).unwrap(), tcp_anywhere(0, ipv6_only, BACKLOG).unwrap()]
        {
            let port = port_of(&bound);
            TcpStream::connect(("::1", port)).unwrap();
            assert_eq!(TcpStream::connect(apart_from_other_tests(port)).is_err(), ipv6_only);
            assert_eq!(getsockopt(&bound.fd, sockopt::Ipv6V6Only).unwrap(), ipv6_only);
        }
    }
    // Ignored for IPv4.
    tcp(loopback(0), true, BACKLOG).unwrap();
}

#[test]
fn the_backlog_is_the_one_asked_for() {
    let largest = largest_backlog();
    for (asked, expected) in [(1, 1), (511, 511.min(largest)), (i32::MAX, largest), (-1, largest)] {
        let bound = tcp(loopback(0), false, Some(asked)).unwrap();
        assert_eq!(listens_with(&bound.fd), Some(expected), "asked for {asked}");
    }
    let bound = tcp_anywhere(0, false, Some(7)).unwrap();
    assert_eq!(listens_with(&bound.fd), Some(7));
}

#[test]
fn what_is_only_bound_does_not_listen() {
    let bound = tcp(loopback(0), false, None).unwrap();
    assert_eq!(listens_with(&bound.fd), None);
    let refused = TcpStream::connect(bound.sockname.unwrap()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(listens_with(&tcp_anywhere(0, false, None).unwrap().fd), None);
}
