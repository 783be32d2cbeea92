//! Whether the other native threads turn: each is asked to answer at its place among its commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::forwarding::Forwarding;
use crate::io::barrier::Barrier;
use crate::io::dispatcher::{Command, Dispatcher};

/// The native threads besides the control thread, which asks.
#[derive(Clone, Copy)]
pub(super) struct Threads<'a> {
    pub(super) dispatcher: &'a Dispatcher,
    pub(super) forwarding: &'a Forwarding,
}

/// What the threads were asked, and have answered.
#[derive(Debug, Default)]
pub(super) struct Probes {
    dispatcher: Probe,
    forwarder: Probe,
}

impl Probes {
    /// Which thread has not answered.
    pub(super) fn unanswered(&self) -> Option<&'static str> {
        if self.dispatcher.is_unanswered() {
            return Some("dispatcher");
        }
        self.forwarder.is_unanswered().then_some("forwarder")
    }

    /// Gives every thread a reason to turn. To be called when all have answered: so no more than one question waits in
    /// the queue of a thread that is blocked.
    pub(super) fn ask(&mut self, threads: Threads<'_>) {
        let answer = self.dispatcher.ask();
        threads.dispatcher.tell(Command::Barrier(Barrier::new(answer)));
        if threads.forwarding.is_running() {
            threads.forwarding.barrier(Barrier::new(self.forwarder.ask()));
        }
    }
}

/// One thread's. A thread that has ended drops the question and never answers.
#[derive(Debug, Default)]
struct Probe {
    asked: u64,
    answered: Arc<AtomicU64>,
}

impl Probe {
    fn is_unanswered(&self) -> bool {
        self.answered.load(Ordering::Relaxed) != self.asked
    }

    /// What the thread does as its answer.
    fn ask(&mut self) -> impl FnOnce() + Send + 'static {
        self.asked += 1;
        let (asked, answered) = (self.asked, Arc::clone(&self.answered));
        move || answered.store(asked, Ordering::Relaxed)
    }
}
