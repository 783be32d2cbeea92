//! Looking at workers: does the event loop turn, how much has each of everything?

use std::time::Duration;

use super::backoff::times;
use super::member::{Member, Place, Stage, Surplus};
use super::options::Recycle;
use super::restart::Loss;
use super::{Cause, Event, Excess, Output, Run, Supervise, Time, Vitals, Why};
use crate::core::ids::WorkerId;
use crate::core::random::Random;

/// How long we wait for the stack of a worker that hangs.
const CAPTURE: Duration = Duration::from_millis(500);

/// From here on a look came so late that the machine slept, or we did: that says nothing about workers.
const LATE_LOOK: u32 = 4;

/// What is known of one worker's health.
#[derive(Debug)]
pub(super) struct Health {
    cause: Cause,
    shown: Option<Vitals>,
    connections: Option<u32>,
    pulse: Option<Pulse>,
    memory_limit: Option<u64>,
    age_limit: Option<Duration>,
    connection_limit: Option<u64>,
    /// Looks in a row at which there was too much memory.
    too_big: u32,
    pub(super) surplus: Option<Surplus>,
}

#[derive(Clone, Copy, Debug)]
struct Pulse {
    turns: u64,
    at: Time,
    /// Since it was given a reason to turn.
    silent_for: Option<Duration>,
    /// Its loop has turned at all.
    turned: bool,
}

impl Health {
    pub(super) fn new(cause: Cause, recycle: &Recycle, random: &mut Random) -> Self {
        let jitter = recycle.jitter.clamp(0.0, 1.0);
        Self {
            cause,
            shown: None,
            connections: None,
            pulse: None,
            memory_limit: recycle.memory.map(|limit| part(limit, 1.0 - jitter * random.fraction())),
            age_limit: recycle.age.map(|limit| times(limit, random.around_one(jitter))),
            connection_limit: recycle.connections.map(|limit| part(limit, random.around_one(jitter)).max(1)),
            too_big: 0,
            surplus: None,
        }
    }

    pub(super) fn cause(&self) -> Cause {
        self.cause
    }

    /// Connections it had open when it was last looked at.
    pub(super) fn connections(&self) -> Option<u32> {
        self.connections
    }

    pub(super) fn show(&mut self, vitals: Vitals) {
        self.connections = Some(vitals.connections);
        self.shown = Some(vitals);
    }

    /// When it will be too old, unless it has too much of something already.
    pub(super) fn old_at(&self, since: Time) -> Option<Time> {
        self.age_limit.filter(|_| self.surplus.is_none()).map(|limit| since.saturating_add(limit))
    }

    pub(super) fn age(&mut self, age: Duration) {
        let limit = self.age_limit.unwrap_or_default();
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.surplus = Some(Surplus {
            excess: Excess::Age,
            value: milliseconds(age),
            limit: milliseconds(limit),
            urgent: false,
        });
    }

    /// Compares what it has with what it may have.
    fn weigh(&mut self, vitals: Vitals, recycle: &Recycle) {
        if let (Some(rss), Some(limit), Some(of_all)) = (vitals.rss, self.memory_limit, recycle.memory) {
            let excess = Excess::Memory;
            if rss > limit {
                self.too_big = self.too_big.saturating_add(1);
            } else {
                self.too_big = 0;
                self.surplus.take_if(|surplus| surplus.excess == excess);
            }
            // One look may fall into the moment before a garbage collection.
            if self.too_big >= 2 {
                // More by 15 %.
                let urgent = rss > of_all.saturating_add(of_all / 20 * 3);
                self.surplus = Some(Surplus { excess, value: rss, limit, urgent });
            }
        }
        if let Some(limit) = self.connection_limit.filter(|limit| vitals.clients >= *limit) {
            let value = vitals.clients;
            self.surplus.get_or_insert(Surplus { excess: Excess::Connections, value, limit, urgent: false });
        }
    }
}

impl Pulse {
    /// How long it has been silent by now. Looks that came late count as if they had not.
    fn feel(&mut self, turns: u64, now: Time, period: Duration) -> Option<Duration> {
        let gap = now.saturating_sub(self.at);
        let gap = if gap > period.saturating_mul(LATE_LOOK) { period } else { gap };
        self.at = now;
        if turns == self.turns {
            // An idle loop stands still with good reason: the clock runs from when it was given another one.
            self.silent_for =
                Some(self.silent_for.map_or(Duration::ZERO, |silent| silent.saturating_add(gap)));
        } else {
            self.turns = turns;
            self.turned = true;
            self.silent_for = None;
        }
        self.silent_for
    }
}

/// Counts and bytes are far below the 2^53 up to which this is exact.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn part(of: u64, factor: f64) -> u64 {
    (of as f64 * factor) as u64
}

/// Whether an event tells what follows from the failure of a worker.
fn follows(event: &Event) -> bool {
    matches!(
        event,
        Event::Restart { .. } | Event::Backoff { .. } | Event::GaveUp { .. } | Event::Stopped { .. }
    )
}

impl Supervise {
    /// Looks at what all have shown, if it is time.
    pub(super) fn sample(&mut self) {
        if self.samples_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.samples_at = None;
        for index in 0..self.members.len() {
            let Self { members, options, .. } = self;
            let member = &mut members[index];
            let (Some(worker), Some(vitals)) = (member.id, member.health.shown.take()) else { continue };
            if !member.is_ready() {
                continue;
            }
            if matches!(member.place, Place::Current(_)) {
                member.health.weigh(vitals, &options.recycle);
            }
            self.feel(index, worker, vitals.turns);
        }
    }

    fn feel(&mut self, index: usize, worker: WorkerId, turns: u64) {
        let Some(allowed) = self.options.unresponsive_after else { return };
        let (now, period) = (self.now, self.options.sample_period);
        let health = &mut self.members[index].health;
        let Some(pulse) = &mut health.pulse else {
            health.pulse = Some(Pulse { turns, at: now, silent_for: None, turned: turns > 0 });
            return;
        };
        let Some(silent_for) = pulse.feel(turns, now, period) else { return };
        // An app that is still being loaded has not begun to turn; it has as long as for getting ready.
        let allowed = if pulse.turned { allowed } else { allowed.max(self.options.ready_timeout) };
        if silent_for >= allowed {
            self.hangs(index, worker, silent_for);
        } else if silent_for.is_zero() {
            self.say(Output::Probe { worker });
        }
    }

    fn hangs(&mut self, index: usize, worker: WorkerId, silent_for: Duration) {
        self.note_health(index);
        let member = &self.members[index];
        let (place, going) = (member.place, member.going.clone());
        let loss = Loss::of(member, Why::Unresponsive);
        let until = self.in_time(CAPTURE);
        self.dismiss(index, Stage::Capturing { until, silent_for });
        self.say(Output::TakeBack { worker });
        self.say(Output::CaptureStack { worker });
        let told = self.outbox.len();
        self.lost(place, going.as_ref(), loss);
        self.put_off_events(index, told);
    }

    /// Keeps what has been told since then until it is known where the worker is blocked: why comes before what follows from
    /// it. The replacement does not wait.
    fn put_off_events(&mut self, index: usize, told: usize) {
        let mut untold = Vec::new();
        for output in self.outbox.split_off(told) {
            match output {
                Output::Tell(event) if follows(&event) => untold.push(event),
                other => self.outbox.push(other),
            }
        }
        self.members[index].untold = untold;
    }

    pub(super) fn captured(&mut self, worker: WorkerId, text: Option<String>) {
        if let Some(index) = self.find(worker) {
            self.kill_hung(index, text);
        }
    }

    pub(super) fn kill_hung(&mut self, index: usize, stack: Option<String>) {
        if matches!(self.members[index].stage, Stage::Capturing { .. }) {
            self.tell_of_hang(index, stack);
            self.kill(index);
        }
    }

    /// Tells that a worker is blocked, if it is and that has not been told, and then what has followed from it.
    pub(super) fn tell_of_hang(&mut self, index: usize, stack: Option<String>) {
        let member = &mut self.members[index];
        let (Some(worker), Stage::Capturing { until, silent_for }) = (member.id, member.stage) else {
            return;
        };
        let (slot, untold) = (member.place.slot(), std::mem::take(&mut member.untold));
        self.tell(Event::Unresponsive { worker, slot, silent_for, stack });
        // Part of the wait is over.
        let passed = CAPTURE.saturating_sub(until.saturating_sub(self.now));
        for mut event in untold {
            if let Event::Restart { delay, .. } | Event::Backoff { delay, .. } = &mut event {
                *delay = delay.saturating_sub(passed);
            }
            self.tell(event);
        }
    }

    /// Whether nothing is left to be told of workers that are blocked.
    pub(super) fn is_all_told(&self) -> bool {
        !self.members.iter().any(|member| matches!(member.stage, Stage::Capturing { .. }))
    }

    /// Says when to look next, if there is anything to look for.
    pub(super) fn plan_samples(&mut self) {
        let Recycle { memory, connections, .. } = self.options.recycle;
        let curious = self.options.unresponsive_after.is_some() || memory.is_some() || connections.is_some();
        let running = matches!(self.run, Run::Running);
        if !(curious && running && self.members.iter().any(Member::is_ready)) {
            self.samples_at = None;
        } else if self.samples_at.is_none() {
            self.samples_at = Some(self.in_time(self.options.sample_period));
        }
    }
}
