//! The PROXY protocol: the client's address, before its first byte.
//!
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>

// `core::net` has only the addresses; the sockets are in `std::net`.
use ::core::net::SocketAddr;

/// The version of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// The binary form.
    V2,
}

/// The two ends of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// Both ends have an IP address and a port.
    Ip {
        /// The client's address.
        source: SocketAddr,
        /// The address that it connected to.
        destination: SocketAddr,
    },
    /// A Unix socket: its path, or its abstract name with a leading NUL. Clients rarely have one.
    Unix {
        /// The client's address.
        source: Vec<u8>,
        /// The address to which it connected.
        destination: Vec<u8>,
    },
    /// The addresses are unknown.
    Unknown,
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, on behalf of a client.
const PROXIED: u8 = 0x21;
const STREAM_UNSPECIFIED: u8 = 0x00;
const STREAM_V4: u8 = 0x11;
const STREAM_V6: u8 = 0x21;
const STREAM_UNIX: u8 = 0x31;
/// The size of each of the two names of a Unix socket.
const UNIX_NAME: usize = 108;

/// The header of a connection.
#[must_use]
pub fn header(version: Version, endpoints: &Endpoints) -> Vec<u8> {
    match version {
        Version::V1 => text(endpoints),
        Version::V2 => binary(endpoints),
    }
}

/// Both addresses in one IP version: IPv4 if both are IPv4, possibly mapped to IPv6 by a dual-stack socket.
fn same_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let (plain_source, plain_destination) = (canonical(source), canonical(destination));
    if plain_source.is_ipv4() && plain_destination.is_ipv4() {
        (plain_source, plain_destination)
    } else {
        (source, destination)
    }
}

fn text(endpoints: &Endpoints) -> Vec<u8> {
    let Endpoints::Ip { source, destination } = endpoints else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let (source, destination) = same_family(*source, *destination);
    let family = match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => return b"PROXY UNKNOWN\r\n".to_vec(),
    };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

fn binary(endpoints: &Endpoints) -> Vec<u8> {
    let (family, addresses) = match endpoints {
        Endpoints::Ip { source, destination } => match same_family(*source, *destination) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                (STREAM_V4, [from.ip().octets(), to.ip().octets()].concat())
            }
            (SocketAddr::V6(from), SocketAddr::V6(to)) => {
                (STREAM_V6, [from.ip().octets(), to.ip().octets()].concat())
            }
            _ => (STREAM_UNSPECIFIED, Vec::new()),
        },
        Endpoints::Unix { source, destination } => {
            let mut names = padded(source);
            names.extend(padded(destination));
            (STREAM_UNIX, names)
        }
        Endpoints::Unknown => (STREAM_UNSPECIFIED, Vec::new()),
    };
    let ports = match endpoints {
        Endpoints::Ip { source, destination } if family != STREAM_UNSPECIFIED => {
            [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat()
        }
        _ => Vec::new(),
    };
    let length = u16::try_from(addresses.len() + ports.len()).unwrap_or_default();
    let mut header = SIGNATURE.to_vec();
    header.extend([PROXIED, family]);
    header.extend(length.to_be_bytes());
    header.extend(addresses);
    header.extend(ports);
    header
}

fn padded(name: &[u8]) -> Vec<u8> {
    let mut padded = name[..name.len().min(UNIX_NAME)].to_vec();
    padded.resize(UNIX_NAME, 0);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(source: &str, destination: &str) -> Endpoints {
        Endpoints::Ip { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn text_headers() {
        for (endpoints, expected) in [
            (ip("192.0.2.1:1025", "198.51.100.7:80"), "PROXY TCP4 192.0.2.1 198.51.100.7 1025 80\r\n"),
            (ip("[2001:db8::1]:65535", "[::1]:443"), "PROXY TCP6 2001:db8::1 ::1 65535 443\r\n"),
            (ip("[::ffff:192.0.2.1]:9", "[::ffff:127.0.0.1]:8"), "PROXY TCP4 192.0.2.1 127.0.0.1 9 8\r\n"),
            (ip("192.0.2.1:1", "[::1]:2"), "PROXY UNKNOWN\r\n"),
            (Endpoints::Unix { source: vec![], destination: b"/s".to_vec() }, "PROXY UNKNOWN\r\n"),
            (Endpoints::Unknown, "PROXY UNKNOWN\r\n"),
        ] {
            assert_eq!(String::from_utf8(header(Version::V1, &endpoints)).unwrap(), expected);
        }
    }

    #[test]
    fn binary_headers() {
        let bytes =
            |rest: &[u8]| [b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A".as_slice(), rest].concat();
        assert_eq!(
            header(Version::V2, &ip("192.0.2.1:1025", "198.51.100.7:80")),
            bytes(&[0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 7, 4, 1, 0, 80]),
        );
        let mut v6 = vec![0x21, 0x21, 0, 36, 0x20, 1, 0x0d, 0xb8];
        v6.extend([0; 11]);
        v6.push(1);
        v6.extend([0; 15]);
        v6.extend([1, 0xff, 0xff, 1, 0xbb]);
        assert_eq!(header(Version::V2, &ip("[2001:db8::1]:65535", "[::1]:443")), bytes(&v6));
        assert_eq!(
            header(Version::V2, &ip("[::ffff:192.0.2.1]:9", "[::ffff:127.0.0.1]:8")),
            bytes(&[0x21, 0x11, 0, 12, 192, 0, 2, 1, 127, 0, 0, 1, 0, 9, 0, 8]),
        );
        let mut unix = vec![0x21, 0x31, 0, 216];
        unix.extend([0; 108]);
        unix.extend(b"/run/s");
        unix.resize(4 + 216, 0);
        let endpoints = Endpoints::Unix { source: vec![], destination: b"/run/s".to_vec() };
        assert_eq!(header(Version::V2, &endpoints), bytes(&unix));
        assert_eq!(header(Version::V2, &Endpoints::Unknown), bytes(&[0x21, 0x00, 0, 0]));
    }
}
