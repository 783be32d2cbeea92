//! One listener inside the dispatcher: a socket, or one for each slot.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::SocketsReport;
use super::acceptor::Outcome;
use super::outcomes::SocketNumber;
use super::socket::{Accepted, Socket, Tokens, Watch};
use super::watched::Watched;
use rcluster_core::accept_watch::Sample;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::schedule::Plan;
use rcluster_sys::closer::{Closer, Descriptor};
use rcluster_sys::epoll::Poller;
use rcluster_sys::error::SysError;
use rcluster_sys::listen::group::{Group, steer};
use rcluster_sys::listen::{Backlog, BoundPath, Look, backlog, listening_address, look};
use rcluster_sys::scoreboard::Scoreboard;

/// The backlog of a replacement socket: Node's default. The backlog of a socket that was shut down cannot be
/// read.
const REPLACEMENT_BACKLOG: i32 = 511;

/// A worker that accepts by itself.
struct Member {
    slot: Slot,
    /// Whether the dispatcher accepts on its behalf for now.
    on_behalf: bool,
}

/// A listener.
pub(super) struct Listening {
    /// Dropped first: while the socket is open, its file's inode cannot be reused.
    path: Option<BoundPath>,
    /// If there is one for each slot, in the order of their indices in the kernel's group.
    sockets: Vec<Socket>,
    /// The number of the latest socket of a slot.
    latest: SocketNumber,
    /// Closes the sockets of slots, which workers also hold.
    closer: Closer,
    /// Closes the connections accepted from them.
    connections: Closer,
    /// Whether the app has been warned that a worker has shut down a socket.
    pub(super) reported_shut: bool,
    pub(super) name: String,
    pub(super) plan: Plan,
    /// The answer for clients that are shed; without it, the connection is reset.
    pub(super) answer: Option<Vec<u8>>,
    /// The workers that accept by themselves, from the sockets of their slots.
    members: BTreeMap<WorkerId, Member>,
    /// Whether the brain wants its connections.
    pub(super) wanted: bool,
    /// Whether its sockets are about to be closed.
    is_last_call: bool,
}

impl Listening {
    pub(super) fn new(socket: Option<OwnedFd>, path: Option<BoundPath>, name: String, plan: Plan) -> Self {
        let answer = plan.overload.action.response();
        Self {
            path,
            sockets: socket.into_iter().map(Socket::own).collect(),
            latest: SocketNumber::default(),
            closer: Closer::new(),
            connections: Closer::new(),
            reported_shut: false,
            name,
            plan,
            answer,
            members: BTreeMap::new(),
            wanted: false,
            is_last_call: false,
        }
    }

    /// Adds a socket in place of those whose file is gone. They stay while clients wait there. Must be followed by
    /// [`Listening::watch`].
    pub(super) fn add_socket(&mut self, fd: OwnedFd, path: Option<BoundPath>, poller: &Poller) {
        self.path = path;
        let is_done = |socket: &Socket| socket.slot().is_none() && !socket.has_client();
        self.sockets.extract_if(.., |socket| is_done(socket)).for_each(|mut socket| socket.forget(poller));
        self.sockets.push(Socket::own(fd));
    }

    /// Adds the socket of a slot. Returns true if it replaces one that a worker has shut down. Must then be
    /// followed by [`Listening::arrange`].
    pub(super) fn add_slot(&mut self, slot: Slot, fd: OwnedFd, poller: &Poller) -> bool {
        let replaced = self.take_out(slot, poller).is_some();
        self.latest.0 = self.latest.0.wrapping_add(1);
        let socket = Descriptor::foreign(fd, &self.closer);
        self.sockets.push(Socket::of_slot(socket, slot, self.latest));
        replaced
    }

    /// From now on a worker accepts from the socket of its slot. Must be followed by [`Listening::arrange`].
    pub(super) fn occupy(&mut self, worker: WorkerId, slot: Slot) {
        if self.sockets.iter().any(|socket| socket.slot() == Some(slot)) {
            self.members.entry(worker).or_insert(Member { slot, on_behalf: false });
        }
    }

    /// Starts or stops accepting on behalf of this worker. Must be followed by [`Listening::arrange`].
    pub(super) fn accept_on_behalf(&mut self, worker: WorkerId, accept_on_behalf: bool) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.on_behalf = accept_on_behalf;
        }
    }

    /// The workers that accept from the socket of this slot.
    fn workers_of(&self, slot: Slot) -> impl Iterator<Item = WorkerId> {
        self.members.iter().filter(move |(_, it)| it.slot == slot && !it.on_behalf).map(|(worker, _)| *worker)
    }

    fn is_occupied(&self, slot: Option<Slot>) -> bool {
        slot.is_some_and(|slot| self.workers_of(slot).next().is_some())
    }

    /// Samples of the sockets from which workers accept. `board` returns the scoreboard of a worker, `ran`
    /// its CPU time.
    pub(super) fn samples<'a>(
        &self,
        board: impl Fn(WorkerId) -> Option<&'a Scoreboard>,
        ran: impl Fn(WorkerId) -> Option<Duration>,
    ) -> Result<Vec<Sample>, SysError> {
        let occupied: Vec<(&Watched, Slot)> = self
            .sockets
            .iter()
            .filter_map(|socket| Some((socket.fd(), socket.slot()?)))
            .filter(|(_, slot)| self.is_occupied(Some(*slot)))
            .collect();
        let looks = look(occupied.iter().map(|(fd, _)| *fd))?;
        let sample = |((_, slot), look): ((&Watched, Slot), Look)| {
            let waiting = look == Look::Client;
            let boards = || self.workers_of(slot).filter_map(&board);
            Sample {
                slot,
                accepted: boards().map(Scoreboard::accepted).fold(0, u64::wrapping_add),
                busy: boards().map(Scoreboard::busy).fold(Duration::ZERO, Duration::saturating_add),
                waiting,
                ran: self.workers_of(slot).filter(|_| waiting).filter_map(&ran).sum(),
            }
        };
        Ok(occupied.into_iter().zip(looks).map(sample).collect())
    }

    /// The workers that accept from the sockets of these slots.
    pub(super) fn workers_of_slots(&self, slots: &[Slot]) -> Vec<WorkerId> {
        slots.iter().flat_map(|slot| self.workers_of(*slot)).collect()
    }

    /// Starts one-shot reports of a waiting client, present or next, on every socket that is watched for its
    /// first client; or stops them.
    pub(super) fn watch_for_first_client(
        &mut self,
        poller: &Poller,
        token: u64,
        wanted: bool,
    ) -> Result<(), SysError> {
        let watching = self.sockets.iter_mut().filter(|socket| socket.watch() == Watch::FirstClient);
        first_error(watching.map(|socket| socket.watch_first_client(poller, token, wanted)))
    }

    /// The addresses of the sockets, and the clients in their backlogs.
    pub(super) fn report(&self) -> SocketsReport {
        let each = || self.sockets.iter().map(|socket| backlog(socket.fd()));
        let sum = |sum: Backlog, it: Backlog| Backlog {
            waiting: sum.waiting.saturating_add(it.waiting),
            limit: sum.limit.saturating_add(it.limit),
        };
        SocketsReport {
            address: self.sockets.first().and_then(|socket| listening_address(socket.fd())),
            policy: self.plan.policy,
            backlog: each().try_fold(Backlog::default(), |all, one| Some(sum(all, one?))),
        }
    }

    /// The worker no longer accepts here. Returns false if it did not before; otherwise must be followed by
    /// [`Listening::arrange`].
    pub(super) fn vacate(&mut self, worker: WorkerId) -> bool {
        self.members.remove(&worker).is_some()
    }

    /// The sockets are about to be closed: from now on every waiting client is accepted, whether the brain wants it or
    /// not, because closing would reset it. Returns false if this has begun before.
    pub(super) fn begin_last_call(&mut self) -> bool {
        self.try_again();
        !std::mem::replace(&mut self.is_last_call, true)
    }

    /// Whether clients of this socket are accepted now, and not by workers.
    fn is_open(&self, socket: &Socket) -> bool {
        let is_last_call = self.is_last_call && !socket.is_resting() && !self.is_occupied(socket.slot());
        socket.watch() == Watch::Clients || is_last_call
    }

    /// Whether the dispatcher's own thread accepts from this socket.
    fn is_ours(&self, socket: &Socket) -> bool {
        socket.slot().is_none() && self.is_open(socket)
    }

    /// Whether the acceptor of this socket is ordered to accept when a client has arrived.
    fn is_for_acceptor(&self, socket: &Socket) -> bool {
        socket.slot().is_some() && self.is_open(socket)
    }

    /// Whether the dispatcher's own thread accepts from any socket.
    pub(super) fn is_watched(&self) -> bool {
        self.sockets.iter().any(|socket| self.is_ours(socket))
    }

    /// Whether clients are accepted on behalf of workers, from sockets that workers also hold.
    pub(super) fn is_ordered(&self) -> bool {
        self.sockets.iter().any(|socket| self.is_for_acceptor(socket))
    }

    /// Whether an order to accept is in progress.
    pub(super) fn is_busy(&self) -> bool {
        self.sockets.iter().any(Socket::is_busy)
    }

    /// Whether a client waits at a socket from which this thread accepts.
    pub(super) fn has_client(&self) -> bool {
        self.sockets.iter().any(|socket| self.is_ours(socket) && socket.has_client())
    }

    /// Accepts from the sockets that no worker holds and that are watched.
    pub(super) fn accept(&mut self) -> Accepted {
        for index in 0..self.sockets.len() {
            if !self.is_ours(&self.sockets[index]) {
                continue;
            }
            match self.sockets[index].accept() {
                Accepted::Nothing => {}
                accepted => return accepted,
            }
        }
        Accepted::Nothing
    }

    /// Starts accepting waiting clients from the sockets that workers also hold. `tell` returns the callback for the
    /// outcomes of a slot's socket. Must be followed by [`Listening::watch`].
    pub(super) fn order<T: Fn(Outcome) + Send + 'static>(
        &mut self,
        tell: impl Fn(Slot, SocketNumber) -> T,
    ) -> Result<(), SysError> {
        for index in 0..self.sockets.len() {
            if self.is_for_acceptor(&self.sockets[index]) {
                self.sockets[index].order(&tell)?;
            }
        }
        Ok(())
    }

    /// The order to accept from a slot's socket has been answered. Returns false if that socket has been replaced.
    pub(super) fn answered(&mut self, slot: Slot, number: SocketNumber) -> bool {
        let Some(socket) = self.sockets.iter_mut().find(|socket| socket.is(slot, number)) else {
            return false;
        };
        socket.answered();
        true
    }

    /// A connection accepted from a socket whose options workers can set.
    pub(super) fn foreign(&self, fd: OwnedFd) -> Descriptor {
        Descriptor::foreign(fd, &self.connections)
    }

    /// Clears earlier failures, so that the sockets are tried again.
    pub(super) fn try_again(&mut self) {
        self.sockets.iter_mut().for_each(Socket::try_again);
    }

    /// The slots whose sockets do not listen any more.
    pub(super) fn shut(&self) -> Result<Vec<Slot>, SysError> {
        let looks = look(self.sockets.iter().map(Socket::fd))?;
        let shut = self.sockets.iter().zip(looks).filter(|(_, look)| *look == Look::Shut);
        Ok(shut.filter_map(|(socket, _)| socket.slot()).collect())
    }

    /// Replaces a socket that a worker has shut down by one from which only the dispatcher accepts: it passes
    /// connections to the workers of this slot from now on. `None` if there is no such socket. Must be
    /// followed by [`Listening::arrange`].
    ///
    /// # Design
    /// There is one replacement for all slots. It stays when the slots have sockets of their own again, because closing it
    /// would reset clients that are connecting.
    pub(super) fn replace(&mut self, slot: Slot, poller: &Poller) -> Option<Result<(), SysError>> {
        let shut = self.take_out(slot, poller)?;
        if self.sockets.iter().any(|socket| socket.slot().is_none()) {
            return Some(Ok(()));
        }
        let opened = Group::of(shut.fd(), REPLACEMENT_BACKLOG).and_then(|group| group.open());
        Some(opened.map(|fd| self.sockets.push(Socket::own(fd))))
    }

    /// Removes the socket of a slot. Its workers accept nothing by themselves any more.
    fn take_out(&mut self, slot: Slot, poller: &Poller) -> Option<Socket> {
        let index = self.sockets.iter().position(|socket| socket.slot() == Some(slot))?;
        // When a socket leaves the group, the kernel gives its index to the last one; `swap_remove` does the
        // same.
        let mut shut = self.sockets.swap_remove(index);
        shut.forget(poller);
        self.members.retain(|_, member| member.slot != slot);
        Some(shut)
    }

    /// Watches the sockets as wanted: for all clients where the dispatcher accepts; for the first client
    /// where a worker accepts, if other workers could help. The dispatcher accepts nothing unless it is
    /// `able` to.
    pub(super) fn watch(&mut self, poller: &Poller, tokens: Tokens, able: bool) -> Result<(), SysError> {
        let wants: Vec<Watch> = self
            .sockets
            .iter()
            .map(|socket| match self.is_occupied(socket.slot()) {
                _ if socket.is_resting() => Watch::Nothing,
                true if self.members.len() > 1 => Watch::FirstClient,
                false if able && self.wanted => Watch::Clients,
                _ => Watch::Nothing,
            })
            .collect();
        let sockets = self.sockets.iter_mut().zip(wants);
        first_error(sockets.map(|(socket, want)| socket.watch_for(want, poller, tokens)))
    }

    /// Tells the kernel to choose among the sockets that have workers. Without workers, the dispatcher
    /// accepts from all.
    pub(super) fn arrange(&self) -> Result<(), SysError> {
        let occupied = (0..).zip(&self.sockets).filter(|(_, socket)| self.is_occupied(socket.slot()));
        let numbers: Vec<u32> = occupied.map(|(number, _)| number).collect();
        match self.sockets.first() {
            Some(first) if !numbers.is_empty() => steer(first.fd(), &numbers),
            _ => Ok(()),
        }
    }

    /// Closes the sockets that no worker holds. Those of slots belong to their workers as well, and have no file.
    pub(super) fn close_sockets(&mut self, poller: &Poller) {
        // From here on another primary may listen at this path, while this one still waits for its workers.
        drop(self.path.take());
        let own = self.sockets.iter_mut().filter(|socket| socket.slot().is_none());
        own.for_each(|socket| socket.forget(poller));
        self.sockets.retain(|socket| socket.slot().is_some());
    }

    /// Closes the sockets and removes the file. The sender is dropped when that has been done.
    pub(super) fn close(mut self, closed: Sender<Infallible>, poller: &Poller) {
        self.closer.drop_when_done(closed);
        self.sockets.iter_mut().for_each(|socket| socket.forget(poller));
        drop(self.path.take());
    }
}

/// Runs all of them, and returns the first error.
fn first_error(all: impl Iterator<Item = Result<(), SysError>>) -> Result<(), SysError> {
    all.fold(Ok(()), Result::and)
}

#[cfg(test)]
mod tests;
