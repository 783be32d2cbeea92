//! Workers that accept by themselves, and whether they do. See [`rcluster_core::accept_watch`].

use super::{Shell, Token};
use crate::io::dispatcher::listening::Tokens;
use rcluster_core::dispatch::Input;
use rcluster_core::ids::{ListenerId, WorkerId};
use rcluster_sys::schedule::{is_runnable, time_on_cpu};

/// By what the events of a listener are known.
pub(super) fn tokens(listener: ListenerId) -> Tokens {
    Tokens { clients: Token::Listener(listener).pack(), first_client: Token::FirstClient(listener).pack() }
}

impl Shell {
    /// A client has come to a socket that was quiet.
    pub(super) fn on_first_client(&mut self, listener: ListenerId) {
        if self.accept_watch.is_watching(listener) {
            return;
        }
        // From now on it is looked at anyway, and its other sockets need not report their first clients.
        self.watch_for_first_client(listener, false);
        self.look_at(listener);
    }

    /// Looks at those that are due.
    pub(super) fn sample_due(&mut self) {
        let due: Vec<ListenerId> = self.accept_watch.due(self.now).collect();
        for listener in due {
            self.look_at(listener);
        }
    }

    fn watch_for_first_client(&mut self, listener: ListenerId, wanted: bool) {
        let Some(listening) = self.listeners.get_mut(&listener) else { return };
        if let Err(error) =
            listening.watch_for_first_client(&self.poller, tokens(listener).first_client, wanted)
        {
            self.try_later(error);
        }
    }

    fn look_at(&mut self, listener: ListenerId) {
        self.replace_shut(listener);
        let Some(listening) = self.listeners.get(&listener) else {
            self.accept_watch.forget(listener);
            return;
        };
        let board = |worker| self.workers.get(&worker).map(|channel| &*channel.board);
        let pid = |worker| self.workers.get(&worker).map(|channel| channel.pid);
        let samples = match listening.samples(board, |worker| time_on_cpu(pid(worker)?)) {
            Ok(samples) => samples,
            // A listener at which nobody can look is looked at again when there is memory for it.
            Err(error) => {
                self.accept_watch.forget(listener);
                return self.try_later(error);
            }
        };
        let is_runnable =
            |slot| listening.workers_of_slots(&[slot]).into_iter().filter_map(pid).any(is_runnable);
        let finding = self.accept_watch.look(self.now, listener, &samples, is_runnable);
        if finding.quiet {
            return self.watch_for_first_client(listener, true);
        }
        for worker in listening.workers_of_slots(&finding.unattended) {
            self.input(Input::Unattended { worker });
        }
    }

    /// What comes to the worker's slot is accepted here from now on, or no longer.
    pub(super) fn accept_on_behalf(
        &mut self,
        worker: WorkerId,
        listener: ListenerId,
        accept_on_behalf: bool,
    ) {
        if let Some(listening) = self.listeners.get_mut(&listener) {
            listening.accept_on_behalf(worker, accept_on_behalf);
        }
        self.arrange(listener);
    }
}
