//! Which workers there are to be: the brain of supervision.

mod messages;
mod options;
mod stats;

pub use self::messages::{
    By, Cause, Event, Excess, ExitKind, Failure, Input, KillSignal, Output, Phase, Reason, Scope, Time,
    Vitals, Why,
};
pub use self::options::{
    Backoff, Intensity, MAX_WORKERS, OnGiveUp, Options, ReadyWhen, Recycle, RestartPolicy,
};
pub use self::stats::{SlotState, SlotStats, Stats};
use super::random::Random;

/// Decides. Made once, fed with everything that happens, never asked for anything else.
#[derive(Debug)]
pub struct Supervise {
    options: Options,
    random: Random,
    deadline: Option<Time>,
    samples_at: Option<Time>,
}

impl Supervise {
    /// A cluster that is not started yet. The seed is for what differs at random: waits and limits.
    #[must_use]
    pub fn new(options: Options, seed: u64) -> Self {
        Self { options, random: Random::new(seed), deadline: None, samples_at: None }
    }

    /// When to give [`Input::Tick`] if nothing happens before. None when there is nothing to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// When to look at the workers: from then on, give [`Input::Vitals`] of each, then [`Input::Tick`].
    /// Never earlier than [`Self::next_deadline`]. None when nobody needs to be looked at.
    #[must_use]
    pub fn samples_at(&self) -> Option<Time> {
        self.samples_at
    }

    /// Takes in what happened and says what to do about it.
    ///
    /// The outputs are appended to `out`. Carry them all out, in order, before the next input.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        let _ = (now, input, out, &mut self.random);
    }

    /// How it stands.
    #[must_use]
    pub fn stats(&self, _now: Time) -> Stats {
        Stats {
            workers: self.options.workers,
            ready: 0,
            processes: 0,
            draining: 0,
            standbys_ready: 0,
            standbys_starting: 0,
            restarts: 0,
            reloading: false,
            shutting_down: false,
            slots: Vec::new(),
        }
    }

    /// Says which rule is broken, if one is.
    ///
    /// # Errors
    /// The broken rule in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        Ok(())
    }
}
