//! The invariants of the registry between any two inputs.

use super::{Listeners, MAX_BYTES, MAX_LISTENERS, Phase, State, sole};
use crate::ids::WorkerId;

impl Listeners {
    /// Checks the invariants.
    ///
    /// # Panics
    /// If one is broken, with a message.
    pub fn check_invariants(&self) {
        for (key, id) in &self.names {
            let named = self.all.get(id).unwrap_or_else(|| panic!("{key:?} names {id}, which is closed"));
            assert_eq!(&named.key, key, "{id} goes by another's name");
        }
        for (&id, listener) in &self.all {
            assert!(id.0 < self.next, "{id} has a number that is still to come");
            let present: Vec<WorkerId> = match &listener.state {
                State::Opening(waiting) => waiting.iter().map(|&(worker, _)| worker).collect(),
                State::Open { members, .. } => members.keys().copied().collect(),
            };
            for worker in &present {
                assert!(self.workers[worker].listeners.contains(&id), "{worker} does not know of {id}");
            }
            if let State::Open { members, vacancy, .. } = &listener.state {
                assert_eq!(
                    members.is_empty(),
                    vacancy.is_some(),
                    "{id} is open for nobody, or vacant with members"
                );
            }
        }
        for (id, vacancy) in self.vacancies() {
            match vacancy.until {
                None => assert!(!self.workers[&vacancy.of].alive, "{id}: its last worker is alive"),
                Some(_) => {
                    assert!(self.expecting || self.may_be_opened(vacancy), "{id} waits for nobody");
                }
            }
        }
        for (id, worker) in &self.workers {
            let kept = self.all.values().flat_map(|listener| &listener.kept);
            let kept: usize = kept.filter(|(of, _)| of == id).map(|(_, bytes)| bytes).sum();
            assert_eq!(worker.kept, kept, "{id} is charged with what is not there");
            assert!(kept <= MAX_BYTES, "{id} has brought too much");
            let only = |listener: &&super::Listener| match &listener.state {
                State::Open { members, .. } => sole(members) == Some(*id),
                State::Opening(_) => false,
            };
            assert_eq!(worker.sole, self.all.values().filter(only).count(), "{id} serves alone elsewhere");
            assert!(worker.listeners.len() <= MAX_LISTENERS, "{id} has too many listeners");
            let gone = !worker.alive || worker.phase == Phase::Leaving;
            assert!(!gone || worker.listeners.is_empty(), "{id} is gone and has listeners");
            for listener in &worker.listeners {
                let known = match &self.all[listener].state {
                    State::Opening(waiting) => waiting.iter().any(|(waits, _)| waits == id),
                    State::Open { members, .. } => members.contains_key(id),
                };
                assert!(known, "{listener} does not know of {id}");
            }
        }
    }
}
