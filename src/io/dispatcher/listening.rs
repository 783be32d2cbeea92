//! One listener, as the dispatcher knows it: a socket, or one for each slot.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::acceptor::{Acceptor, Outcome};
use super::watched::Watched;
use rcluster_core::accept_watch::Sample;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::schedule::Plan;
use rcluster_sys::closer::{Closer, Descriptor};
use rcluster_sys::epoll::{Interest, Poller};
use rcluster_sys::error::SysError;
use rcluster_sys::listen::group::{Group, steer};
use rcluster_sys::listen::{BoundPath, Look, accept, has_client, look};
use rcluster_sys::scoreboard::Scoreboard;

/// What came of accepting.
pub(super) enum Accepted {
    Connection(OwnedFd),
    /// No client waits, or it has given up meanwhile.
    Nothing,
    /// There is no descriptor or memory for the client that waits.
    Exhausted(SysError),
    /// The socket is of no use just now, and is left alone until [`Listening::try_again`].
    Refused(SysError),
}

/// A socket that listens.
struct Socket {
    fd: Watched,
    /// Whose workers accept from it by themselves while there are any, and hold it as well as we do.
    slot: Option<Slot>,
    watch: Watch,
    /// Accepts in the workers' stead. Started when it is needed first.
    acceptor: Option<Acceptor>,
    /// It cannot be accepted from, and is left alone until [`Listening::try_again`].
    resting: bool,
}

impl Socket {
    fn new(fd: Descriptor, slot: Option<Slot>) -> Self {
        Self { fd: Watched::new(fd), slot, watch: Watch::Nothing, acceptor: None, resting: false }
    }

    /// Whether we accept from it on our own thread.
    fn is_ours(&self) -> bool {
        self.slot.is_none() && self.watch == Watch::Clients
    }

    /// Whether its acceptor is ordered to accept when a client has come.
    fn is_ordered(&self) -> bool {
        self.slot.is_some() && self.watch == Watch::Clients
    }

    fn is_busy(&self) -> bool {
        self.acceptor.as_ref().is_some_and(Acceptor::is_busy)
    }
}

/// What the poller watches a socket for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    Nothing,
    /// Whatever comes is accepted here.
    Clients,
    /// A worker accepts; it is told once that a client has come.
    FirstClient,
}

/// By what its events are known.
#[derive(Clone, Copy, Default)]
pub(super) struct Tokens {
    pub(super) clients: u64,
    pub(super) first_client: u64,
}

/// How many may wait at a socket that replaces another: what Node has by default. The other does not tell any more.
const REPLACEMENT_BACKLOG: i32 = 511;

/// A worker that accepts by itself.
struct Member {
    slot: Slot,
    /// It cannot just now, and what comes to its slot is accepted here.
    on_behalf: bool,
}

/// A listener.
pub(super) struct Listening {
    /// Where there is one for each slot, in the order of the kernel's numbers for them.
    sockets: Vec<Socket>,
    path: Option<BoundPath>,
    /// Closes what workers hold as well: the sockets of slots, and what was accepted from them.
    closer: Closer,
    /// It has been told that a worker has shut a socket down.
    pub(super) reported_shut: bool,
    pub(super) name: String,
    pub(super) plan: Plan,
    /// What a client is told that is turned away; without it, the connection is reset.
    pub(super) answer: Option<Vec<u8>>,
    /// Who accepts by itself, from the socket of its slot.
    members: BTreeMap<WorkerId, Member>,
    /// The brain wants its connections.
    pub(super) wanted: bool,
}

impl Listening {
    pub(super) fn new(socket: Option<OwnedFd>, path: Option<BoundPath>, name: String, plan: Plan) -> Self {
        let answer = plan.overload.action.response();
        let sockets = socket.into_iter().map(|fd| Socket::new(Descriptor::own(fd), None)).collect();
        Self {
            sockets,
            path,
            closer: Closer::new(),
            reported_shut: false,
            name,
            plan,
            answer,
            members: BTreeMap::new(),
            wanted: false,
        }
    }

    /// Takes in the socket of a slot. True if there was one, which is gone: a worker has shut it down. Then to be followed
    /// by [`Listening::arrange`].
    pub(super) fn add_slot(&mut self, slot: Slot, fd: OwnedFd, poller: &Poller) -> bool {
        let replaced = self.take_out(slot, poller).is_some();
        self.sockets.push(Socket::new(Descriptor::foreign(fd, &self.closer), Some(slot)));
        replaced
    }

    /// A worker accepts from the socket of its slot from now on. To be followed by [`Listening::arrange`].
    pub(super) fn occupy(&mut self, worker: WorkerId, slot: Slot) {
        if self.sockets.iter().any(|socket| socket.slot == Some(slot)) {
            self.members.entry(worker).or_insert(Member { slot, on_behalf: false });
        }
    }

    /// What comes to the slot of this worker is accepted here, or no longer. To be followed by [`Listening::arrange`].
    pub(super) fn accept_on_behalf(&mut self, worker: WorkerId, accept_on_behalf: bool) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.on_behalf = accept_on_behalf;
        }
    }

    /// Those who accept from the socket of this slot.
    fn workers_of(&self, slot: Slot) -> impl Iterator<Item = WorkerId> {
        self.members.iter().filter(move |(_, it)| it.slot == slot && !it.on_behalf).map(|(worker, _)| *worker)
    }

    fn is_occupied(&self, slot: Option<Slot>) -> bool {
        slot.is_some_and(|slot| self.workers_of(slot).next().is_some())
    }

    /// What there is to see of the sockets from which workers accept, whose pages `board` gives,
    /// and of whom `ran` tells how long they have had a CPU.
    pub(super) fn samples<'a>(
        &self,
        board: impl Fn(WorkerId) -> Option<&'a Scoreboard>,
        ran: impl Fn(WorkerId) -> Option<Duration>,
    ) -> Result<Vec<Sample>, SysError> {
        let occupied: Vec<(&Watched, Slot)> = self
            .sockets
            .iter()
            .filter_map(|socket| Some((&socket.fd, socket.slot?)))
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

    /// Has every socket tell of the next client, once, or of one that waits there now; or of none.
    pub(super) fn watch_for_first_client(
        &mut self,
        poller: &Poller,
        token: u64,
        wanted: bool,
    ) -> Result<(), SysError> {
        let interest = if wanted { Interest::Once } else { Interest::Nothing };
        let knocking = self.sockets.iter_mut().filter(|socket| socket.watch == Watch::FirstClient);
        first_error(knocking.map(|socket| socket.fd.watch(poller, token, interest)))
    }

    /// A worker no longer accepts here. False if it did not; otherwise to be followed by [`Listening::arrange`].
    pub(super) fn vacate(&mut self, worker: WorkerId) -> bool {
        self.members.remove(&worker).is_some()
    }

    /// Whether anything is accepted here on our own thread.
    pub(super) fn is_watched(&self) -> bool {
        self.sockets.iter().any(Socket::is_ours)
    }

    /// Whether clients at sockets that workers hold as well are accepted in the workers' stead.
    pub(super) fn is_ordered(&self) -> bool {
        self.sockets.iter().any(Socket::is_ordered)
    }

    /// Whether an order to accept is being carried out.
    pub(super) fn is_busy(&self) -> bool {
        self.sockets.iter().any(Socket::is_busy)
    }

    /// Whether a client waits at one of those that are watched.
    pub(super) fn has_client(&self) -> bool {
        self.sockets.iter().any(|socket| socket.is_ours() && has_client(&socket.fd))
    }

    /// Accepts from one of those that are ours alone and watched.
    pub(super) fn accept(&mut self) -> Accepted {
        for socket in self.sockets.iter_mut().filter(|socket| socket.is_ours()) {
            match accept(&socket.fd) {
                Ok(Some(conn)) => return Accepted::Connection(conn),
                Ok(None) => {}
                // accept(2) also reports errors of the connection itself (ENETDOWN, EPROTO, EPERM by
                // a firewall …): that client is gone and the next one is as good as any.
                Err(error) if error.is_of_the_connection() => {}
                Err(error) if error.is_shortage() => return Accepted::Exhausted(error),
                Err(error) => {
                    socket.resting = true;
                    return Accepted::Refused(error);
                }
            }
        }
        Accepted::Nothing
    }
    /// Has whoever waits at those sockets accepted that workers hold as well. `tell` makes what is called with the
    /// outcomes of one slot. To be followed by [`Listening::watch`].
    pub(super) fn order<T: Fn(Outcome) + Send + 'static>(
        &mut self,
        tell: impl Fn(Slot) -> T,
    ) -> Result<(), SysError> {
        for socket in &mut self.sockets {
            let Some(slot) = socket.slot.filter(|_| socket.watch == Watch::Clients) else { continue };
            if socket.is_busy() || !has_client(&socket.fd) {
                continue;
            }
            let acceptor = match socket.acceptor.take() {
                Some(acceptor) => acceptor,
                None => {
                    Acceptor::start(socket.fd.share(), tell(slot)).inspect_err(|_| socket.resting = true)?
                }
            };
            socket.acceptor.insert(acceptor).order();
        }
        Ok(())
    }

    /// The order to accept at this slot has been answered.
    pub(super) fn answered(&mut self, slot: Slot) {
        let mut acceptors = self.sockets.iter_mut().filter(|socket| socket.slot == Some(slot));
        if let Some(acceptor) = acceptors.find_map(|socket| socket.acceptor.as_mut()) {
            acceptor.answered();
        }
    }

    /// A connection that was accepted from a socket of which workers set the options.
    pub(super) fn foreign(&self, fd: OwnedFd) -> Descriptor {
        Descriptor::foreign(fd, &self.closer)
    }

    /// What is left alone because it failed is tried again.
    pub(super) fn try_again(&mut self) {
        self.sockets.iter_mut().for_each(|socket| socket.resting = false);
    }

    /// The slots whose sockets do not listen any more.
    pub(super) fn shut(&self) -> Result<Vec<Slot>, SysError> {
        let looks = look(self.sockets.iter().map(|socket| &socket.fd))?;
        let shut = self.sockets.iter().zip(looks).filter(|(_, look)| *look == Look::Shut);
        Ok(shut.filter_map(|(socket, _)| socket.slot).collect())
    }

    /// Opens a socket of our own in the place of one that a worker has shut down: workers of this slot get their
    /// connections from us from now on. None if there is no such socket. To be followed by [`Listening::arrange`].
    pub(super) fn replace(&mut self, slot: Slot, poller: &Poller) -> Option<Result<(), SysError>> {
        let shut = self.take_out(slot, poller)?;
        let opened = Group::of(&shut.fd, REPLACEMENT_BACKLOG).and_then(|group| group.open());
        Some(opened.map(|fd| self.sockets.push(Socket::new(Descriptor::own(fd), None))))
    }

    /// Takes out the socket of a slot. Its workers accept nothing by themselves any more.
    fn take_out(&mut self, slot: Slot, poller: &Poller) -> Option<Socket> {
        let index = self.sockets.iter().position(|socket| socket.slot == Some(slot))?;
        // The kernel gives the number of one that goes to the last one.
        let mut shut = self.sockets.swap_remove(index);
        shut.fd.forget(poller);
        self.members.retain(|_, member| member.slot != slot);
        Some(shut)
    }

    /// Watches what is to be accepted here: everything that is wanted, except where a worker accepts by itself; there
    /// for knocks, if others could help. Nothing is accepted while the dispatcher is not `able` to.
    pub(super) fn watch(&mut self, poller: &Poller, tokens: Tokens, able: bool) -> Result<(), SysError> {
        let wants: Vec<Watch> = self
            .sockets
            .iter()
            .map(|socket| match self.is_occupied(socket.slot) {
                _ if socket.resting => Watch::Nothing,
                true if self.members.len() > 1 => Watch::FirstClient,
                false if able && self.wanted => Watch::Clients,
                _ => Watch::Nothing,
            })
            .collect();
        first_error(self.sockets.iter_mut().zip(wants).map(|(socket, want)| {
            let watched = match want {
                Watch::Nothing => socket.fd.watch(poller, 0, Interest::Nothing),
                // Somebody is accepting already.
                Watch::Clients if socket.is_busy() => socket.fd.watch(poller, 0, Interest::Nothing),
                Watch::Clients => socket.fd.watch(poller, tokens.clients, Interest::Level),
                // It may have told already, and is not asked again before somebody has looked.
                Watch::FirstClient if socket.watch == want => Ok(()),
                Watch::FirstClient => socket.fd.watch(poller, tokens.first_client, Interest::Once),
            };
            // What failed is tried again.
            socket.watch = if watched.is_ok() { want } else { Watch::Nothing };
            watched
        }))
    }

    /// Has the kernel choose among the sockets whose workers are there. Without any the dispatcher gets them all.
    pub(super) fn arrange(&self) -> Result<(), SysError> {
        let occupied = (0..).zip(&self.sockets).filter(|(_, socket)| self.is_occupied(socket.slot));
        let numbers: Vec<u32> = occupied.map(|(number, _)| number).collect();
        match self.sockets.first() {
            Some(first) if !numbers.is_empty() => steer(&first.fd, &numbers),
            _ => Ok(()),
        }
    }

    /// Closes the sockets from which connections are accepted here; those of slots are their workers' as well.
    pub(super) fn close_sockets(&mut self, poller: &Poller) {
        let own = self.sockets.iter_mut().filter(|socket| socket.slot.is_none());
        own.for_each(|socket| socket.fd.forget(poller));
        self.sockets.retain(|socket| socket.slot.is_some());
    }

    /// Closes the sockets; the name in the file system goes with them.
    pub(super) fn close(mut self, poller: &Poller) {
        self.sockets.iter_mut().for_each(|socket| socket.fd.forget(poller));
        drop(self.path.take());
    }
}

/// All of them are done, whatever comes of the first.
fn first_error(all: impl Iterator<Item = Result<(), SysError>>) -> Result<(), SysError> {
    all.fold(Ok(()), Result::and)
}
