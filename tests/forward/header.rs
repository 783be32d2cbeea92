//! The PROXY protocol, byte by byte.

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use rcluster::io::forward::FrontAddress;
use rcluster_core::forward::proxy::Version;

use super::tools::{DEADLINE, Primary, accept, read_some, with_proxy, write};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn tcp(host: &str) -> FrontAddress {
    FrontAddress::Tcp { host: Some(host.into()), port: 0 }
}

/// The data that a worker receives before "x", and both addresses of the client's connection.
fn header_for(
    spec: rcluster::io::forward::FrontOptions,
    at: Option<Ipv4Addr>,
) -> (Vec<u8>, SocketAddr, SocketAddr) {
    let mut primary = Primary::new(spec);
    let (_, listener) = primary.worker();
    let mut address = primary.address();
    if let Some(at) = at {
        address.set_ip(at.into());
    }
    let client = TcpStream::connect(address).unwrap();
    write(&client, b"x");
    let (from, to) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    let mut worker = accept(&listener);
    worker.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.pop(), Some(b'x'), "the client's own bytes follow");
    (bytes, from, to)
}

#[test]
fn version_1() {
    let (header, from, to) = header_for(with_proxy(Version::V1, tcp("127.0.0.1")), None);
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), to.port());
    assert_eq!(String::from_utf8(header).unwrap(), expected);
    let (header, from, to) = header_for(with_proxy(Version::V1, tcp("::1")), None);
    let expected = format!("PROXY TCP6 ::1 ::1 {} {}\r\n", from.port(), to.port());
    assert_eq!(String::from_utf8(header).unwrap(), expected);
    let (header, from, to) = header_for(with_proxy(Version::V1, tcp("::")), Some(Ipv4Addr::LOCALHOST));
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), to.port());
    assert_eq!(String::from_utf8(header).unwrap(), expected, "IPv4 on a socket for both");
}

#[test]
fn version_2() {
    let (header, from, to) = header_for(with_proxy(Version::V2, tcp("127.0.0.1")), None);
    let mut expected = [SIGNATURE, &[0x21, 0x11, 0, 12, 127, 0, 0, 1, 127, 0, 0, 1]].concat();
    expected.extend(from.port().to_be_bytes());
    expected.extend(to.port().to_be_bytes());
    assert_eq!(header, expected);
    let (header, from, to) = header_for(with_proxy(Version::V2, tcp("::1")), None);
    let mut expected = [SIGNATURE, &[0x21, 0x21, 0, 36]].concat();
    expected.extend(Ipv6Addr::LOCALHOST.octets());
    expected.extend(Ipv6Addr::LOCALHOST.octets());
    expected.extend(from.port().to_be_bytes());
    expected.extend(to.port().to_be_bytes());
    assert_eq!(header, expected);
}

#[test]
fn from_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("rcluster-forward-{}.sock", std::process::id()));
    let address = || FrontAddress::Path(path.to_str().unwrap().into());
    for version in [Version::V1, Version::V2] {
        let mut primary = Primary::new(with_proxy(version, address()));
        let (_, listener) = primary.worker();
        let client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let worker = accept(&listener);
        let expected = match version {
            Version::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
            Version::V2 => {
                let mut expected = [SIGNATURE, &[0x21, 0x31, 0, 216], &[0; 108]].concat();
                expected.extend(path.to_str().unwrap().as_bytes());
                expected.resize(16 + 216, 0);
                expected
            }
        };
        assert_eq!(read_some(&worker, expected.len()), expected);
    }
    assert!(!path.exists(), "the file goes with the forwarder");
}
