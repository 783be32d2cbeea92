//! Vacant listeners, how long they wait for a member, and which listeners would become vacant if a worker
//! left.

use std::time::Duration;

use super::{Listeners, Phase, State, Vacancy};
use crate::control::listeners::{LINGER, Output};
use crate::ids::{ListenerId, WorkerId};

impl Listeners {
    /// For each worker whose count has changed: the number of listeners that only this worker serves. They
    /// would have no server if the worker left now. Each change is returned once.
    pub fn sole_servers(&mut self) -> Vec<(WorkerId, usize)> {
        let changed = std::mem::take(&mut self.sole_changed);
        let count = |worker| self.workers.get(&worker).map_or(0, |worker| worker.sole);
        changed.into_iter().map(|worker| (worker, count(worker))).collect()
    }

    /// The sole server of a listener has changed, or it has none any more.
    pub(super) fn count_sole(&mut self, before: Option<WorkerId>, after: Option<WorkerId>) {
        if before == after {
            return;
        }
        if let Some(id) = before {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.sole -= 1;
            }
            self.sole_changed.insert(id);
        }
        if let Some(id) = after {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.sole += 1;
            }
            self.sole_changed.insert(id);
        }
    }

    /// Sets whether workers are expected. Once they no longer are, the linger time starts again for all
    /// vacant listeners.
    pub(super) fn expect(&mut self, now: Duration, expecting: bool) {
        if std::mem::replace(&mut self.expecting, expecting) && !expecting {
            self.linger_anew(now);
        }
    }

    /// Restarts the linger time of the vacant listeners, except where the app has not been notified yet:
    /// there the time has not started.
    fn linger_anew(&mut self, now: Duration) {
        for listener in self.all.values_mut() {
            if let State::Open { vacancy: Some(vacancy), .. } = &mut listener.state
                && vacancy.until.is_some()
            {
                vacancy.until = Some(now.saturating_add(LINGER));
            }
        }
    }

    /// Closes the vacant listeners that no worker will open again.
    pub(super) fn close_vacant(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.expecting {
            return;
        }
        let hopeless: Vec<_> = self
            .vacancies()
            .filter(|(_, vacancy)| {
                vacancy.until.is_some_and(|until| !self.may_be_opened(*vacancy) || until <= now)
            })
            .collect();
        for (listener, _) in hopeless {
            self.close(listener, out);
        }
    }

    /// Whether a worker may still want this listener: one that is starting, or one whose first server came up
    /// after the listener became vacant. Such a worker may open its servers one after the other.
    pub(super) fn may_be_opened(&self, vacancy: Vacancy) -> bool {
        vacancy.replaced
            || self.workers.values().any(|worker| match worker.phase {
                Phase::Starting => true,
                Phase::Serving => worker.alive && worker.up.is_some_and(|up| up > vacancy.since),
                Phase::Leaving => false,
            })
    }

    pub(super) fn vacancies(&self) -> impl Iterator<Item = (ListenerId, Vacancy)> {
        self.all.iter().filter_map(|(&id, listener)| match listener.state {
            State::Open { vacancy, .. } => Some((id, vacancy?)),
            State::Opening(_) => None,
        })
    }
}
