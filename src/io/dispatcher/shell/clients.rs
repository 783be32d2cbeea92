//! Clients: accepting them, and the steps until a worker can be chosen.

use std::time::{Duration, Instant};

use super::{BURST, Shell};
use crate::io::barrier::Barrier;
use crate::io::dispatcher::DispatcherEvent;
use crate::io::dispatcher::acceptor::Outcome;
use crate::io::dispatcher::arrivals::Arrived;
use crate::io::dispatcher::hook_batch::{HookBatch, HookConnection, HookListener};

use crate::io::dispatcher::outcomes::SlotOutcome;
use crate::io::dispatcher::socket::Accepted;
use rcluster_core::dispatch::Input;
use rcluster_core::hook::{Answer, Batch};
use rcluster_core::ids::{ListenerId, WorkerId};
use rcluster_sys::client::reset;
use rcluster_sys::closer::Descriptor;
use rcluster_sys::error::SysError;
use rcluster_sys::headroom::room_for_clients;

/// The maximum number of bursts accepted before a socket is closed: more than a backlog holds.
const LAST_BURSTS: usize = 128;

/// How long clients that wait at sockets which workers also hold may take to be accepted before those are closed. It ends
/// early unless a worker has blocked such a socket.
const CLOSE_WAIT: Duration = Duration::from_millis(500);

impl Shell {
    /// Clients have arrived at a listener.
    pub(super) fn accept_burst(&mut self, listener: ListenerId) {
        if self.must_wait() {
            return;
        }
        if self.listeners.is_ordered(listener) {
            self.listeners.order(listener, &self.outcomes, &mut self.tools);
        }
        for turn in 0..BURST {
            match self.listeners.accept(listener, turn == 0) {
                Some(Accepted::Connection(fd)) => {
                    self.on_client(listener, Descriptor::own(fd));
                    if self.must_wait() {
                        return;
                    }
                }
                None | Some(Accepted::Nothing) => return,
                Some(Accepted::Exhausted(error)) => return self.on_exhausted(listener, error),
                Some(Accepted::Refused(error)) => {
                    self.tools.try_later(error);
                    return self.listeners.watch(listener, &mut self.tools);
                }
            }
        }
    }

    /// Whether some descriptors are reserved for starting workers. Connections that wait here keep theirs until a worker
    /// takes them, and without a worker nobody does: so they must not have those that starting one needs.
    pub(super) fn must_keep_descriptors(&self) -> bool {
        !self.is_ending && !self.has_none_waiting()
    }

    /// Whether there are descriptors for more clients. The error means that the rest is reserved.
    pub(super) fn room_for_clients(&self, count: usize) -> Result<(), SysError> {
        if self.must_keep_descriptors() { room_for_clients(count) } else { Ok(()) }
    }

    /// Whether further clients must wait in the backlog, because only reserved descriptors are left.
    fn must_wait(&mut self) -> bool {
        let Err(error) = self.room_for_clients(1) else { return false };
        self.tools.warn(error);
        self.tools.hold_clients();
        self.listeners.watch_all(&mut self.tools);
        true
    }

    fn has_none_waiting(&self) -> bool {
        self.brain.waiting() == 0 && self.arrivals.is_empty()
    }

    /// Runs what waits until no connection does.
    pub(super) fn run_when_passed_on(&mut self) {
        if self.has_none_waiting() {
            self.when_passed_on.drain(..).for_each(Barrier::run);
        }
    }

    /// Accepts clients again once no others wait here.
    pub(super) fn release_clients(&mut self) {
        if self.has_none_waiting() && self.tools.release_clients() {
            self.listeners.watch_all(&mut self.tools);
        }
    }

    /// There is no descriptor for a waiting connection. The reserved one is used for it: it is needed only
    /// until the connection has been passed on.
    fn on_exhausted(&mut self, listener: ListenerId, error: SysError) {
        self.tools.warn(error);
        if self.tools.release_reserve() {
            if let Some(fd) = self.listeners.accept_refused(listener) {
                self.on_client(listener, Descriptor::own(fd));
                self.flush();
            }
            if self.tools.refill_reserve() {
                return;
            }
        }
        self.pause();
    }

    /// Accepts all waiting clients and closes the sockets. On return, the accepted connections are on their
    /// way to workers, or wait for one.
    pub(super) fn accept_all_and_close(&mut self) {
        self.is_ending = true;
        let all = self.listeners.begin_last_call();
        for &listener in &all {
            for _ in 0..LAST_BURSTS {
                if !self.listeners.has_client(listener) {
                    break;
                }
                self.accept_burst(listener);
                // A connection that has been passed on needs no descriptor here.
                self.flush();
            }
            self.listeners.order(listener, &self.outcomes, &mut self.tools);
        }
        self.wait_for_orders(&all);
        for &listener in &all {
            self.listeners.close_sockets(listener, &self.tools);
        }
        self.expire_arrivals(Duration::MAX);
        self.flush();
    }

    /// Waits for the clients at sockets that workers also hold, for a limited time.
    fn wait_for_orders(&mut self, listeners: &[ListenerId]) {
        let until = Instant::now() + CLOSE_WAIT;
        let is_busy = |shell: &Self| listeners.iter().any(|&listener| shell.listeners.is_busy(listener));
        while is_busy(self) && Instant::now() < until {
            // A thread that a worker has blocked is not waited for.
            let Some(outcome) = self.outcomes.wait(until) else { return };
            let listener = outcome.listener;
            self.on_slot_outcome(outcome);
            self.flush();
            // One order brings a limited number of clients.
            self.listeners.order(listener, &self.outcomes, &mut self.tools);
        }
    }

    /// Handles the outcomes of accepting from the sockets of slots.
    pub(super) fn take_slot_outcomes(&mut self) {
        while let Some(outcome) = self.outcomes.next() {
            self.on_slot_outcome(outcome);
        }
    }

    fn on_slot_outcome(&mut self, SlotOutcome { listener, slot, socket, outcome }: SlotOutcome) {
        if let Outcome::Connection(fd) = outcome {
            if let Some(fd) = self.listeners.foreign(listener, fd) {
                self.on_client(listener, fd);
            }
            return;
        }
        if !self.listeners.answered(listener, slot, socket) {
            return;
        }
        match outcome {
            Outcome::Connection(_) | Outcome::Done => {
                // The reserve may have been released for this order.
                if !self.tools.refill_reserve() {
                    self.pause();
                }
            }
            Outcome::Failed(error) if error.is_shortage() => {
                self.tools.warn(error);
                if self.tools.release_reserve() {
                    return self.listeners.order(listener, &self.outcomes, &mut self.tools);
                }
                self.pause();
            }
            // Such a socket will never listen again. Whatever the cause, a new one works.
            Outcome::Failed(_) => self.listeners.replace(listener, slot, &mut self.tools),
        }
        self.listeners.watch(listener, &mut self.tools);
    }

    fn on_client(&mut self, listener: ListenerId, fd: Descriptor) {
        let arrived = self.arrivals.enter(listener, fd, &self.listeners, &self.tools);
        self.on_arrived(arrived);
    }

    /// A client has sent more, or its time is up (`last`).
    pub(super) fn on_preread(&mut self, number: u32, last: bool) {
        let arrived = self.arrivals.preread_again(number, last, &self.listeners, &self.tools);
        self.on_arrived(arrived);
    }

    /// A worker can be chosen for these connections.
    pub(super) fn on_arrived(&mut self, arrived: impl IntoIterator<Item = Arrived>) {
        for (listener, conn) in arrived {
            self.input(Input::Accepted { listener, conn });
        }
    }

    /// Ends the wait of clients whose time is up.
    pub(super) fn expire_arrivals(&mut self, now: Duration) {
        while let Some(number) = self.arrivals.overdue_preread(now) {
            self.on_preread(number, true);
        }
        let overdue = self.arrivals.overdue_hook(now);
        self.on_arrived(overdue);
    }

    /// Calls the app's hook, if there are connections for it.
    pub(super) fn call_hook(&mut self) {
        let now = self.tools.now();
        let Some(Batch { number, conns }) = self.arrivals.next_batch() else { return };
        let mut about: Vec<HookListener> = Vec::new();
        let mut last = None;
        for (listener, conn) in conns {
            let (Some(plan), Some(name)) = (self.listeners.plan(listener), self.listeners.name(listener))
            else {
                // The brain closes it whatever the answer, but there must be one answer for each connection.
                about.push(HookListener::closed());
                last = None;
                continue;
            };
            if last != Some(listener) {
                let candidates = self.brain.candidates(listener, now, &self.workers);
                about.push(HookListener { hook: plan.hook, candidates, connections: Vec::new() });
                last = Some(listener);
            }
            if let Some(about) = about.last_mut() {
                about.connections.push(HookConnection::about(conn, name));
            }
        }
        self.tools.tell(DispatcherEvent::Hook(HookBatch { batch: number, about }));
    }

    pub(super) fn on_hook_answers(&mut self, batch: u32, answers: Vec<Answer>) {
        let arrived = self.arrivals.answered(batch, answers);
        self.on_arrived(arrived);
    }

    /// Sheds a client as the plan of its listener specifies.
    pub(super) fn shed(&mut self, listener: ListenerId, connection: Descriptor) {
        match self.listeners.answer(listener) {
            Some(answer) => {
                self.lingering.answer(connection, answer, self.tools.now(), self.tools.poller());
            }
            // The client is gone already, so nothing is lost.
            None => {
                let _gone = reset(connection);
            }
        }
    }

    /// A client has arrived at a quiet socket from which a worker accepts.
    pub(super) fn on_first_client(&mut self, listener: ListenerId) {
        let Self { sampler, listeners, workers, tools, .. } = self;
        let unattended = sampler.on_first_client(listener, listeners, workers, tools);
        self.on_unattended(unattended);
    }

    /// Takes the samples that are due.
    pub(super) fn sample_due(&mut self) {
        for listener in self.sampler.due(self.tools.now()) {
            let Self { sampler, listeners, workers, tools, .. } = self;
            let unattended = sampler.sample(listener, listeners, workers, tools);
            self.on_unattended(unattended);
        }
    }

    fn on_unattended(&mut self, workers: Vec<WorkerId>) {
        for worker in workers {
            self.input(Input::Unattended { worker });
        }
    }
}
