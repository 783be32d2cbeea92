//! Looking at workers: does the event loop turn, how much has each of everything?

use std::time::Duration;

use super::health::Loop;
use super::member::{Member, Place, Stage};
use super::options::Recycle;
use super::restart::Loss;
use super::{Event, Output, Run, Supervise, Why};
use crate::ids::WorkerId;

/// How long we wait for the stack of a worker that hangs.
const CAPTURE: Duration = Duration::from_millis(500);

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
            let (Some(worker), Some(vitals)) = (member.id, member.health.take_shown()) else { continue };
            if !member.is_ready() {
                continue;
            }
            if matches!(member.place, Place::Current(_)) {
                member.health.weigh(vitals, &options.recycle);
            }
            match member.health.on_turns(vitals.turns, self.now, options) {
                Loop::Turns => {}
                Loop::StandsStill => self.say(Output::Probe { worker }),
                Loop::Unresponsive { silent_for } => self.hangs(index, worker, silent_for),
            }
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
