//! Whatever stands in the environment of a service: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, each a line.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rcluster_core::notify::watchdog_period;
use rcluster_sys::notify::Notifier;

const OWN: u32 = 4242;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|&byte| byte == b'\n');
    let (name, usec, pid) = (lines.next().unwrap_or_default(), lines.next(), lines.next());

    let period = watchdog_period(usec, pid, OWN);
    if let Some(period) = period {
        assert!(period > Duration::ZERO);
        let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse::<u128>().unwrap();
        assert!(pid.is_none_or(|pid| number(pid) == u128::from(OWN)));
        assert_eq!(usec.map(number), Some(period.as_micros()));
        // The shell adds half of it to the time that it is.
        assert!(Duration::from_secs(u64::from(u32::MAX)).checked_add(period).is_some());
    }

    let is_name = match name {
        [b'@', rest @ ..] => (1..=107).contains(&rest.len()),
        [b'/', ..] => name.len() <= 107 && !name.contains(&0),
        _ => false,
    };
    assert_eq!(Notifier::to(OsStr::from_bytes(name), period).is_ok(), is_name);
});
