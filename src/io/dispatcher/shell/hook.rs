//! Listeners with a hook: the app is asked where their connections go.

use std::time::Duration;

use super::Shell;
use crate::io::dispatcher::Notice;
use crate::io::dispatcher::connection::{Asked, Conn};
use crate::io::dispatcher::questions::{AboutListener, Question, Questions};
use rcluster_core::dispatch::Input;
use rcluster_core::ids::ListenerId;
use rcluster_core::inquiry::{Answer, Batch};

impl Shell {
    /// Has a connection wait until the app has said where it goes, or until then.
    pub(super) fn inquire(&mut self, listener: ListenerId, conn: Asked, until: Duration) {
        if let Some(conn) = self.inquiry.enter(listener, conn, until) {
            self.input(Input::Accepted { listener, conn: conn.answered(None) });
        }
    }

    /// The same for a connection that a worker has handed over: whom the app chose before need not be there any more.
    pub(super) fn ask_again(&mut self, listener: ListenerId, conn: Conn) {
        let timeout = self.listeners.get(&listener).map(|listening| listening.plan.hook_timeout);
        let until = self.now + timeout.unwrap_or_default();
        let Conn { fd, kept, .. } = conn;
        self.inquire(listener, Asked { fd, kept }, until);
    }

    /// Asks what there is to be asked.
    pub(super) fn ask(&mut self) {
        let Self { inquiry, listeners, brain, workers, now, .. } = self;
        let Some(Batch { number, conns }) = inquiry.next_batch() else { return };
        let mut about: Vec<AboutListener> = Vec::new();
        let mut last = None;
        for (listener, conn) in conns {
            let Some(listening) = listeners.get(&listener) else {
                // The brain closes it, whatever the answer; but there has to be one for each.
                about.push(AboutListener::gone());
                last = None;
                continue;
            };
            if last != Some(listener) {
                let candidates = brain.candidates(listener, *now, &*workers);
                about.push(AboutListener { hook: listening.plan.hook, candidates, questions: Vec::new() });
                last = Some(listener);
            }
            if let Some(about) = about.last_mut() {
                about.questions.push(Question::about(conn, &listening.name));
            }
        }
        (self.notify)(Notice::Asked(Questions { batch: number, about }));
    }

    /// The app has answered.
    pub(super) fn hear_answers(&mut self, batch: u32, answers: Vec<Answer>) {
        for (listener, conn, worker) in self.inquiry.answered(batch, answers) {
            self.input(Input::Accepted { listener, conn: conn.answered(worker) });
        }
    }

    /// Lets in who has waited for an answer long enough.
    pub(super) fn wait_no_longer(&mut self) {
        if self.inquiry.next_deadline().is_none_or(|deadline| deadline > self.now) {
            return;
        }
        for (listener, conn) in self.inquiry.overdue(self.now) {
            self.input(Input::Accepted { listener, conn: conn.answered(None) });
        }
    }
}
