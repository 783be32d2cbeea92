//! Durations and sizes in the notation of operators.

use std::time::Duration;

use serde_json::Value;

/// `5s`, `500ms`, `2m`, `1h`, or `0`. Other numbers need a unit: some tools mean seconds, others milliseconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 500ms, 5s, 2m or 1h".to_owned();
    let (number, unit) = split(text);
    let factor = match unit {
        "" if number == "0" => 1,
        "" if scaled(number, 1).is_some() => {
            return Err(format!("the unit is missing: write {number}s or {number}ms"));
        }
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    scaled(number, factor).map(Duration::from_millis).ok_or_else(wrong)
}

/// The smallest number that is taken for bytes. A smaller one was meant to have a unit.
const LEAST_BYTES: u64 = 1 << 20;

/// `500M`, `1.5G`, `64k`, or a number of bytes; by 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "expected a size such as 500M or 1.5G, or a number of bytes".to_owned();
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" if scaled(number, 1).is_some_and(|bytes| bytes < LEAST_BYTES) => {
            return Err(format!("the unit is missing: write {number}M"));
        }
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err(wrong()),
    };
    scaled(number, factor).filter(|size| *size > 0).ok_or_else(wrong)
}

/// A size as in [`size`], or `80%`: as in the option `recycle.memory`.
pub(crate) fn memory(text: &str) -> Result<Value, String> {
    let Some(percent) = text.strip_suffix('%') else {
        return size(text)
            .map(Value::from)
            .map_err(|message| format!("{message}, or a share of all memory such as 80%"));
    };
    let is_number = !percent.is_empty() && percent.bytes().all(|byte| byte.is_ascii_digit());
    match percent.parse::<u32>() {
        Ok(number @ 1..=100) if is_number => Ok(format!("{number}%").into()),
        _ => Err("expected a percentage from 1% to 100%".into()),
    }
}

/// `1 worker`, `2 workers`.
pub(crate) fn counted(count: &Value, noun: &str) -> String {
    let plural = if count.as_u64() == Some(1) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// An approximate duration: `5s`, `3m`, `2h`, `4d`.
pub(crate) fn about(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms}ms"),
        seconds @ 1..=119 => format!("{seconds}s"),
        seconds @ 120..=7199 => format!("{}m", seconds / 60),
        seconds @ 7200..=172_799 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A size such as `12.3M`.
pub(crate) fn bytes(count: u64) -> String {
    let (unit, name) = match count {
        0..=1023 => return count.to_string(),
        1024..=1_048_575 => (1 << 10, "K"),
        1_048_576..=1_073_741_823 => (1 << 20, "M"),
        _ => (1 << 30, "G"),
    };
    let tenths = u128::from(count) * 10 / unit;
    format!("{}.{}{name}", tenths / 10, tenths % 10)
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// A number with up to three decimals, times the factor. `None` if it is invalid, or too large for
/// JavaScript.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 3 {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse::<u64>().ok()?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    whole.checked_add(thousandths.checked_mul(factor)? / 1000).filter(|sum| *sum < 1 << 53)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_parsed() {
        let ms = |text| duration(text).map(|time| time.as_millis());
        assert_eq!(
            (ms("5s"), ms("500ms"), ms("0"), ms("1.5m"), ms("1h")),
            (Ok(5000), Ok(500), Ok(0), Ok(90_000), Ok(3_600_000))
        );
        assert_eq!(
            (size("500M"), size("1.5G"), size("64k"), size("512MiB"), size("1048576")),
            (Ok(524_288_000), Ok(1_610_612_736), Ok(65_536), Ok(536_870_912), Ok(1_048_576))
        );
        for text in ["", "s", "5 s", "-5s", "5d", ".5s", "5.", "1.2345s", "99999999999999999999"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("30").unwrap_err(), "the unit is missing: write 30s or 30ms");
        assert_eq!(size("500").unwrap_err(), "the unit is missing: write 500M");
        for text in ["", "M", "0", "5T", "1e9", "80%"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_may_be_a_percentage() {
        assert_eq!(memory("80%"), Ok("80%".into()));
        assert_eq!(memory("500M"), Ok(524_288_000.into()));
        for wrong in ["0%", "101%", "+5%", "%", "1.5%", "5"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_and_sizes_are_formatted_briefly() {
        let shown: Vec<String> = [5, 5000, 600_000, 10_000_000, 900_000_000].into_iter().map(about).collect();
        assert_eq!(shown, ["5ms", "5s", "10m", "2h", "10d"]);
        let shown: Vec<String> = [5, 2048, 12_900_000, 1 << 31].into_iter().map(bytes).collect();
        assert_eq!(shown, ["5", "2.0K", "12.3M", "2.0G"]);
    }
}
