//! Supervision once it has begun, the inputs that wait for it, and the answers to probes.

use std::collections::VecDeque;
use std::time::Duration;

use super::readiness::Readiness;
use super::supervise::{Event, Input, Options, Output, Stats, Supervise};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Supervision {
    /// `None` before supervision begins.
    supervise: Option<Supervise>,
    /// Inputs that wait until the outputs of earlier ones have been carried out.
    waiting: VecDeque<Input>,
    is_busy: bool,
    readiness: Readiness,
}

/// The result of an input.
#[derive(Debug)]
pub(super) struct Step {
    /// Whether a slot without a ready worker will get one. To be known before the outputs are carried out.
    pub(super) is_expecting: bool,
    /// To be carried out in order.
    pub(super) outputs: Vec<Output>,
}

impl Supervision {
    /// Begins, unless it has begun before. Returns whether it has.
    pub(super) fn begin(&mut self, options: Options, seed: u64) -> bool {
        let is_new = self.supervise.is_none();
        if is_new {
            self.supervise = Some(Supervise::new(options, seed));
        }
        is_new
    }

    pub(super) fn get(&self) -> Option<&Supervise> {
        self.supervise.as_ref()
    }

    /// Adds an input; dropped before supervision begins. If this returns true, call `next` until it returns
    /// `None`. Otherwise a caller is doing that already, and will get the step of this input.
    pub(super) fn add(&mut self, input: Input) -> bool {
        if self.supervise.is_none() {
            return false;
        }
        self.waiting.push_back(input);
        !std::mem::replace(&mut self.is_busy, true)
    }

    /// Processes the inputs that wait, up to the first one that may have a result.
    pub(super) fn next(&mut self, now: Duration) -> Option<Step> {
        let mut outputs = Vec::new();
        while let Some((supervise, input)) = self.supervise.as_mut().zip(self.waiting.pop_front()) {
            // The tick that comes next evaluates the samples.
            let is_look = matches!(input, Input::Vitals { .. } | Input::Stderr { .. });
            supervise.handle(now, input, &mut outputs);
            if is_look {
                continue;
            }
            let is_expecting = supervise.is_expecting();
            if outputs.iter().any(is_about_readiness) {
                // Enough workers may be ready at this moment, and no longer when a probe checks.
                let _known = self.started(now);
            }
            return Some(Step { is_expecting, outputs });
        }
        self.is_busy = false;
        None
    }

    /// Whether no input waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.is_busy
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.get().and_then(Supervise::next_deadline)
    }

    pub(super) fn is_expecting(&self) -> bool {
        self.get().is_some_and(Supervise::is_expecting)
    }

    pub(super) fn has_worker_or_will(&self) -> bool {
        self.get().is_some_and(Supervise::has_worker_or_will)
    }

    pub(super) fn needs_limits(&self) -> bool {
        self.get().is_some_and(Supervise::needs_limits)
    }

    pub(super) fn stats(&self, now: Duration) -> Option<Stats> {
        self.get().map(|supervise| supervise.stats(now))
    }

    /// Whether enough workers are ready and the cluster is not about to end. The error is the reason.
    pub(super) fn readiness(&self, now: Duration) -> Result<(), String> {
        let (stats, min_ready) = self.count(now)?;
        Readiness::ready(&stats, min_ready)
    }

    /// Whether enough workers have been ready at any time so far. The error says how many are now.
    pub(super) fn started(&mut self, now: Duration) -> Result<(), String> {
        let (stats, min_ready) = self.count(now)?;
        self.readiness.started(&stats, min_ready)
    }

    fn count(&self, now: Duration) -> Result<(Stats, u32), String> {
        let supervise = self.get().ok_or("nothing is supervised")?;
        Ok((supervise.stats(now), supervise.options().min_ready))
    }
}

fn is_about_readiness(output: &Output) -> bool {
    matches!(output, Output::Tell(Event::Ready { .. } | Event::Promote { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::supervise::{ExitKind, Vitals};
    use crate::ids::WorkerId;

    fn begun() -> Supervision {
        let mut supervision = Supervision::default();
        assert!(supervision.begin(Options { workers: 1, ..Options::default() }, 1));
        supervision
    }

    #[test]
    fn before_it_begins_nothing_waits_and_nothing_is_ready() {
        let mut supervision = Supervision::default();
        assert!(!supervision.add(Input::Tick));
        assert!(supervision.is_idle() && supervision.next(Duration::ZERO).is_none());
        assert_eq!(supervision.readiness(Duration::ZERO), Err("nothing is supervised".into()));
        assert_eq!(supervision.started(Duration::ZERO), Err("nothing is supervised".into()));
    }

    #[test]
    fn it_begins_once() {
        let mut supervision = begun();
        assert!(!supervision.begin(Options { workers: 5, ..Options::default() }, 1));
        assert_eq!(supervision.stats(Duration::ZERO).map(|stats| stats.workers), Some(1));
    }

    #[test]
    fn an_input_that_is_added_during_a_step_is_processed_by_a_later_one() {
        let mut supervision = begun();
        assert!(supervision.add(Input::Start));
        let step = supervision.next(Duration::ZERO).unwrap();
        assert!(step.is_expecting);
        assert!(matches!(step.outputs[..], [Output::Spawn(_)]), "{:?}", step.outputs);
        assert!(!supervision.add(Input::Tick), "whoever has taken the first takes this one as well");
        assert!(!supervision.is_idle());
        assert!(supervision.next(Duration::ZERO).unwrap().outputs.is_empty());
        assert!(supervision.next(Duration::ZERO).is_none() && supervision.is_idle());
    }

    #[test]
    fn readiness_is_recorded_even_if_no_probe_asks_meanwhile() {
        let mut supervision = begun();
        let worker = WorkerId(1);
        let mut give = |input| {
            let mut ticket = None;
            supervision.add(input);
            while let Some(Step { outputs, .. }) = supervision.next(Duration::ZERO) {
                let spawned = outputs.iter().find_map(|it| match it {
                    Output::Spawn(order) => Some(order.ticket),
                    _ => None,
                });
                ticket = ticket.or(spawned);
            }
            ticket
        };
        let ticket = give(Input::Start).expect("a worker is ordered");
        give(Input::Spawned { ticket, worker });
        give(Input::Listening { worker });
        give(Input::Exited { worker, exit: ExitKind::Code(1) });
        assert!(supervision.readiness(Duration::ZERO).is_err());
        assert_eq!(supervision.started(Duration::ZERO), Ok(()));
    }

    #[test]
    fn nothing_follows_from_samples_alone() {
        let mut supervision = begun();
        let vitals = Vitals { turns: 1, rss: None, clients: 0, connections: 0 };
        assert!(supervision.add(Input::Vitals { worker: WorkerId(1), vitals }));
        assert!(supervision.next(Duration::ZERO).is_none() && supervision.is_idle());
    }
}
