//! What a service manager passes in the environment of a service: `sd_watchdog_enabled(3)`,
//! `sd_listen_fds(3)`.

use std::time::Duration;

/// The watchdog period of the process `own`, from the values of `WATCHDOG_USEC` (microseconds) and
/// `WATCHDOG_PID`. `None` if there is none, or if the variables, which are inherited, are for another
/// process.
#[must_use]
pub fn watchdog_period(usec: Option<&[u8]>, pid: Option<&[u8]>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| number(pid) != Some(u64::from(own))) {
        return None;
    }
    // The largest number means no limit.
    let usec = number(usec?).filter(|usec| (1..u64::MAX).contains(usec))?;
    Some(Duration::from_micros(usec))
}

/// The largest number of descriptors that is accepted.
const MAX_DESCRIPTORS: u32 = 4096;

/// The descriptors that a manager has opened for the process `own`, with their names, from the values of
/// `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`: `sd_listen_fds_with_names(3)`. `None` if the variables,
/// which are inherited, are for another process.
#[must_use]
pub fn passed_descriptors(
    count: Option<&[u8]>,
    pid: Option<&[u8]>,
    names: Option<&[u8]>,
    own: u32,
) -> Vec<(i32, String)> {
    let is_ours = pid.and_then(number) == Some(u64::from(own));
    let count = count.and_then(number).and_then(|count| u32::try_from(count).ok()).filter(|_| is_ours);
    let Some(count) = count.filter(|count| *count <= MAX_DESCRIPTORS) else { return Vec::new() };
    let mut names = names.unwrap_or_default().split(|byte| *byte == b':');
    let mut name = || String::from_utf8_lossy(names.next().unwrap_or_default()).into_owned();
    // They start after the standard descriptors.
    (3..).take(count as usize).map(|number| (number, name())).collect()
}

/// The name under which the manager stores a listening socket, so that it is recognized when it is passed
/// back.
#[must_use]
pub fn stored_name(ip: impl std::fmt::Display, port: u16) -> String {
    // A colon would end the name.
    format!("{STORED}{ip}.{port}").replace(':', "-")
}

/// Whether rcluster has stored a descriptor.
#[must_use]
pub fn is_stored(name: &str) -> bool {
    name.starts_with(STORED)
}

const STORED: &str = "rcluster.";

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_for_the_process_that_is_named() {
        let passed = |count: &str, pid: &str, names: Option<&str>| {
            passed_descriptors(Some(count.as_bytes()), Some(pid.as_bytes()), names.map(str::as_bytes), 42)
        };
        let named =
            |names: &[&str]| (3..).zip(names.iter().map(|name| (*name).to_owned())).collect::<Vec<_>>();
        assert_eq!(passed("2", "42", Some("web:rcluster.::.80")), named(&["web", "rcluster."]));
        assert_eq!(passed("2", "42", Some("web")), named(&["web", ""]));
        assert_eq!(passed("2", "42", None), named(&["", ""]));
        for (count, pid) in [("2", "43"), ("2", ""), ("0", "42"), ("-1", "42"), ("x", "42"), ("4097", "42")] {
            assert_eq!(passed(count, pid, None), [], "{count} for {pid}");
        }
        assert_eq!(passed_descriptors(Some(b"1"), None, None, 42), [], "nobody is named");
        assert_eq!(passed_descriptors(None, Some(b"42"), None, 42), []);
    }

    #[test]
    fn a_stored_socket_is_known_by_its_name() {
        assert_eq!(stored_name("0.0.0.0", 80), "rcluster.0.0.0.0.80");
        assert_eq!(stored_name("::", 80), "rcluster.--.80");
        let name = stored_name("fe80::1", 443);
        assert!(is_stored(&name) && !name.contains(':'));
        assert!(!is_stored("web.socket"));
    }

    #[test]
    fn a_watchdog_is_for_the_process_that_is_named() {
        let period = |usec: &str, pid: Option<&str>| {
            watchdog_period(Some(usec.as_bytes()), pid.map(str::as_bytes), 42)
        };
        let ten_seconds = Some(Duration::from_secs(10));
        assert_eq!(period("10000000", None), ten_seconds);
        assert_eq!(period("10000000", Some("42")), ten_seconds);
        for pid in ["43", "", "x", "4294967338"] {
            assert_eq!(period("10000000", Some(pid)), None, "process '{pid}'");
        }
        for usec in ["0", "-1", "", "1.5", "18446744073709551615", "18446744073709551616"] {
            assert_eq!(period(usec, None), None, "{usec} µs");
        }
        assert_eq!(watchdog_period(None, None, 42), None);
        assert_eq!(watchdog_period(Some(b"\xff"), None, 42), None);
    }
}
