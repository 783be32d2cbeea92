//! Responses to clients.

use std::fmt::Write as _;
use std::time::Duration;

const TEXT: &str = "text/plain; charset=utf-8";

/// A response. A HEAD request gets only its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: &'static str,
    /// Further headers, each with its line end.
    pub headers: &'static str,
    /// The body. `None`: it has no length, and ends with the connection.
    pub body: Option<Vec<u8>>,
}

impl Response {
    /// A response with status 200.
    #[must_use]
    pub fn ok(content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, content_type, headers: "", body: Some(body.into()) }
    }

    /// A line of text.
    #[must_use]
    pub fn text(status: u16, line: &str) -> Self {
        Self { status, ..Self::ok(TEXT, format!("{line}\n")) }
    }

    /// The response to a probe. An error is the reason for the failure.
    #[must_use]
    pub fn probe(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Self::text(200, "ok"),
            Err(why) => Self::text(503, &why),
        }
    }

    /// The head of a stream of server-sent events.
    #[must_use]
    pub fn events() -> Self {
        Self { body: None, ..Self::ok("text/event-stream; charset=utf-8", "") }
    }

    /// An HTML page. `headers` restrict what it may do, each with its line end.
    #[must_use]
    pub fn page(html: &str, headers: &'static str) -> Self {
        Self { headers, ..Self::ok("text/html; charset=utf-8", html) }
    }

    /// Encodes the response. `is_head` is whether the request was HEAD, `closes` whether the connection ends
    /// with it, and `now` is the time since the epoch.
    #[must_use]
    pub fn encode(&self, is_head: bool, closes: bool, now: Duration) -> Vec<u8> {
        let Self { status, content_type, headers, body } = self;
        let mut head = format!(
            "HTTP/1.1 {status} {}\r\nDate: {}\r\nContent-Type: {content_type}\r\n{headers}\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
            reason(*status),
            http_date(now),
        );
        // Writing to a string cannot fail.
        if let Some(body) = body {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        if closes || body.is_none() {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if let Some(body) = body.as_ref().filter(|_| !is_head) {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// Formats a time since the epoch as HTTP does: `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn http_date(since_epoch: Duration) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = since_epoch.as_secs();
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let week_day = usize::try_from(days % 7).map_or("", |index| DAYS[index]);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{week_day}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} GMT", MONTHS[month])
}

/// Converts days since 1970-01-01 to year, month from 0, and day of the month. Years begin in March, so that
/// a leap day is the last of its year.
fn civil(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    (year, usize::try_from(month).unwrap_or_default(), day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_correct() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(Duration::from_secs(seconds)), date);
        }
    }

    fn lines(bytes: &[u8]) -> Vec<&str> {
        std::str::from_utf8(bytes).unwrap().split("\r\n").collect()
    }

    #[test]
    fn head_has_the_headers_of_get_and_no_body() {
        let response = Response::text(200, "ok");
        let (get, head) =
            (response.encode(false, false, Duration::ZERO), response.encode(true, false, Duration::ZERO));
        assert_eq!(lines(&get).last(), Some(&"ok\n"));
        assert_eq!(get.strip_suffix(b"ok\n").unwrap(), head);
        assert!(lines(&head).contains(&"Content-Length: 3"));
        assert!(!lines(&head).contains(&"Connection: close"));
        assert!(lines(&response.encode(false, true, Duration::ZERO)).contains(&"Connection: close"));
    }

    #[test]
    fn events_have_no_length_and_end_with_the_connection() {
        let bytes = Response::events().encode(false, false, Duration::ZERO);
        assert!(lines(&bytes).contains(&"Connection: close"));
        assert!(!lines(&bytes).iter().any(|line| line.starts_with("Content-Length")));
    }

    #[test]
    fn a_failed_probe_gives_the_reason() {
        let response = Response::probe(Err("1 of 2 workers are ready".into()));
        assert_eq!((response.status, response.body.unwrap()), (503, b"1 of 2 workers are ready\n".to_vec()));
        assert_eq!(Response::probe(Ok(())).status, 200);
    }
}
