//! The address of the HTTP listener: the values of the option `metrics`.

use std::fmt;
use std::path::{Path, PathBuf};

// `core::net` has only the addresses; the sockets are in `std::net`.
use ::core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A listen address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port of one interface or of all.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Parses what an operator writes: `9090`, `127.0.0.1:9090`, `localhost:9090`, `[::1]:9090` or
    /// `unix:/run/app/metrics.sock`. A port alone is on the loopback interface. Other host names are refused,
    /// because the native thread that listens does not resolve names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            let is_path = !path.is_empty() && !path.starts_with('@') && !path.contains('\0');
            return is_path.then(|| Self::Unix(path.into()));
        }
        let local = text.strip_prefix("localhost:").unwrap_or(text);
        if !local.is_empty() && local.bytes().all(|byte| byte.is_ascii_digit()) {
            let port = local.parse().ok()?;
            return Some(Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        }
        text.parse().ok().map(Self::Tcp)
    }

    /// The path, if it is a Unix socket.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// Whether only processes of this machine can reach it by IP.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(address) => is_loopback(address.ip()),
            Self::Unix(_) => false,
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_displayed_in_full() {
        for (text, full, is_loopback) in [
            ("9090", "127.0.0.1:9090", true),
            ("0", "127.0.0.1:0", true),
            ("localhost:9090", "127.0.0.1:9090", true),
            ("127.1.2.3:1", "127.1.2.3:1", true),
            ("0.0.0.0:9090", "0.0.0.0:9090", false),
            ("[::1]:9090", "[::1]:9090", true),
            ("[::]:9090", "[::]:9090", false),
            ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80", true),
            ("unix:/run/app/metrics.sock", "unix:/run/app/metrics.sock", false),
            ("unix:a", "unix:a", false),
        ] {
            let address = Address::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((address.to_string().as_str(), address.is_loopback()), (full, is_loopback));
        }
    }

    #[test]
    fn ambiguous_addresses_are_refused() {
        for text in [
            "",
            "off",
            ":9090",
            "65536",
            "-1",
            "+1",
            "9090 ",
            "localhost",
            "localhost:",
            "localhost:http",
            "example.com:9090",
            "::1:9090",
            "127.0.0.1",
            "http://127.0.0.1:9090",
            "unix:",
            "unix:@name",
            "unix:a\0b",
            "/run/app/metrics.sock",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
