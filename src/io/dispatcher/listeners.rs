//! All listeners of the dispatcher.

use std::collections::HashMap;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;

use super::listening::Listening;
use super::outcomes::{Outcomes, SocketNumber};
use super::socket::{Accepted, Tokens};
use super::token::Token;
use super::tools::Tools;
use super::workers::Workers;
use super::{DispatcherEvent, SocketsReport};
use rcluster_core::accept_watch::Sample;
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_core::schedule::Plan;
use rcluster_sys::closer::Descriptor;
use rcluster_sys::error::SysError;
use rcluster_sys::listen::BoundPath;
use rcluster_sys::schedule::time_on_cpu;

#[derive(Default)]
pub(super) struct Listeners {
    all: HashMap<ListenerId, Listening>,
    /// Whether the app has been warned that the kernel does not steer.
    reported_unsteered: bool,
}

/// The poller tokens of a listener.
fn tokens(listener: ListenerId) -> Tokens {
    Tokens { clients: Token::Listener(listener).pack(), first_client: Token::FirstClient(listener).pack() }
}

impl Listeners {
    pub(super) fn insert(&mut self, listener: ListenerId, listening: Listening) {
        self.all.insert(listener, listening);
    }

    /// Closes it. The sender is dropped when it is closed.
    pub(super) fn remove(&mut self, listener: ListenerId, closed: Sender<Infallible>, tools: &Tools) {
        if let Some(listening) = self.all.remove(&listener) {
            listening.close(closed, tools.poller());
        }
    }

    /// Its port or path.
    pub(super) fn name(&self, listener: ListenerId) -> Option<&str> {
        self.all.get(&listener).map(|listening| &*listening.name)
    }

    /// Its sockets, for the report.
    pub(super) fn report(&self, listener: ListenerId) -> SocketsReport {
        self.all.get(&listener).map(Listening::report).unwrap_or_default()
    }

    pub(super) fn ids(&self) -> Vec<ListenerId> {
        self.all.keys().copied().collect()
    }

    /// The distribution of its connections.
    pub(super) fn plan(&self, listener: ListenerId) -> Option<&Plan> {
        self.all.get(&listener).map(|listening| &listening.plan)
    }

    /// The answer for clients that are shed; without it, the connection is reset.
    pub(super) fn answer(&self, listener: ListenerId) -> Option<&[u8]> {
        self.all.get(&listener)?.answer.as_deref()
    }

    /// Sets whether the brain wants connections of this listener.
    pub(super) fn want(&mut self, listener: ListenerId, wanted: bool, tools: &mut Tools) {
        if let Some(listening) = self.all.get_mut(&listener) {
            listening.wanted = wanted;
        }
        self.watch(listener, tools);
    }

    /// Watches the sockets as wanted, or none during a shortage of descriptors.
    pub(super) fn watch(&mut self, listener: ListenerId, tools: &mut Tools) {
        let Some(listening) = self.all.get_mut(&listener) else { return };
        let able = tools.admits_clients();
        if let Err(error) = listening.watch(tools.poller(), tokens(listener), able) {
            tools.try_later(error);
        }
    }

    pub(super) fn watch_all(&mut self, tools: &mut Tools) {
        for listener in self.ids() {
            self.watch(listener, tools);
        }
    }

    /// Clears earlier failures, so that [`Listeners::watch_all`] tries again.
    pub(super) fn try_again(&mut self) {
        self.all.values_mut().for_each(Listening::try_again);
    }

    /// Accepts the next client. For the first one of an event, the poller has reported that a client waits.
    /// `None` if there is none.
    pub(super) fn accept(&mut self, listener: ListenerId, is_first: bool) -> Option<Accepted> {
        let listening = self.all.get_mut(&listener).filter(|listening| listening.is_watched())?;
        (is_first || listening.has_client()).then(|| listening.accept())
    }

    /// Accepts the client for which there was no descriptor before.
    pub(super) fn accept_refused(&mut self, listener: ListenerId) -> Option<OwnedFd> {
        match self.all.get_mut(&listener)?.accept() {
            Accepted::Connection(fd) => Some(fd),
            Accepted::Nothing | Accepted::Exhausted(_) | Accepted::Refused(_) => None,
        }
    }

    pub(super) fn has_client(&self, listener: ListenerId) -> bool {
        self.all.get(&listener).is_some_and(Listening::has_client)
    }

    /// The sockets are about to be closed: every waiting client is accepted now. Returns the listeners for which this
    /// is new.
    pub(super) fn begin_last_call(&mut self) -> Vec<ListenerId> {
        let begun =
            self.all.iter_mut().filter_map(|(id, listening)| listening.begin_last_call().then_some(*id));
        begun.collect()
    }

    /// Closes the sockets from which the dispatcher accepts. The listener stays.
    pub(super) fn close_sockets(&mut self, listener: ListenerId, tools: &Tools) {
        if let Some(listening) = self.all.get_mut(&listener) {
            listening.close_sockets(tools.poller());
        }
    }

    /// From now on the worker accepts the connections of its slot, if the listener has a socket for it.
    pub(super) fn occupy(
        &mut self,
        worker: WorkerId,
        slot: Option<Slot>,
        listener: ListenerId,
        tools: &mut Tools,
    ) {
        if let (Some(slot), Some(listening)) = (slot, self.all.get_mut(&listener)) {
            listening.occupy(worker, slot);
            self.arrange(listener, tools);
        }
    }

    /// The worker no longer accepts, on one listener or on all.
    pub(super) fn vacate(&mut self, worker: WorkerId, which: Option<ListenerId>, tools: &mut Tools) {
        let concerned = self.all.iter_mut().filter(|(id, _)| which.is_none_or(|which| which == **id));
        let left: Vec<ListenerId> =
            concerned.filter_map(|(id, listening)| listening.vacate(worker).then_some(*id)).collect();
        for listener in left {
            self.arrange(listener, tools);
        }
    }

    /// Starts or stops accepting on behalf of the worker.
    pub(super) fn accept_on_behalf(
        &mut self,
        worker: WorkerId,
        listener: ListenerId,
        accept_on_behalf: bool,
        tools: &mut Tools,
    ) {
        if let Some(listening) = self.all.get_mut(&listener) {
            listening.accept_on_behalf(worker, accept_on_behalf);
        }
        self.arrange(listener, tools);
    }

    /// Tells the kernel which sockets to use. If that fails, the kernel spreads connections over all
    /// sockets, and those of slots without a worker are accepted here.
    fn arrange(&mut self, listener: ListenerId, tools: &mut Tools) {
        if let Some(Err(error)) = self.all.get(&listener).map(Listening::arrange)
            && !std::mem::replace(&mut self.reported_unsteered, true)
        {
            tools.tell(DispatcherEvent::Unsteered(error));
        }
        self.watch(listener, tools);
    }

    /// Adds a socket in place of one whose file is gone.
    pub(super) fn add_socket(
        &mut self,
        listener: ListenerId,
        socket: OwnedFd,
        path: Option<BoundPath>,
        tools: &mut Tools,
    ) {
        if let Some(listening) = self.all.get_mut(&listener) {
            listening.add_socket(socket, path, tools.poller());
        }
        self.watch(listener, tools);
    }

    /// Adds the socket of a slot, which may replace one that a worker has shut down.
    pub(super) fn add_slot(&mut self, listener: ListenerId, slot: Slot, socket: OwnedFd, tools: &mut Tools) {
        if let Some(listening) = self.all.get_mut(&listener)
            && listening.add_slot(slot, socket, tools.poller())
        {
            self.report_shut(listener, None, tools);
            self.arrange(listener, tools);
        }
        self.watch(listener, tools);
    }

    /// Replaces the sockets that workers have shut down.
    pub(super) fn replace_shut(&mut self, listener: ListenerId, tools: &mut Tools) {
        let Some(Ok(shut)) = self.all.get(&listener).map(Listening::shut) else { return };
        for slot in shut {
            self.replace(listener, slot, tools);
        }
    }

    /// The socket of a slot cannot be used any more: replaces it by one from which only the dispatcher
    /// accepts.
    pub(super) fn replace(&mut self, listener: ListenerId, slot: Slot, tools: &mut Tools) {
        let Some(listening) = self.all.get_mut(&listener) else { return };
        let Some(replaced) = listening.replace(slot, tools.poller()) else { return };
        self.report_shut(listener, replaced.err(), tools);
        self.arrange(listener, tools);
    }

    /// Warns once for each listener that a worker has shut down a socket, and each time that replacing one
    /// failed.
    fn report_shut(&mut self, listener: ListenerId, error: Option<SysError>, tools: &Tools) {
        let Some(listening) = self.all.get_mut(&listener) else { return };
        let told = std::mem::replace(&mut listening.reported_shut, true);
        if !told || error.is_some() {
            tools.tell(DispatcherEvent::Shut { name: listening.name.clone(), error });
        }
    }

    /// Whether clients are accepted on behalf of workers, from sockets that workers also hold.
    pub(super) fn is_ordered(&self, listener: ListenerId) -> bool {
        self.all.get(&listener).is_some_and(Listening::is_ordered)
    }

    /// Starts accepting waiting clients from the sockets that workers also hold.
    pub(super) fn order(&mut self, listener: ListenerId, outcomes: &Outcomes, tools: &mut Tools) {
        let Some(listening) = self.all.get_mut(&listener) else { return };
        if let Err(error) = listening.order(|slot, socket| outcomes.of(listener, slot, socket)) {
            tools.try_later(error);
        }
        // While an acceptor is busy, its socket need not be watched.
        self.watch(listener, tools);
    }

    /// Whether an order to accept is in progress.
    pub(super) fn is_busy(&self, listener: ListenerId) -> bool {
        self.all.get(&listener).is_some_and(Listening::is_busy)
    }

    /// The order to accept from a slot's socket has been answered. Returns false if the socket has been replaced, or the
    /// listener removed.
    pub(super) fn answered(&mut self, listener: ListenerId, slot: Slot, socket: SocketNumber) -> bool {
        self.all.get_mut(&listener).is_some_and(|listening| listening.answered(slot, socket))
    }

    /// Takes a connection accepted from a socket that workers also hold. `None` if the listener has been
    /// removed.
    pub(super) fn foreign(&self, listener: ListenerId, fd: OwnedFd) -> Option<Descriptor> {
        Some(self.all.get(&listener)?.foreign(fd))
    }

    /// Starts or stops one-shot reports of the next client on the sockets from which workers accept.
    pub(super) fn watch_for_first_client(&mut self, listener: ListenerId, wanted: bool, tools: &mut Tools) {
        let Some(listening) = self.all.get_mut(&listener) else { return };
        let token = tokens(listener).first_client;
        if let Err(error) = listening.watch_for_first_client(tools.poller(), token, wanted) {
            tools.try_later(error);
        }
    }

    /// Samples of the sockets from which workers accept. `None` if the listener has been removed.
    pub(super) fn samples(
        &self,
        listener: ListenerId,
        workers: &Workers,
    ) -> Option<Result<Vec<Sample>, SysError>> {
        let ran = |worker| time_on_cpu(workers.pid(worker)?);
        Some(self.all.get(&listener)?.samples(|worker| workers.board(worker), ran))
    }

    /// The workers that accept from the sockets of these slots.
    pub(super) fn workers_of_slots(&self, listener: ListenerId, slots: &[Slot]) -> Vec<WorkerId> {
        self.all.get(&listener).map(|listening| listening.workers_of_slots(slots)).unwrap_or_default()
    }
}
