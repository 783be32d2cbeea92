//! Listeners with a hook: the app is asked where their connections go.

use std::time::Duration;

use super::Shell;
use crate::io::dispatcher::DispatcherEvent;
use crate::io::dispatcher::connection::{AwaitingHook, Conn};
use crate::io::dispatcher::hook_batch::{HookBatch, HookConnection, HookListener};
use rcluster_core::dispatch::Input;
use rcluster_core::hook::{Answer, Batch};
use rcluster_core::ids::ListenerId;

impl Shell {
    /// Has a connection wait until the app has said where it goes, or until then.
    pub(super) fn wait_for_hook(&mut self, listener: ListenerId, conn: AwaitingHook, until: Duration) {
        if let Some(conn) = self.hook.enter(listener, conn, until) {
            self.input(Input::Accepted { listener, conn: conn.answered(None) });
        }
    }

    /// The same for a connection that a worker has handed over: whom the app chose before need not be there any more.
    pub(super) fn wait_for_hook_again(&mut self, listener: ListenerId, conn: Conn) {
        let timeout = self.listeners.get(&listener).map(|listening| listening.plan.hook_timeout);
        let until = self.now + timeout.unwrap_or_default();
        let Conn { fd, kept, .. } = conn;
        self.wait_for_hook(listener, AwaitingHook { fd, kept }, until);
    }

    /// Asks what there is to be asked.
    pub(super) fn call_hook(&mut self) {
        let Self { hook, listeners, brain, workers, now, .. } = self;
        let Some(Batch { number, conns }) = hook.next_batch() else { return };
        let mut about: Vec<HookListener> = Vec::new();
        let mut last = None;
        for (listener, conn) in conns {
            let Some(listening) = listeners.get(&listener) else {
                // The brain closes it, whatever the answer; but there has to be one for each.
                about.push(HookListener::gone());
                last = None;
                continue;
            };
            if last != Some(listener) {
                let candidates = brain.candidates(listener, *now, &*workers);
                about.push(HookListener { hook: listening.plan.hook, candidates, questions: Vec::new() });
                last = Some(listener);
            }
            if let Some(about) = about.last_mut() {
                about.questions.push(HookConnection::about(conn, &listening.name));
            }
        }
        (self.notify)(DispatcherEvent::Hook(HookBatch { batch: number, about }));
    }

    /// The app has answered.
    pub(super) fn on_hook_answers(&mut self, batch: u32, answers: Vec<Answer>) {
        for (listener, conn, worker) in self.hook.answered(batch, answers) {
            self.input(Input::Accepted { listener, conn: conn.answered(worker) });
        }
    }

    /// Lets in who has waited for an answer long enough.
    pub(super) fn expire_hook(&mut self) {
        if self.hook.next_deadline().is_none_or(|deadline| deadline > self.now) {
            return;
        }
        for (listener, conn) in self.hook.overdue(self.now) {
            self.input(Input::Accepted { listener, conn: conn.answered(None) });
        }
    }
}
