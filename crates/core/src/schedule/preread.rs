//! The first bytes of a client, and what identifies the client in them. Nothing is consumed: the worker gets
//! all bytes.
//!
//! Any client may connect and send anything, so only a bounded number of bytes is examined, and a client
//! whose bytes cannot be parsed is identified by its address only.

use serde::{Deserialize, Serialize};

use super::{Address, Key};

/// How many bytes of a client are examined: half of Node's limit for the head of a request.
pub const LIMIT: usize = 8 * 1024;

/// The longest name, in bytes, that is sent to a worker.
pub const LONGEST_NAME: usize = 256;

/// What identifies a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", tag = "by", content = "name")]
pub enum By {
    /// Its address.
    #[default]
    Address,
    /// The cookie of this name in its first HTTP request.
    Cookie(String),
    /// The header of this name in its first HTTP request.
    Header(String),
    /// The parameter of this name in the URL of its first HTTP request.
    Query(String),
}

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PrereadRule {
    /// In the request.
    #[serde(flatten)]
    pub by: By,
    /// Before the request: the client's address, as sent by a proxy.
    pub proxy_protocol: bool,
}

/// The result of looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// More bytes are needed.
    Undecided,
    /// The client; `None` if nothing identifies it.
    Decided(Option<Key>),
}

impl By {
    /// What identifies a client in the head of a request; `None` if nothing does.
    #[must_use]
    pub fn key_in(&self, request: &[u8]) -> Option<Key> {
        let what = PrereadRule { by: self.clone(), proxy_protocol: false };
        match what.look(request, None, true) {
            Verdict::Decided(key) => key,
            Verdict::Undecided => None,
        }
    }

    /// Whether it is in the bytes that a client sends.
    #[must_use]
    pub fn is_content(&self) -> bool {
        *self != Self::Address
    }

    fn name(&self) -> &str {
        match self {
            Self::Address => "",
            Self::Cookie(name) | Self::Header(name) | Self::Query(name) => name,
        }
    }
}

impl PrereadRule {
    /// What identifies a client whose connection one worker hands over to another. `None` if that is not
    /// possible: a proxy sends its header once, at the beginning of the connection, and the next worker would
    /// wait for it.
    #[must_use]
    pub fn hand_over(&self) -> Option<By> {
        let can_be_told = !self.proxy_protocol && self.by.name().len() <= LONGEST_NAME;
        can_be_told.then(|| self.by.clone())
    }

    /// Whether the first bytes are needed.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.proxy_protocol || self.by != By::Address
    }

    /// Examines the first bytes of a client whose address is `peer`, as far as the system knows. With `last`,
    /// no more bytes will come or be waited for.
    #[must_use]
    pub fn look(&self, bytes: &[u8], peer: Option<Address>, last: bool) -> Verdict {
        let last = last || bytes.len() >= LIMIT;
        let bytes = &bytes[..bytes.len().min(LIMIT)];
        let (address, request) = match self.proxy_protocol.then(|| proxy_header(bytes)) {
            Some(Proxy::Undecided) if !last => return Verdict::Undecided,
            Some(Proxy::Header { address, length }) => (address.or(peer), &bytes[length..]),
            None | Some(Proxy::Undecided | Proxy::None) => (peer, bytes),
        };
        let request = without_empty_lines(request);
        let found = match &self.by {
            By::Address => Found::Nothing,
            By::Cookie(name) => in_headers(request, b"cookie", |value| cookie(value, name.as_bytes())),
            By::Header(name) => in_headers(request, name.as_bytes(), |value| Some(value.trim_ascii())),
            By::Query(name) => in_query(request, name.as_bytes()),
        };
        match found {
            Found::Undecided if !last => Verdict::Undecided,
            Found::Value(value) if !value.is_empty() => Verdict::Decided(Some(Key::named(value))),
            _ => Verdict::Decided(address.map(Key::from)),
        }
    }
}

/// The result of looking for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found<'a> {
    Undecided,
    Nothing,
    Value(&'a [u8]),
}

/// The header of the PROXY protocol, if any.
enum Proxy {
    Undecided,
    None,
    /// Without an address if the proxy opened the connection for itself.
    Header {
        address: Option<Address>,
        length: usize,
    },
}

const V1: &[u8] = b"PROXY ";
/// The longest header of version 1, including its end.
const V1_LONGEST: usize = 107;
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
/// Those of version 6 of the Internet protocol, with ports.
const V2_LONGEST_ADDRESSES: usize = 36;

fn proxy_header(bytes: &[u8]) -> Proxy {
    if starts(bytes, V1) {
        return proxy_v1(bytes);
    }
    if starts(bytes, V2) { proxy_v2(bytes) } else { Proxy::None }
}

/// Whether `bytes` begin with `magic`, or are a prefix of it.
fn starts(bytes: &[u8], magic: &[u8]) -> bool {
    bytes.iter().zip(magic).all(|(one, other)| one == other)
}

/// `PROXY TCP4 <source> <destination> <port> <port>\r\n`
fn proxy_v1(bytes: &[u8]) -> Proxy {
    let Some(end) = bytes.iter().take(V1_LONGEST).position(|byte| *byte == b'\n') else {
        return if bytes.len() < V1_LONGEST { Proxy::Undecided } else { Proxy::None };
    };
    let Ok(line) = std::str::from_utf8(&bytes[..end]) else { return Proxy::None };
    let mut words = line.trim_end_matches('\r').split(' ').skip(1);
    let address = match (words.next(), words.next()) {
        (Some("UNKNOWN"), _) => None,
        (Some("TCP4"), Some(source)) => match ipv4(source) {
            Some(source) => Some(Address::V4(source)),
            None => return Proxy::None,
        },
        (Some("TCP6"), Some(source)) => match ipv6(source) {
            Some(source) => Some(Address::V6(source)),
            None => return Proxy::None,
        },
        _ => return Proxy::None,
    };
    Proxy::Header { address, length: end + 1 }
}

fn ipv4(text: &str) -> Option<[u8; 4]> {
    text.parse::<::core::net::Ipv4Addr>().ok().map(|address| address.octets())
}

fn ipv6(text: &str) -> Option<[u8; 16]> {
    text.parse::<::core::net::Ipv6Addr>().ok().map(|address| address.octets())
}

/// The signature, version and command, family, length (big-endian), and the addresses of that length, the
/// source first.
fn proxy_v2(bytes: &[u8]) -> Proxy {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED>() else { return Proxy::Undecided };
    let [.., version_and_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 {
        return Proxy::None;
    }
    // Of a header that is longer than what is examined, only the addresses are read. The request is not reached.
    let is_too_long = V2_FIXED + length > LIMIT;
    let needed = if is_too_long { V2_LONGEST_ADDRESSES } else { length };
    let Some(addresses) = rest.get(..needed) else { return Proxy::Undecided };
    let address = match (version_and_command & 0xf, family >> 4) {
        (1, 1) => addresses.first_chunk().map(|source| Address::V4(*source)),
        (1, 2) => addresses.first_chunk().map(|source| Address::V6(*source)),
        _ => None,
    };
    Proxy::Header { address, length: if is_too_long { V2_FIXED + rest.len() } else { V2_FIXED + length } }
}

/// Servers ignore empty lines before a request line (RFC 9112, section 2.2); so does Node's parser.
fn without_empty_lines(request: &[u8]) -> &[u8] {
    let begin = request.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    &request[begin.unwrap_or(request.len())..]
}

/// Whether it may be the beginning of an HTTP/1 request. A TLS handshake is not, for example.
fn may_be_http(request: &[u8]) -> bool {
    request.first().is_none_or(u8::is_ascii_uppercase)
}

fn in_query<'a>(request: &'a [u8], name: &[u8]) -> Found<'a> {
    if !may_be_http(request) {
        return Found::Nothing;
    }
    // The method, a space, the target, a space.
    let end_of_line = request.iter().position(|byte| *byte == b'\n');
    let line = &request[..end_of_line.unwrap_or(request.len())];
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(_), Some(target), after) = (words.next(), words.next(), words.next()) else {
        return if end_of_line.is_some() { Found::Nothing } else { Found::Undecided };
    };
    if after.is_none() && end_of_line.is_none() {
        return Found::Undecided;
    }
    let Some(question) = target.iter().position(|byte| *byte == b'?') else { return Found::Nothing };
    let query = target[question + 1..].split(|byte| *byte == b'#').next().unwrap_or_default();
    let value = query.split(|byte| *byte == b'&').find_map(|pair| value_of(pair, name));
    value.map_or(Found::Nothing, Found::Value)
}

/// Looks for a header, ignoring the case of its name, and for a value in it.
fn in_headers<'a>(
    request: &'a [u8],
    name: &[u8],
    mut pick: impl FnMut(&'a [u8]) -> Option<&'a [u8]>,
) -> Found<'a> {
    if !may_be_http(request) {
        return Found::Nothing;
    }
    let mut lines = request.split_inclusive(|byte| *byte == b'\n');
    // The first is the request line.
    if lines.next().is_none_or(|line| !line.ends_with(b"\n")) {
        return Found::Undecided;
    }
    for line in lines {
        let Some(line) = line.strip_suffix(b"\n") else { return Found::Undecided };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Found::Nothing;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        if line[..colon].eq_ignore_ascii_case(name)
            && let Some(value) = pick(&line[colon + 1..])
        {
            return Found::Value(value);
        }
    }
    Found::Undecided
}

fn cookie<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    header.split(|byte| *byte == b';').find_map(|pair| value_of(pair.trim_ascii(), name))
}

fn value_of<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    pair.strip_prefix(name)?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests;
