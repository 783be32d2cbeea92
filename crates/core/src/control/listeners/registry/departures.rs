//! What happens to listeners when workers leave or end.

use std::time::Duration;

use super::{Listeners, Phase, State, Vacancy, sole};
use crate::control::listeners::{LINGER, Output};
use crate::ids::{ListenerId, WorkerId};

impl Listeners {
    pub(super) fn on_leaving(&mut self, now: Duration, id: WorkerId, replaced: bool, out: &mut Vec<Output>) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.phase = Phase::Leaving;
        let until = Some(now.saturating_add(LINGER));
        let vacancy = Vacancy { of: id, until, since: self.inputs, replaced };
        let if_last = (self.expecting || replaced).then_some(vacancy);
        for listener in worker.listeners.clone() {
            self.withdraw(id, listener, if_last, out);
        }
        if self.expecting || replaced {
            return;
        }
        // It may have died first. It was asked to leave, so it will not be replaced.
        let vacant: Vec<_> = self.vacancies().filter(|(_, vacancy)| vacancy.of == id).collect();
        for (listener, _) in vacant {
            self.close(listener, out);
        }
    }

    pub(super) fn on_died(&mut self, id: WorkerId, out: &mut Vec<Output>) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.alive = false;
        let vacancy = Vacancy { of: id, until: None, since: self.inputs, replaced: false };
        for listener in worker.listeners.clone() {
            self.withdraw(id, listener, Some(vacancy), out);
        }
    }

    pub(super) fn on_exit_reported(&mut self, now: Duration, id: WorkerId) {
        if self.workers.get(&id).is_none_or(|worker| worker.alive) {
            return;
        }
        self.workers.remove(&id);
        for listener in self.all.values_mut() {
            if let State::Open { vacancy: Some(vacancy), .. } = &mut listener.state
                && vacancy.of == id
            {
                vacancy.until = Some(now.saturating_add(LINGER));
            }
        }
    }

    /// Removes a worker from one of its listeners. If it was the last one, the listener becomes vacant with
    /// the given vacancy, or closes if none is given.
    pub(super) fn withdraw(
        &mut self,
        worker: WorkerId,
        id: ListenerId,
        if_last: Option<Vacancy>,
        out: &mut Vec<Output>,
    ) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.listeners.remove(&id);
        }
        let Some(listener) = self.all.get_mut(&id) else {
            return;
        };
        match &mut listener.state {
            // A listener with no waiting workers closes as soon as it is open.
            State::Opening(waiting) => waiting.retain(|&(waits, _)| waits != worker),
            State::Open { members, vacancy, .. } => {
                let before = sole(members);
                if members.remove(&worker) == Some(true) && listener.sharing.has_dispatcher() {
                    out.push(Output::Leave { worker, listener: id });
                }
                let (after, is_vacant) = (sole(members), members.is_empty());
                if is_vacant {
                    *vacancy = if_last;
                }
                self.count_sole(before, after);
                if is_vacant && if_last.is_none() {
                    self.close(id, out);
                }
            }
        }
    }
}
