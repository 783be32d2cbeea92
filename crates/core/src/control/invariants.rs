//! The invariants between any two inputs. The simulation checks them after each step.

use super::Control;
use super::supervise::Supervise;

impl Control {
    /// Checks the invariants.
    ///
    /// # Errors
    /// The broken invariant, in words.
    ///
    /// # Panics
    /// If an invariant of the registry of listeners is broken.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.listeners.check_invariants();
        ensure(self.outbox.is_empty(), || "something is to be done and has not been said".into())?;
        ensure(self.supervision.is_idle(), || "supervision has not been told all".into())?;
        let expecting = self.supervision.is_expecting();
        ensure(self.listeners.is_expecting() == expecting, || {
            format!("workers are owed: {expecting}, and listeners count on the opposite")
        })?;
        for worker in self.supervision.get().into_iter().flat_map(Supervise::workers) {
            ensure(self.workers.is_supervised(worker), || format!("{worker} is supervised and not there"))?;
        }
        for worker in self.standbys.workers() {
            ensure(self.workers.is_supervised(worker), || format!("{worker} is a standby and not there"))?;
            ensure(!self.workers.is_leaving(worker), || format!("{worker} has left and may be promoted"))?;
        }
        for (worker, listener) in self.standbys.held() {
            ensure(self.listeners.is_member(worker, listener), || {
                format!("{worker} would be promoted to {listener}, where it is no member")
            })?;
        }
        match self.supervision.get() {
            Some(supervise) => supervise.check_invariants(),
            None => Ok(()),
        }
    }
}

fn ensure(holds: bool, rule: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule()) }
}
