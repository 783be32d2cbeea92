//! Workers that accept by themselves, and whether they do. See [`crate::core::vigil`].

use super::{Shell, Token};
use crate::core::dispatch::Input;
use crate::core::ids::{ListenerId, WorkerId};
use crate::io::dispatcher::listening::Tokens;
use crate::sys::error::SysError;
use crate::sys::schedule::{is_runnable, time_on_cpu};

/// By what the events of a listener are known.
pub(super) fn tokens(listener: ListenerId) -> Tokens {
    Tokens { clients: Token::Listener(listener).pack(), knock: Token::Knock(listener).pack() }
}

impl Shell {
    /// A client has come to a socket that was quiet.
    pub(super) fn knock(&mut self, listener: ListenerId) -> Result<(), SysError> {
        if self.vigil.is_awake(listener) {
            return Ok(());
        }
        // From now on it is looked at anyway, and its other sockets need not knock as well.
        if let Some(listening) = self.listeners.get(&listener) {
            listening.ask_for_knocks(&self.poller, tokens(listener).knock, false)?;
        }
        self.look_at(listener)
    }

    /// Looks at those that are due.
    pub(super) fn keep_vigil(&mut self) -> Result<(), SysError> {
        let due: Vec<ListenerId> = self.vigil.due(self.now).collect();
        due.into_iter().try_for_each(|listener| self.look_at(listener))
    }

    fn look_at(&mut self, listener: ListenerId) -> Result<(), SysError> {
        let Some(listening) = self.listeners.get(&listener) else {
            self.vigil.forget(listener);
            return Ok(());
        };
        let board = |worker| self.workers.get(&worker).map(|channel| &*channel.board);
        let pid = |worker| self.workers.get(&worker).map(|channel| channel.pid);
        let sights = listening.sights(board, |worker| time_on_cpu(pid(worker)?))?;
        let is_runnable = |slot| listening.negligent(&[slot]).into_iter().filter_map(pid).any(is_runnable);
        let finding = self.vigil.look(self.now, listener, &sights, is_runnable);
        if finding.quiet {
            return listening.ask_for_knocks(&self.poller, tokens(listener).knock, true);
        }
        for worker in listening.negligent(&finding.neglected) {
            self.input(Input::Neglects { worker })?;
        }
        Ok(())
    }

    /// What comes to the worker's slot is accepted here from now on, or no longer.
    pub(super) fn stand_in(
        &mut self,
        worker: WorkerId,
        listener: ListenerId,
        stand_in: bool,
    ) -> Result<(), SysError> {
        if let Some(listening) = self.listeners.get_mut(&listener) {
            listening.stand_in(worker, stand_in);
        }
        self.arrange(listener)
    }
}
