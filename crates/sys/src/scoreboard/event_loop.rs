//! The part of a worker's page with the durations of its event loop's turns, in total and recently.
//!
//! # Design
//! The worker keeps the recent values: at the first turn in each period of five seconds, it notes the
//! counters before it. So the primary can read at any time, with any number of readers, and neither side
//! needs a timer. The notes are written under a sequence lock, because the primary may read during a write.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

/// The number of classes of turns.
pub const CLASSES: usize = 78;

/// The length of a period.
const PERIOD: Duration = Duration::from_secs(5);

/// How often a note that is being written is read again.
const TRIES: u32 = 3;

/// Written by the worker.
#[repr(C, align(64))]
pub(super) struct EventLoopLines {
    /// When the event loop began, in ns of the monotonic clock; 0 until its first turn.
    began: AtomicU64,
    /// The number of turns by class of duration.
    turns: [AtomicU64; CLASSES],
    notes: [Note; 2],
}

/// The counters at the beginning of a period.
#[repr(C)]
struct Note {
    /// The period's number since boot; 0 if the note is empty.
    period: AtomicU64,
    /// The busy time in ns.
    busy: AtomicU64,
    turns: [AtomicU64; CLASSES],
}

/// The activity of a worker's event loop, as the worker reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLoopLook {
    /// The number of turns by class, in total.
    pub turns: [u64; CLASSES],
    /// The same for the last five to ten seconds.
    pub recent_turns: [u64; CLASSES],
    /// The busy time in that period.
    pub recent_busy: Duration,
    /// The length of that period.
    pub recent: Duration,
}

fn period(now: Duration) -> u64 {
    // Plus one, because 0 means an empty note.
    now.as_secs() / PERIOD.as_secs() + 1
}

/// Valid for 584 years.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl EventLoopLines {
    /// The worker's side: at `now` a turn of this class has ended. The loop had been busy for `before` until
    /// then. Only the event loop's thread writes.
    pub(super) fn turn(&self, now: Duration, before: Duration, class: usize) {
        if self.began.load(Ordering::Relaxed) == 0 {
            self.began.store(nanos(now).max(1), Ordering::Relaxed);
        }
        let current = period(now);
        if self.notes.iter().all(|note| note.period.load(Ordering::Relaxed) != current) {
            self.begin(current, nanos(before));
        }
        if let Some(turns) = self.turns.get(class) {
            turns.store(turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Starts a period. If there was no turn in the previous one, that started with the same counters.
    fn begin(&self, current: u64, busy: u64) {
        let [one, other] = &self.notes;
        let is_last = |note: &Note| note.period.load(Ordering::Relaxed).wrapping_add(1) == current;
        let (last, stale) = if is_last(one) { (one, other) } else { (other, one) };
        if !is_last(last) {
            last.write(current - 1, busy, &self.turns);
        }
        stale.write(current, busy, &self.turns);
    }

    /// The primary's side: the activity at `now`, if the event loop has been busy for `busy` in total. `None`
    /// if the worker was writing all the time, or has not begun.
    pub(super) fn look(&self, now: Duration, busy: Duration) -> Option<EventLoopLook> {
        let began = Duration::from_nanos(self.began.load(Ordering::Relaxed));
        if began.is_zero() {
            return None;
        }
        let turns = read(&self.turns);
        let current = period(now);
        let (since, busy_then, turns_then) = self.base(current)?;
        // Without any turn since then, the last period started with the current counters.
        let start = Duration::from_secs((current.saturating_sub(2)).saturating_mul(PERIOD.as_secs()));
        let (busy_then, turns_then) =
            if since < current - 1 { (busy, turns) } else { (busy_then, turns_then) };
        Some(EventLoopLook {
            turns,
            recent_turns: std::array::from_fn(|class| turns[class].saturating_sub(turns_then[class])),
            recent_busy: busy.saturating_sub(busy_then),
            recent: now.saturating_sub(start.max(began)),
        })
    }

    /// The note to count from: that of the last period or, if there is none, the newest one.
    fn base(&self, current: u64) -> Option<(u64, Duration, [u64; CLASSES])> {
        let notes = || self.notes.iter().filter_map(Note::read);
        let last = || {
            let notes: Vec<_> = notes().filter(|note| note.0 < current).collect();
            notes.into_iter().max_by_key(|note| note.0)
        };
        (0..TRIES).find_map(|_| last())
    }
}

impl Note {
    fn write(&self, period: u64, busy: u64, turns: &[AtomicU64; CLASSES]) {
        self.period.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        self.busy.store(busy, Ordering::Relaxed);
        for (note, turns) in self.turns.iter().zip(turns) {
            note.store(turns.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.period.store(period, Ordering::Release);
    }

    /// `None` while it is being written.
    fn read(&self) -> Option<(u64, Duration, [u64; CLASSES])> {
        let period = self.period.load(Ordering::Acquire);
        let busy = Duration::from_nanos(self.busy.load(Ordering::Relaxed));
        let turns = read(&self.turns);
        fence(Ordering::Acquire);
        (period != 0 && self.period.load(Ordering::Relaxed) == period).then_some((period, busy, turns))
    }
}

fn read(turns: &[AtomicU64; CLASSES]) -> [u64; CLASSES] {
    std::array::from_fn(|class| turns[class].load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> EventLoopLines {
        let counters = || std::array::from_fn(|_| AtomicU64::new(0));
        let note = || Note { period: AtomicU64::new(0), busy: AtomicU64::new(0), turns: counters() };
        EventLoopLines { began: AtomicU64::new(0), turns: counters(), notes: [note(), note()] }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_secs(100) + Duration::from_millis(ms)
    }

    fn sum(turns: &[u64; CLASSES]) -> u64 {
        turns.iter().sum()
    }

    #[test]
    fn before_the_first_turn_there_is_no_data() {
        assert_eq!(lines().look(at(0), Duration::ZERO), None);
    }

    #[test]
    fn recent_values_are_of_this_period_and_the_last() {
        let lines = lines();
        let mut busy = Duration::ZERO;
        // One turn of 1 ms every 100 ms, for 30 s.
        for step in 0..300_u64 {
            lines.turn(at(step * 100), busy, 3);
            busy += Duration::from_millis(1);
            let look = lines.look(at(step * 100), busy).unwrap();
            assert_eq!(look.turns[3], step + 1, "in all");
            // The period began at a multiple of 5 s, which `at(0)` is.
            let expected = if step < 50 { step + 1 } else { step % 50 + 51 };
            assert_eq!(look.recent_turns[3], expected, "{step}");
            assert_eq!(look.recent_busy, Duration::from_millis(expected), "{step}");
            let recent = if step < 50 { step * 100 } else { (step % 50) * 100 + 5000 };
            assert_eq!(look.recent, Duration::from_millis(recent), "{step}");
        }
    }

    #[test]
    fn an_idle_loop_has_no_recent_activity() {
        let lines = lines();
        let busy = Duration::from_secs(1);
        lines.turn(at(0), Duration::ZERO, 70);
        let look = lines.look(at(9_000), busy).unwrap();
        assert_eq!((sum(&look.recent_turns), look.recent_busy), (1, busy), "in the last period");
        let look = lines.look(at(3_600_000), busy).unwrap();
        assert_eq!((sum(&look.recent_turns), look.recent_busy), (0, Duration::ZERO), "long ago");
        assert!(look.recent >= PERIOD && look.recent <= 2 * PERIOD, "{:?}", look.recent);
        lines.turn(at(3_600_000), busy, 1);
        let look = lines.look(at(3_600_100), busy + Duration::from_millis(1)).unwrap();
        assert_eq!((sum(&look.recent_turns), look.recent_busy), (1, Duration::from_millis(1)));
        assert_eq!(sum(&look.turns), 2, "nothing is reset");
    }

    #[test]
    fn a_turn_longer_than_the_recent_time_counts_when_it_ends() {
        let lines = lines();
        lines.turn(at(0), Duration::ZERO, 1);
        lines.turn(at(60_000), Duration::from_millis(1), 76);
        let look = lines.look(at(60_001), at(60_000)).unwrap();
        assert_eq!((look.recent_turns[76], sum(&look.recent_turns)), (1, 1));
        assert!(look.recent_busy > look.recent, "which readers take for all of the time");
    }

    #[test]
    fn garbage_on_the_page_is_only_wrong() {
        let lines = lines();
        lines.turn(at(0), Duration::ZERO, 1);
        for (value, note) in [(u64::MAX, 0), (1, 1), (u64::MAX, 1)] {
            for word in [&lines.began, &lines.notes[note].period, &lines.notes[note].busy] {
                word.store(value, Ordering::Relaxed);
                let _untrue = lines.look(at(1), Duration::MAX);
                let _untrue = lines.look(Duration::ZERO, Duration::ZERO);
            }
            lines.turns[1].store(value, Ordering::Relaxed);
            lines.turn(at(20_000), Duration::MAX, CLASSES);
        }
        assert!(lines.look(at(20_001), Duration::ZERO).is_none_or(|look| look.recent_busy.is_zero()));
    }

    #[test]
    fn a_note_that_is_being_written_is_not_read() {
        let lines = lines();
        lines.turn(at(0), Duration::ZERO, 1);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut number = 1;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    lines.turns.iter().for_each(|turns| turns.store(number, Ordering::Relaxed));
                    lines.notes[0].write(number, number, &lines.turns);
                }
            });
            let mut seen = 0;
            while seen < 1000 {
                if let Some((period, busy, turns)) = lines.notes[0].read() {
                    // The first ones are from the turn above.
                    if turns[0] > 1 {
                        assert!(turns.iter().all(|count| *count == turns[0]));
                        assert_eq!((busy, period), (Duration::from_nanos(turns[0]), turns[0]));
                    }
                    seen += 1;
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
