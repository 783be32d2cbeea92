//! Whether workers accept from their own sockets.
//!
//! A check of each connection would cost more than passing it. So a socket that was quiet reports once when a
//! client comes; from then on its listener is sampled periodically, until it is quiet again and the next
//! first client is awaited. An idle listener costs nothing, a busy one a sample every [`PERIOD`].
//!
//! A socket is *unattended* if clients wait on it in two samples in a row and its workers have accepted none
//! in between: they are blocked, stopped, or out of descriptors. A socket whose worker only waits for a CPU is
//! not unattended, because other workers would have no CPU either; nor is any socket while all other workers
//! are busy.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ids::{ListenerId, Slot};

/// The interval of samples. All listeners are sampled together.
pub const PERIOD: Duration = Duration::from_millis(20);

/// The shortest time between two samples that may find a socket unattended: a worker that waits for a CPU is
/// not blocked.
pub const LEAST: Duration = Duration::from_millis(15);

/// A worker that was busy for more than this share of the time, in percent, cannot help others.
const BUSY: u32 = 75;

/// A runnable worker that had less than this share of the time on a CPU, in percent, lacks a CPU.
const STARVED: u32 = 25;

/// A sample of one socket.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The slot of the socket.
    pub slot: Slot,
    /// How many connections its workers report as accepted. Untrusted: a false number harms only the worker's
    /// own clients.
    pub accepted: u64,
    /// How long their event loops have been busy, as they report it.
    pub busy: Duration,
    /// Whether a client is waiting on it now.
    pub waiting: bool,
    /// How long the workers ran on a CPU. Only used if a client waits.
    pub ran: Duration,
}

/// The result of a sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Finding {
    /// Sockets with clients that no worker accepts.
    pub unattended: Vec<Slot>,
    /// Nothing has happened recently: the listener is not sampled any more until a first client comes. Each
    /// of its sockets must be armed to report one; it reports at once if a client has come meanwhile.
    pub quiet: bool,
}

/// The listeners that are sampled.
#[derive(Debug, Default)]
pub struct AcceptWatch(BTreeMap<ListenerId, Watch>);

#[derive(Debug)]
struct Watch {
    at: Duration,
    due: Duration,
    /// The last samples.
    seen: BTreeMap<Slot, Sample>,
}

impl AcceptWatch {
    /// When the next sample is due. `None` while everything is quiet.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.0.values().map(|watch| watch.due).min()
    }

    /// The listeners that are due.
    pub fn due(&self, now: Duration) -> impl Iterator<Item = ListenerId> {
        self.0.iter().filter(move |(_, watch)| watch.due <= now).map(|(listener, _)| *listener)
    }

    /// Whether this listener is sampled already, and need not report a first client.
    #[must_use]
    pub fn is_watching(&self, listener: ListenerId) -> bool {
        self.0.contains_key(&listener)
    }

    /// Evaluates a sample of a listener that has reported a first client or is due. Sockets from which the
    /// dispatcher accepts are left out; they count as new when they return.
    ///
    /// `is_runnable` returns whether the worker of a slot is ready to run on a CPU; it is called only where
    /// that matters.
    pub fn look(
        &mut self,
        now: Duration,
        listener: ListenerId,
        samples: &[Sample],
        is_runnable: impl Fn(Slot) -> bool,
    ) -> Finding {
        let (at, before) = self.0.remove(&listener).map(|watch| (watch.at, watch.seen)).unwrap_or_default();
        let period = now.saturating_sub(at);
        let mut finding = Finding { unattended: Vec::new(), quiet: true };
        let mut helpers = false;
        for sample in samples {
            let Some(last) = before.get(&sample.slot) else {
                finding.quiet = false;
                continue;
            };
            let idle = last.accepted == sample.accepted;
            finding.quiet &= idle && !last.waiting && !sample.waiting;
            if idle && last.waiting && sample.waiting {
                let starved = sample.ran.saturating_sub(last.ran) * 100 < period * STARVED;
                if !starved || !is_runnable(sample.slot) {
                    finding.unattended.push(sample.slot);
                }
            }
            let busy = sample.busy.saturating_sub(last.busy);
            helpers |= !sample.waiting && busy * 100 < period * BUSY;
        }
        if !helpers {
            finding.unattended.clear();
        }
        if !finding.quiet {
            // Unattended sockets start again, so that they are not reported twice for the same time.
            let new = samples.iter().filter(|sample| !finding.unattended.contains(&sample.slot));
            let seen = new.map(|sample| (sample.slot, *sample)).collect();
            self.0.insert(listener, Watch { at: now, due: next_look(now), seen });
        }
        finding
    }

    /// A listener was closed.
    pub fn forget(&mut self, listener: ListenerId) {
        self.0.remove(&listener);
    }
}

/// On a grid that all listeners share, so that all are sampled together.
fn next_look(now: Duration) -> Duration {
    let least = now.saturating_add(LEAST).as_micros();
    let period = PERIOD.as_micros();
    let micros = least.div_ceil(period).saturating_mul(period);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use rcluster_testing::seeds;

    use super::*;
    use crate::random::Random;

    const LISTENER: ListenerId = ListenerId(1);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn sample(slot: u32, accepted: u64, waiting: bool) -> Sample {
        Sample { slot: Slot(slot), accepted, busy: Duration::ZERO, waiting, ran: Duration::ZERO }
    }

    /// Calls `look` with no worker short of CPU time.
    fn look(
        accept_watch: &mut AcceptWatch,
        now: Duration,
        listener: ListenerId,
        samples: &[Sample],
    ) -> Finding {
        accept_watch.look(now, listener, samples, |_| false)
    }

    fn found(unattended: &[u32], quiet: bool) -> Finding {
        Finding { unattended: unattended.iter().map(|slot| Slot(*slot)).collect(), quiet }
    }

    #[test]
    fn a_worker_that_accepts_nobody_between_two_looks_leaves_its_clients_unattended() {
        let mut accept_watch = AcceptWatch::default();
        assert_eq!(
            look(&mut accept_watch, ms(103), LISTENER, &[sample(0, 5, true), sample(1, 0, false)]),
            found(&[], false)
        );
        assert_eq!(accept_watch.next_deadline(), Some(ms(120)));
        assert_eq!(accept_watch.due(ms(119)).count(), 0);
        assert_eq!(accept_watch.due(ms(120)).collect::<Vec<_>>(), [LISTENER]);
        // One worker accepts, and more clients have come meanwhile; the other has its first client.
        assert_eq!(
            look(&mut accept_watch, ms(120), LISTENER, &[sample(0, 6, true), sample(1, 0, true)]),
            found(&[], false)
        );
        assert_eq!(
            look(&mut accept_watch, ms(140), LISTENER, &[sample(0, 9, false), sample(1, 0, true)]),
            found(&[1], false)
        );
        // The dispatcher accepts there from now on. When the socket returns, its past does not count.
        assert_eq!(look(&mut accept_watch, ms(160), LISTENER, &[sample(0, 10, false)]), found(&[], false));
        assert_eq!(
            look(&mut accept_watch, ms(180), LISTENER, &[sample(0, 10, false), sample(1, 0, true)]),
            found(&[], false)
        );
    }

    #[test]
    fn nobody_is_blamed_where_nobody_could_help() {
        let mut accept_watch = AcceptWatch::default();
        let mut other = sample(0, 0, false);
        let unattended = sample(1, 0, true);
        let _ = look(&mut accept_watch, ms(100), LISTENER, &[other, unattended]);
        // Busy for 16 of 20 ms.
        other = Sample { busy: ms(16), accepted: 3, ..other };
        assert_eq!(look(&mut accept_watch, ms(120), LISTENER, &[other, unattended]), found(&[], false));
        // It was idle, and only now clients wait there, too.
        other = Sample { busy: ms(16), accepted: 6, waiting: true, ..other };
        assert_eq!(look(&mut accept_watch, ms(140), LISTENER, &[other, unattended]), found(&[], false));
        other = Sample { busy: ms(30), accepted: 9, waiting: false, ..other };
        assert_eq!(look(&mut accept_watch, ms(160), LISTENER, &[other, unattended]), found(&[1], false));
        // A socket that has just appeared does not count as able to help.
        assert_eq!(
            look(&mut accept_watch, ms(180), LISTENER, &[sample(2, 0, false), unattended]),
            found(&[], false)
        );
        assert_eq!(
            look(&mut accept_watch, ms(200), LISTENER, &[sample(2, 0, false), unattended]),
            found(&[1], false)
        );
    }

    #[test]
    fn who_lacks_a_cpu_is_not_blocked() {
        let mut accept_watch = AcceptWatch::default();
        let other = sample(0, 0, false);
        let mut unattended = sample(1, 0, true);
        let _ = accept_watch.look(ms(100), LISTENER, &[other, unattended], |_| true);
        unattended.ran = ms(4);
        assert_eq!(accept_watch.look(ms(120), LISTENER, &[other, unattended], |_| true), found(&[], false));
        // It spends its CPU time on something else.
        unattended.ran = ms(10);
        assert_eq!(accept_watch.look(ms(140), LISTENER, &[other, unattended], |_| true), found(&[1], false));
        // It does not run, and not because it lacks a CPU.
        let _ = accept_watch.look(ms(160), LISTENER, &[other, unattended], |_| true);
        assert_eq!(accept_watch.look(ms(180), LISTENER, &[other, unattended], |_| false), found(&[1], false));
    }

    #[test]
    fn what_is_quiet_is_left_alone() {
        let mut accept_watch = AcceptWatch::default();
        assert_eq!(accept_watch.next_deadline(), None);
        // The first client was served before the sample.
        assert_eq!(look(&mut accept_watch, ms(7), LISTENER, &[sample(0, 1, false)]), found(&[], false));
        assert!(accept_watch.is_watching(LISTENER));
        assert_eq!(look(&mut accept_watch, ms(40), LISTENER, &[sample(0, 1, false)]), found(&[], true));
        assert!(!accept_watch.is_watching(LISTENER));
        assert_eq!(accept_watch.next_deadline(), None);
        let _ = look(&mut accept_watch, ms(50), LISTENER, &[sample(0, 1, true)]);
        accept_watch.forget(LISTENER);
        assert_eq!(accept_watch.next_deadline(), None);
    }

    #[test]
    fn looks_are_neither_too_close_nor_too_many() {
        for micros in (0..100_000).step_by(77) {
            let now = Duration::from_micros(micros);
            let wait = next_look(now).saturating_sub(now);
            assert!(wait >= LEAST && wait <= LEAST + PERIOD, "{wait:?} after {now:?}");
            assert_eq!(next_look(now).as_micros() % PERIOD.as_micros(), 0);
        }
    }

    /// Workers that block now and then, with clients at random times.
    #[test]
    fn clients_of_blocked_workers_are_found_in_time_and_others_are_not_blamed() {
        let mut found = 0;
        let seeds = seeds(200);
        for seed in seeds.each() {
            let mut random = Random::new(seed.number);
            let mut accept_watch = AcceptWatch::default();
            let (mut accepted, mut waiting) = ([0_u64; 3], [0_u64; 3]);
            let (mut blocked_until, mut first_waits) = ([0_u64; 3], [None; 3]);
            let (mut armed, mut on_behalf, mut looks) = ([true; 3], [false; 3], 0);
            for now in 0..3_000_u64 {
                let chance = random.bits() % 1_000;
                let busy = now % 1_000 < 700;
                for slot in 0..3 {
                    if chance == slot as u64 {
                        blocked_until[slot] = now + 5 + random.bits() % 80;
                    }
                    if busy && random.bits().is_multiple_of(8) {
                        waiting[slot] += 1;
                        first_waits[slot].get_or_insert(now);
                    }
                    on_behalf[slot] &= blocked_until[slot] > now;
                    if blocked_until[slot] <= now || on_behalf[slot] {
                        let taken = std::mem::take(&mut waiting[slot]);
                        accepted[slot] += if on_behalf[slot] { 0 } else { taken };
                        first_waits[slot] = None;
                    }
                }
                let first_client = (0..3).any(|slot| armed[slot] && waiting[slot] > 0);
                let due = accept_watch.due(ms(now)).count() > 0;
                if (first_client && !accept_watch.is_watching(LISTENER)) || due {
                    looks += 1;
                    let samples: Vec<Sample> = (0..3_u32)
                        .filter(|slot| !on_behalf[*slot as usize])
                        .map(|slot| sample(slot, accepted[slot as usize], waiting[slot as usize] > 0))
                        .collect();
                    let finding = look(&mut accept_watch, ms(now), LISTENER, &samples);
                    armed = [finding.quiet; 3];
                    for Slot(slot) in finding.unattended {
                        found += 1;
                        let since = first_waits[slot as usize].expect("somebody waits");
                        assert!(now - since >= 15, "found after {} ms", now - since);
                        on_behalf[slot as usize] = true;
                        first_waits[slot as usize] = None;
                    }
                }
                for (slot, since) in first_waits.iter().enumerate() {
                    let Some(since) = since else { continue };
                    let helped = (0..3).any(|other| other != slot && blocked_until[other] + 60 <= now);
                    let in_time = ms(now - since) <= LEAST + 2 * PERIOD;
                    assert!(in_time || !helped, "{} ms unnoticed", now - since);
                }
            }
            assert!(looks <= 3_000 / 20 + 3 * 2, "{looks} looks");
        }
        assert!(found > 500 || seeds.are_given(), "found {found}: that proves nothing");
    }
}
