//! What becomes of listeners when workers leave and end.

use std::time::Duration;

use super::{Listeners, Orphan, Phase, State, sole};
use crate::control::listeners::{LINGER, Output};
use crate::ids::{ListenerId, WorkerId};

impl Listeners {
    pub(super) fn left(&mut self, now: Duration, id: WorkerId, replaced: bool, out: &mut Vec<Output>) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.phase = Phase::Left;
        let until = Some(now.saturating_add(LINGER));
        let orphan = Orphan { of: id, until, since: self.inputs, replaced };
        let if_last = (self.expecting || replaced).then_some(orphan);
        for listener in worker.listeners.clone() {
            self.withdraw(id, listener, if_last, out);
        }
        if self.expecting || replaced {
            return;
        }
        // It may have died first. Told to leave, it is not to be replaced all the same.
        let orphaned: Vec<_> = self.orphans().filter(|(_, orphan)| orphan.of == id).collect();
        for (listener, _) in orphaned {
            self.close(listener, out);
        }
    }

    pub(super) fn died(&mut self, id: WorkerId, out: &mut Vec<Output>) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.alive = false;
        let orphan = Orphan { of: id, until: None, since: self.inputs, replaced: false };
        for listener in worker.listeners.clone() {
            self.withdraw(id, listener, Some(orphan), out);
        }
    }

    pub(super) fn settled(&mut self, now: Duration, id: WorkerId) {
        if self.workers.get(&id).is_none_or(|worker| worker.alive) {
            return;
        }
        self.workers.remove(&id);
        for listener in self.all.values_mut() {
            if let State::Open { orphan: Some(orphan), .. } = &mut listener.state
                && orphan.of == id
            {
                orphan.until = Some(now.saturating_add(LINGER));
            }
        }
    }

    /// Takes a worker from one of its listeners. If it was the last one, the listener becomes the
    /// orphan given, or closes where none is given.
    pub(super) fn withdraw(
        &mut self,
        worker: WorkerId,
        id: ListenerId,
        if_last: Option<Orphan>,
        out: &mut Vec<Output>,
    ) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.listeners.remove(&id);
        }
        let Some(listener) = self.all.get_mut(&id) else {
            return;
        };
        match &mut listener.state {
            // What nobody waits for any more closes as soon as it is open.
            State::Opening(waiting) => waiting.retain(|&(waits, _)| waits != worker),
            State::Open { members, orphan, .. } => {
                let before = sole(members);
                if members.remove(&worker) == Some(true) && listener.sharing.has_dispatcher() {
                    out.push(Output::Leave { worker, listener: id });
                }
                let (after, is_vacant) = (sole(members), members.is_empty());
                if is_vacant {
                    *orphan = if_last;
                }
                self.count_sole(before, after);
                if is_vacant && if_last.is_none() {
                    self.close(id, out);
                }
            }
        }
    }
}
