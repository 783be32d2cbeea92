//! UDP: shared and exclusive addresses.

use std::net::UdpSocket;

use nix::errno::Errno;
use rcluster_sys::listen::{Kind, UdpOptions, parse_address, udp};

use crate::tools::*;

#[test]
fn a_udp_socket_receives() {
    let bound = udp(loopback(0), UdpOptions::default()).unwrap();
    assert_eq!(bound.kind, Kind::Udp);
    assert_nonblocking_and_close_on_exec(&bound.fd);
    let client = UdpSocket::bind(loopback(0)).unwrap();
    client.send_to(b"hi", bound.sockname.unwrap()).unwrap();
    let mut bytes = [0; 8];
    let received = UdpSocket::from(bound.fd).recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..received], b"hi");
}

#[test]
fn a_udp_address_is_shared_only_by_those_who_agree() {
    let alone = udp(loopback(0), UdpOptions::default()).unwrap();
    let reuse = UdpOptions { reuse_address: true, ipv6_only: false };
    for options in [UdpOptions::default(), reuse] {
        assert_eq!(errno(udp(alone.sockname.unwrap(), options)), Errno::EADDRINUSE);
    }
    let first = udp(loopback(0), reuse).unwrap();
    let second = udp(first.sockname.unwrap(), reuse).unwrap();
    assert_eq!(first.sockname, second.sockname);
}

#[test]
fn udp_has_both_versions_of_ip_or_one() {
    let only = UdpOptions { ipv6_only: true, reuse_address: false };
    assert_eq!(errno(udp(loopback(0), only)), Errno::EINVAL);
    if has_ipv6() {
        let anywhere = parse_address("::", true, 0).unwrap();
        for (options, ipv6_only) in [(UdpOptions::default(), false), (only, true)] {
            let bound = udp(anywhere, options).unwrap();
            // The same port of IPv4 is free only with `ipv6_only`.
            let other = udp(apart_from_other_tests(port_of(&bound)), UdpOptions::default());
            assert_eq!(other.is_ok(), ipv6_only);
        }
    }
}
