//! Parses the head of a request from the bytes received so far.

use ::core::net::{Ipv4Addr, Ipv6Addr};

use httparse::{Header, Status};

use super::accept::Format;
use super::response::Response;
use super::route::{NoRoute, Route};

/// The largest head, in bytes.
pub const MAX_HEAD: usize = 8 << 10;

/// The largest number of headers.
const MAX_HEADERS: usize = 64;

/// Which `Host` headers are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRule {
    /// All: the address is meant to be reached by other machines, or no browser can reach it.
    Any,
    /// Only names that always mean this machine. This prevents DNS rebinding: otherwise a page of another
    /// site, whose owner points its name to this machine, could read the responses through a local user's
    /// browser.
    Local,
}

/// The result of parsing the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The head is not complete.
    Partial,
    /// A request, with the length of its head.
    Whole(usize, Request),
    /// It is invalid. The response is the last one on this connection.
    Broken(Response),
}

/// A parsed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The resource, or the response that refuses it.
    pub target: Result<Route, Response>,
    /// Whether the client wants only the head of the response.
    pub is_head: bool,
    /// Whether another request may follow.
    pub keeps_alive: bool,
    /// The format of metrics.
    pub format: Format,
}

/// Parses the head of a request at the beginning of `bytes`.
#[must_use]
pub fn parse(bytes: &[u8], rule: HostRule) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let too_large = || Parsed::Broken(Response::text(431, "the head of the request is too large"));
    match head.parse(&bytes[..bytes.len().min(MAX_HEAD)]) {
        Ok(Status::Complete(length)) => match read(&head, rule) {
            Ok(request) => Parsed::Whole(length, request),
            Err(response) => Parsed::Broken(response),
        },
        Ok(Status::Partial) if bytes.len() < MAX_HEAD => Parsed::Partial,
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => too_large(),
        Err(httparse::Error::Version) => Parsed::Broken(Response::text(505, "HTTP/1.1 is spoken here")),
        Err(error) => Parsed::Broken(Response::text(400, &format!("this is no HTTP request: {error}"))),
    }
}

fn read(head: &httparse::Request<'_, '_>, rule: HostRule) -> Result<Request, Response> {
    let is_1_1 = head.version == Some(1);
    let headers = Headers(head.headers);
    if headers.values("transfer-encoding").next().is_some()
        || headers.values("content-length").any(|length| length != b"0")
    {
        return Err(Response::text(400, "a request has no body here"));
    }
    let mut hosts = headers.values("host");
    let host = hosts.next();
    if hosts.next().is_some() || (is_1_1 && host.is_none()) {
        return Err(Response::text(400, "a request has one Host"));
    }
    let (authority, path) = split(head.path.unwrap_or_default());
    let host = authority.map(str::as_bytes).or(host);
    // HTTP/1.1 headers of the response do not tell an HTTP/1.0 client whether the connection is kept.
    let keeps_alive = is_1_1 && !headers.list("connection", "close");
    let is_head = head.method == Some("HEAD");
    let accept = headers.values("accept").next().and_then(|value| std::str::from_utf8(value).ok());
    let target = if rule == HostRule::Local && !host.is_none_or(is_local) {
        Err(Response::text(
            403,
            "this address is for localhost only; see the option metrics to listen for others",
        ))
    } else if !is_head && head.method != Some("GET") {
        Err(Response {
            headers: "Allow: GET, HEAD\r\n",
            ..Response::text(405, "only GET and HEAD are answered")
        })
    } else {
        Route::of(path).map_err(|no| match no {
            NoRoute::NotFound => Response::text(
                404,
                "there are / (a page), /metrics, /livez, /readyz, /startupz, /status and /events",
            ),
            NoRoute::NoTime => Response::text(400, "primary is a time: 500ms, 5s, 1m"),
        })
    };
    Ok(Request { target, is_head, keeps_alive, format: accept.map(Format::wanted).unwrap_or_default() })
}

/// The host that a target names, if it is a URL as for a proxy, and its path.
fn split(target: &str) -> (Option<&str>, &str) {
    const SCHEME: &str = "http://";
    let Some((scheme, rest)) = target.split_at_checked(SCHEME.len()) else { return (None, target) };
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return (None, target);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    (Some(host), if path.is_empty() { "/" } else { path })
}

struct Headers<'a>(&'a [Header<'a>]);

impl<'a> Headers<'a> {
    fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(|it| it.name.eq_ignore_ascii_case(name)).map(|it| it.value.trim_ascii())
    }

    /// Whether a header that is a list contains this item.
    fn list(&self, name: &'static str, item: &str) -> bool {
        let is_item = |part: &[u8]| part.trim_ascii().eq_ignore_ascii_case(item.as_bytes());
        self.values(name).any(|value| value.split(|byte| *byte == b',').any(is_item))
    }
}

/// Whether a `Host` header names this machine in a way that cannot be redirected: by an IP address, or as
/// `localhost`, which browsers do not resolve.
fn is_local(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_rest = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return is_rest && address.parse::<Ipv6Addr>().is_ok();
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    is_port(port) && (name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        match parse(text.as_bytes(), HostRule::Local) {
            Parsed::Whole(length, request) if length == text.len() => request,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn status(text: &str) -> u16 {
        match parse(text.as_bytes(), HostRule::Local) {
            Parsed::Broken(response) => response.status,
            Parsed::Whole(_, request) => request.target.map_or_else(|response| response.status, |_| 200),
            Parsed::Partial => 0,
        }
    }

    #[test]
    fn a_request_may_arrive_byte_by_byte() {
        let text = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..end], HostRule::Local), Parsed::Partial, "{end}");
        }
        let whole = request(text);
        assert_eq!(whole.target, Ok(Route::Metrics));
        assert_eq!((whole.is_head, whole.keeps_alive, whole.format), (false, true, Format::OpenMetrics));
        let two = format!("{text}GET / HTTP/1.1\r\n");
        assert_eq!(parse(two.as_bytes(), HostRule::Local), Parsed::Whole(text.len(), whole));
    }

    #[test]
    fn the_connection_is_kept_by_the_rules_of_http() {
        for (head, keeps) in [
            ("HTTP/1.1\r\nHost: localhost", true),
            ("HTTP/1.1\r\nHost: localhost\r\nConnection: Close", false),
            ("HTTP/1.1\r\nHost: localhost\r\nConnection: TE, close", false),
            ("HTTP/1.0", false),
            ("HTTP/1.0\r\nConnection: Keep-Alive", false),
        ] {
            assert_eq!(request(&format!("HEAD /livez {head}\r\n\r\n")).keeps_alive, keeps, "{head}");
        }
    }

    #[test]
    fn a_target_may_be_a_url_whose_host_is_checked() {
        let of =
            |target: &str, host: &str| request(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        for target in ["http://localhost/metrics", "HTTP://127.0.0.1:9090/metrics"] {
            assert_eq!(of(target, "example.com").target, Ok(Route::Metrics), "{target}");
        }
        for (target, code) in [
            ("http://example.com/metrics", 403),
            ("http:///metrics", 403),
            ("http://localhost/other", 404),
            ("https://localhost/metrics", 404),
            ("http:", 404),
        ] {
            assert_eq!(of(target, "localhost").target.unwrap_err().status, code, "{target}");
        }
        assert_eq!(of("http://localhost", "localhost"), of("/", "localhost"));
    }

    #[test]
    fn only_hosts_that_are_always_local_are_accepted() {
        for host in
            ["localhost", "LocalHost:80", "127.0.0.1:9090", "10.0.0.1", "[::1]", "[::1]:9090", "127.0.0.1:"]
        {
            assert_eq!(status(&format!("GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n")), 200, "{host}");
        }
        for host in [
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "[::1",
            "[::1]x",
            "::1",
            "",
            "a:b:c",
        ] {
            assert_eq!(status(&format!("GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n")), 403, "{host}");
        }
        let others = b"GET /status HTTP/1.1\r\nHost: example.com\r\n\r\n";
        assert!(matches!(parse(others, HostRule::Any), Parsed::Whole(_, Request { target: Ok(_), .. })));
    }

    #[test]
    fn unsupported_requests_are_refused() {
        let host = "Host: localhost\r\n";
        for (text, expected) in [
            (format!("POST /metrics HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n"), 405),
            (format!("OPTIONS * HTTP/1.1\r\n{host}\r\n"), 405),
            (format!("GET /nothing HTTP/1.1\r\n{host}\r\n"), 404),
            (format!("GET /livez?primary=soon HTTP/1.1\r\n{host}\r\n"), 400),
            (format!("GET /metrics HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello"), 400),
            (format!("GET /metrics HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n"), 400),
            (format!("GET /metrics HTTP/1.1\r\n{host}{host}\r\n"), 400),
            ("GET /metrics HTTP/1.1\r\n\r\n".into(), 400),
            (format!("GET /metrics HTTP/2.0\r\n{host}\r\n"), 505),
            ("\x16\x03\x01\x02\x00".into(), 400),
            (format!("GET /metrics HTTP/1.1\r\nHo st: a\r\n{host}\r\n"), 400),
            (format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(MAX_HEAD)), 431),
            (format!("GET / HTTP/1.1\r\n{host}{}\r\n", "A: b\r\n".repeat(MAX_HEADERS)), 431),
        ] {
            assert_eq!(status(&text), expected, "{}", &text[..text.len().min(80)]);
        }
    }
}
