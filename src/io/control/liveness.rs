//! Whether the other native threads respond: each runs a barrier, in order with its commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::forwarding::Forwarding;
use crate::io::barrier::Barrier;
use crate::io::dispatcher::{Command, Dispatcher};

/// The native threads other than the control thread.
#[derive(Clone, Copy)]
pub(super) struct Threads<'a> {
    pub(super) dispatcher: &'a Dispatcher,
    pub(super) forwarding: &'a Forwarding,
}

/// The barriers sent, and those that have run.
#[derive(Debug, Default)]
pub(super) struct Probes {
    dispatcher: Probe,
    forwarder: Probe,
}

impl Probes {
    /// The thread that has not answered, if there is one.
    pub(super) fn unanswered(&self) -> Option<&'static str> {
        if self.dispatcher.is_unanswered() {
            return Some("dispatcher");
        }
        self.forwarder.is_unanswered().then_some("forwarder")
    }

    /// Sends every thread a barrier. Must only be called when all have answered, so that at most one barrier
    /// waits in the queue of a blocked thread.
    pub(super) fn ask(&mut self, threads: Threads<'_>) {
        let answer = self.dispatcher.ask();
        threads.dispatcher.tell(Command::Barrier(Barrier::new(answer)));
        if threads.forwarding.is_running() {
            threads.forwarding.barrier(Barrier::new(self.forwarder.ask()));
        }
    }
}

/// The barriers of one thread. A thread that has ended drops them and never answers.
#[derive(Debug, Default)]
struct Probe {
    asked: u64,
    answered: Arc<AtomicU64>,
}

impl Probe {
    fn is_unanswered(&self) -> bool {
        self.answered.load(Ordering::Relaxed) != self.asked
    }

    /// The function that the thread runs as its answer.
    fn ask(&mut self) -> impl FnOnce() + Send + 'static {
        self.asked += 1;
        let (asked, answered) = (self.asked, Arc::clone(&self.answered));
        move || answered.store(asked, Ordering::Relaxed)
    }
}
