//! What a service manager leaves in the environment of a service that it watches: `sd_watchdog_enabled(3)`.

use std::time::Duration;

/// How often the manager wants to hear from the process `own`, by the values of `WATCHDOG_USEC` (microseconds) and
/// `WATCHDOG_PID`. `None` if it does not, or if the variables, which are inherited, mean another process.
#[must_use]
pub fn watchdog_period(usec: Option<&[u8]>, pid: Option<&[u8]>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| number(pid) != Some(u64::from(own))) {
        return None;
    }
    // The largest number means for ever there.
    let usec = number(usec?).filter(|usec| (1..u64::MAX).contains(usec))?;
    Some(Duration::from_micros(usec))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
