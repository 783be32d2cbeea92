//! The lengths of the turns of an event loop: counted in classes, from which quantiles are computed.
//!
//! A turn is the work between two polls for events. An event that arrives during a turn is handled after it,
//! so the length of a turn is the time that an event may have to wait. No timer is needed to measure it.
//!
//! The first class ends at 128 µs. After that each doubling has four classes, up to 67 s; the last class has
//! all longer turns. So a quantile is at most a quarter too long.

use std::time::Duration;

/// The number of classes.
pub const CLASSES: usize = 78;

/// The number of turns in each class.
pub type Turns = [u64; CLASSES];

/// The first class ends at 2^7 µs.
const FIRST: u32 = 7;

/// The class of a turn of this length.
#[must_use]
pub fn class(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let Some(octave) = micros.checked_ilog2().and_then(|log| log.checked_sub(FIRST)) else { return 0 };
    let quarter = (micros >> (octave + FIRST - 2)) & 3;
    let class = u64::from(octave) * 4 + quarter + 1;
    usize::try_from(class).map_or(CLASSES - 1, |class| class.min(CLASSES - 1))
}

/// The upper limit of a class. `None` for the last class.
#[must_use]
pub fn limit(class: usize) -> Option<Duration> {
    if class >= CLASSES - 1 {
        return None;
    }
    let micros = match u32::try_from(class).ok().and_then(|class| class.checked_sub(1)) {
        None => 1_u64 << FIRST,
        Some(above) => u64::from(5 + above % 4) << (above / 4 + FIRST - 2),
    };
    Some(Duration::from_micros(micros))
}

/// The length that a fraction `part` of the turns, from 0 to 1, does not exceed. `None` if there were no
/// turns. For the last class it is the class's lower limit.
#[must_use]
pub fn quantile(turns: &Turns, part: f64) -> Option<Duration> {
    let all = turns.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    if all == 0 {
        return None;
    }
    // Exact up to 2^53 turns.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let wanted = ((all as f64 * part.clamp(0.0, 1.0)).ceil() as u64).max(1);
    let mut below = 0_u64;
    let reached = |count: &u64| {
        below = below.saturating_add(*count);
        below >= wanted
    };
    let class = turns.iter().position(reached).unwrap_or(CLASSES - 1);
    limit(class).or_else(|| limit(CLASSES - 2))
}

/// The fraction of a time during which the loop was busy, from 0 to 1. `None` if there was no time.
#[must_use]
pub fn utilization(busy: Duration, time: Duration) -> Option<f64> {
    (!time.is_zero()).then(|| (busy.as_secs_f64() / time.as_secs_f64()).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn every_time_is_below_the_limit_of_its_class_and_not_below_that_of_the_one_before() {
        let mut time = 1;
        while time < 67_000_000 {
            for took in [time - 1, time, time + 1].map(micros) {
                let class = class(took);
                assert!(took < limit(class).unwrap(), "{took:?}");
                assert!(class == 0 || took >= limit(class - 1).unwrap(), "{took:?}");
            }
            time += time / 9 + 1;
        }
        assert_eq!((class(Duration::from_secs(68)), class(Duration::MAX)), (CLASSES - 1, CLASSES - 1));
        assert_eq!(limit(CLASSES - 1), None);
    }

    #[test]
    fn limits_are_a_quarter_apart_at_the_most() {
        assert_eq!((limit(0), limit(1), limit(5)), (Some(micros(128)), Some(micros(160)), Some(micros(320))));
        for class in 1..CLASSES - 1 {
            let (before, this) = (limit(class - 1).unwrap(), limit(class).unwrap());
            assert!(this > before && this <= before * 5 / 4, "{class}");
        }
    }

    #[test]
    fn a_quantile_is_what_that_part_of_the_turns_stayed_below() {
        let mut turns = [0; CLASSES];
        assert_eq!(quantile(&turns, 0.99), None);
        turns[class(micros(50))] = 990;
        turns[class(Duration::from_millis(100))] = 10;
        assert_eq!(quantile(&turns, 0.99), Some(micros(128)));
        let slowest = quantile(&turns, 0.991).unwrap();
        assert!(slowest > Duration::from_millis(100) && slowest <= Duration::from_millis(125), "{slowest:?}");
        assert_eq!(quantile(&turns, 0.0), Some(micros(128)));
        turns[CLASSES - 1] = u64::MAX;
        assert_eq!(quantile(&turns, 1.0), limit(CLASSES - 2), "the last class has no limit");
    }

    #[test]
    fn a_utilization_is_a_part() {
        assert_eq!(utilization(micros(1), micros(4)), Some(0.25));
        assert_eq!(utilization(micros(9), micros(4)), Some(1.0));
        assert_eq!(utilization(micros(1), micros(0)), None);
    }
}
