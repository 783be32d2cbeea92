//! Workers that accept by themselves, and whether they do. See [`rcluster_core::vigil`].

use super::{Shell, Token};
use crate::io::dispatcher::listening::Tokens;
use rcluster_core::dispatch::Input;
use rcluster_core::ids::{ListenerId, WorkerId};
use rcluster_sys::schedule::{is_runnable, time_on_cpu};

/// By what the events of a listener are known.
pub(super) fn tokens(listener: ListenerId) -> Tokens {
    Tokens { clients: Token::Listener(listener).pack(), knock: Token::Knock(listener).pack() }
}

impl Shell {
    /// A client has come to a socket that was quiet.
    pub(super) fn knock(&mut self, listener: ListenerId) {
        if self.vigil.is_awake(listener) {
            return;
        }
        // From now on it is looked at anyway, and its other sockets need not knock as well.
        self.ask_for_knocks(listener, false);
        self.look_at(listener);
    }

    /// Looks at those that are due.
    pub(super) fn keep_vigil(&mut self) {
        let due: Vec<ListenerId> = self.vigil.due(self.now).collect();
        for listener in due {
            self.look_at(listener);
        }
    }

    fn ask_for_knocks(&mut self, listener: ListenerId, wanted: bool) {
        let Some(listening) = self.listeners.get_mut(&listener) else { return };
        if let Err(error) = listening.ask_for_knocks(&self.poller, tokens(listener).knock, wanted) {
            self.try_later(error);
        }
    }

    fn look_at(&mut self, listener: ListenerId) {
        self.replace_shut(listener);
        let Some(listening) = self.listeners.get(&listener) else {
            self.vigil.forget(listener);
            return;
        };
        let board = |worker| self.workers.get(&worker).map(|channel| &*channel.board);
        let pid = |worker| self.workers.get(&worker).map(|channel| channel.pid);
        let sights = match listening.sights(board, |worker| time_on_cpu(pid(worker)?)) {
            Ok(sights) => sights,
            // A listener at which nobody can look is looked at again when there is memory for it.
            Err(error) => {
                self.vigil.forget(listener);
                return self.try_later(error);
            }
        };
        let is_runnable = |slot| listening.negligent(&[slot]).into_iter().filter_map(pid).any(is_runnable);
        let finding = self.vigil.look(self.now, listener, &sights, is_runnable);
        if finding.quiet {
            return self.ask_for_knocks(listener, true);
        }
        for worker in listening.negligent(&finding.neglected) {
            self.input(Input::Neglects { worker });
        }
    }

    /// What comes to the worker's slot is accepted here from now on, or no longer.
    pub(super) fn stand_in(&mut self, worker: WorkerId, listener: ListenerId, stand_in: bool) {
        if let Some(listening) = self.listeners.get_mut(&listener) {
            listening.stand_in(worker, stand_in);
        }
        self.arrange(listener);
    }
}
