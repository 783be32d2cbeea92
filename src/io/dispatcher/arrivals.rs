//! Accepted connections for which a worker cannot be chosen yet: the client has not sent its key, or the app
//! has not answered the hook.

use std::time::Duration;

use super::connection::{AwaitingHook, Conn, address_of};
use super::listeners::Listeners;
use super::preread::{Preread, Recognized};
use super::recognize::{look, recognized};
use super::tools::Tools;
use rcluster_core::hook::{Answer, Batch, HookCounts, HookQueue};
use rcluster_core::ids::ListenerId;
use rcluster_core::schedule::{Key, Plan, Policy, Verdict};
use rcluster_sys::client::peer;
use rcluster_sys::closer::Descriptor;

/// A connection for which a worker can be chosen.
pub(super) type Arrived = (ListenerId, Conn);

#[derive(Default)]
pub(super) struct Arrivals {
    preread: Preread,
    hook: HookQueue<AwaitingHook>,
}

impl Arrivals {
    /// Whether no connection waits for its content or for the app's choice.
    pub(super) fn is_empty(&self) -> bool {
        self.preread.is_empty() && self.hook.waiting() == 0
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        [self.preread.next_deadline(), self.hook.next_deadline()].into_iter().flatten().min()
    }

    /// Takes in a new client. Returns a connection that need not wait: this one, or the one that has waited
    /// longest.
    pub(super) fn enter(
        &mut self,
        listener: ListenerId,
        fd: Descriptor,
        listeners: &Listeners,
        tools: &Tools,
    ) -> Option<Arrived> {
        let plan = match listeners.plan(listener) {
            Some(plan) if plan.policy == Policy::Hook => {
                return self.ask(listener, AwaitingHook::new(fd), plan, tools);
            }
            Some(plan) if plan.policy == Policy::Sticky => plan,
            Some(_) | None => return Some((listener, Conn::new(fd, None))),
        };
        let peer = peer(&fd).map(address_of);
        if !plan.preread.is_needed() {
            return Some((listener, recognized(fd, peer.map(Key::from))));
        }
        match look(&plan.preread, &fd, peer, false) {
            Verdict::Decided(key) => Some((listener, recognized(fd, key))),
            Verdict::Undecided => {
                let until = tools.now() + plan.preread_timeout;
                let at_once = self.preread.enter(listener, fd, peer, until, tools.poller())?;
                self.preread_again(at_once, true, listeners, tools)
            }
        }
    }

    fn ask(
        &mut self,
        listener: ListenerId,
        conn: AwaitingHook,
        plan: &Plan,
        tools: &Tools,
    ) -> Option<Arrived> {
        let until = tools.now() + plan.hook_timeout;
        let unasked = self.hook.enter(listener, conn, until)?;
        Some((listener, unasked.answered(None)))
    }

    /// Calls the hook for a connection that a worker has handed over, because the worker chosen before may
    /// have exited. Returns the connection if it need not wait.
    pub(super) fn ask_again(
        &mut self,
        listener: ListenerId,
        conn: Conn,
        listeners: &Listeners,
        tools: &Tools,
    ) -> Option<Arrived> {
        let timeout = listeners.plan(listener).map(|plan| plan.hook_timeout);
        let until = tools.now() + timeout.unwrap_or_default();
        let unasked = self.hook.enter(listener, conn.into_awaiting(), until)?;
        Some((listener, unasked.answered(None)))
    }

    /// A client has sent more, or its time is up (`last`). Returns the connection if it need not wait any
    /// longer.
    pub(super) fn preread_again(
        &mut self,
        number: u32,
        last: bool,
        listeners: &Listeners,
        tools: &Tools,
    ) -> Option<Arrived> {
        let rule = |listener| listeners.plan(listener).map(|plan| &plan.preread);
        let Recognized { listener, fd, key } = self.preread.look(number, rule, last, tools.poller())?;
        Some((listener, recognized(fd, key)))
    }

    /// A client whose time for sending its key is up.
    pub(super) fn overdue_preread(&self, now: Duration) -> Option<u32> {
        self.preread.overdue(now)
    }

    /// Connections for the hook, if there are any and no other batch is unanswered.
    pub(super) fn next_batch(&mut self) -> Option<Batch<'_, AwaitingHook>> {
        self.hook.next_batch()
    }

    /// The app has answered the hook.
    pub(super) fn answered(&mut self, batch: u32, answers: Vec<Answer>) -> Vec<Arrived> {
        let decided = self.hook.answered(batch, answers);
        decided.into_iter().map(|(listener, conn, worker)| (listener, conn.answered(worker))).collect()
    }

    /// Connections whose time for an answer is up.
    pub(super) fn overdue_hook(&mut self, now: Duration) -> Vec<Arrived> {
        if self.hook.next_deadline().is_none_or(|deadline| deadline > now) {
            return Vec::new();
        }
        let overdue = self.hook.overdue(now);
        overdue.into_iter().map(|(listener, conn)| (listener, conn.answered(None))).collect()
    }

    /// The counts of the hook, and the number of connections that wait for answers.
    pub(super) fn hook_report(&self) -> (HookCounts, usize) {
        (self.hook.counts(), self.hook.waiting())
    }
}
