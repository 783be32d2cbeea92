//! The forwarded connections and their workers. Implements the [`Activity`] by which the brain finds idle
//! ones.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::conn::{Conn, Verdict};
use super::own::Own;
use super::tools::Tools;
use super::workers::Workers;
use super::{ForwarderEvent, FrontOptions};
use rcluster_core::forward::proxy::{self, Endpoints};
use rcluster_core::forward::relay::Side;
use rcluster_core::forward::{Activity, ConnId, Input, Reason, Refusal};
use rcluster_core::ids::WorkerId;
use rcluster_sys::epoll::Event;
use rcluster_sys::stream::{self, Connecting, Name, Transfer, Unanswered};

#[derive(Default)]
pub(super) struct Connections {
    all: HashMap<ConnId, Conn>,
    workers: Workers,
    /// Connections that have used up their turn and could continue.
    again: VecDeque<ConnId>,
    last_id: u64,
}

/// An input for the brain of a front. After [`Input::Connected`], [`Connections::pump`] must follow.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) struct News {
    pub(super) front: usize,
    pub(super) input: Input,
}

impl Activity for Connections {
    fn last_moved(&self, conn: ConnId) -> Duration {
        self.all.get(&conn).map_or(Duration::ZERO, Conn::moved_at)
    }
}

impl Connections {
    pub(super) fn workers(&mut self) -> &mut Workers {
        &mut self.workers
    }

    /// A front has accepted a client.
    pub(super) fn insert(&mut self, front: usize, options: &FrontOptions, client: OwnedFd) -> ConnId {
        self.last_id += 1;
        let id = ConnId(self.last_id);
        self.all.insert(id, Conn::new(front, options, client));
        id
    }

    /// Starts connecting to a worker for a client.
    pub(super) fn connect(&mut self, id: ConnId, worker: WorkerId, tools: &mut Tools) -> Option<News> {
        let conn = self.all.get_mut(&id)?;
        conn.set_worker(worker);
        let own = self.workers.own(worker, conn.front());
        match own.map_or(Err(Unanswered::Absent), Own::begin) {
            Ok(Connecting::Done(upstream)) => self.begin(id, upstream, tools),
            Ok(Connecting::Pending(upstream)) => match conn.wait_for(id, upstream, tools) {
                Ok(()) => None,
                Err(error) => self.refuse(id, Unanswered::Exhausted(error), tools),
            },
            Err(why) => self.refuse(id, why, tools),
        }
    }

    /// Stops connecting for a client; another order follows.
    pub(super) fn give_up(&mut self, id: ConnId) {
        if let Some(conn) = self.all.get_mut(&id) {
            conn.drop_upstream();
        }
    }

    /// Ends a connection on the brain's order.
    pub(super) fn abort(&mut self, id: ConnId, reason: Reason) {
        if let Some(conn) = self.all.remove(&id) {
            match reason {
                Reason::NoWorker => conn.reset(),
                Reason::Idle => drop(conn),
            }
        }
    }

    /// The poller reports an event of one of the two ends.
    pub(super) fn on_event(
        &mut self,
        id: ConnId,
        side: Side,
        event: Event,
        tools: &mut Tools,
    ) -> Option<News> {
        let conn = self.all.get_mut(&id)?;
        if conn.is_pending() && side == Side::Worker {
            return self.on_pending(id, tools);
        }
        if conn.is_open() {
            conn.on_event(side, event.readable, event.writable, event.end);
            return self.pump(id, tools);
        }
        if side == Side::Client {
            // The client's bytes wait for a worker.
            conn.on_event(side, false, false, event.end);
        }
        None
    }

    /// Checks whether connecting to the worker has finished.
    pub(super) fn on_pending(&mut self, id: ConnId, tools: &mut Tools) -> Option<News> {
        let conn = self.all.get_mut(&id)?;
        let upstream = conn.take_pending()?;
        match stream::is_connected(&upstream) {
            None => {
                conn.set_pending(upstream);
                None
            }
            Some(Err(why)) => self.refuse(id, why, tools),
            Some(Ok(())) => match tools.poller().remove(&upstream) {
                Ok(()) => self.begin(id, upstream, tools),
                Err(error) => self.refuse(id, Unanswered::Exhausted(error), tools),
            },
        }
    }

    /// A connection to a worker is established: bytes are moved from now on.
    fn begin(&mut self, id: ConnId, upstream: OwnedFd, tools: &mut Tools) -> Option<News> {
        let conn = self.all.get_mut(&id)?;
        let own = conn.worker().and_then(|worker| self.workers.own(worker, conn.front()));
        let on_port = own.as_ref().is_some_and(|own| own.is_on_port());
        // Must happen before the first byte is sent.
        if let Err(why) = own.map_or(Err(Unanswered::Absent), Own::confirm) {
            return self.refuse(id, why, tools);
        }
        if let Some(version) = conn.proxy() {
            let header = proxy::header(version, &endpoints(conn.client()));
            // The buffer of a new connection has room for it. Any other result means that the worker is gone
            // again.
            if stream::write(&upstream, &header) != Transfer::Done(header.len()) {
                conn.drop_upstream();
                return self.refuse(id, Unanswered::Absent, tools);
            }
        }
        // The kernel limits the number of descriptors that a user may watch.
        if let Err(error) = conn.begin(id, upstream, on_port, tools) {
            return self.refuse(id, Unanswered::Exhausted(error), tools);
        }
        // The client of a second worker may have sent everything already, so it must be pumped.
        Some(News { front: conn.front(), input: Input::Connected { conn: id } })
    }

    /// The worker does not take the connection.
    fn refuse(&mut self, id: ConnId, why: Unanswered, tools: &mut Tools) -> Option<News> {
        let front = self.all.get(&id)?.front();
        if matches!(why, Unanswered::Absent | Unanswered::Foreign(_)) {
            self.doubt(id);
        }
        let why = match why {
            Unanswered::Absent => Refusal::Absent,
            Unanswered::Foreign(uid) => {
                self.warn_of_foreign(id, uid, tools);
                Refusal::Absent
            }
            Unanswered::Saturated => Refusal::Saturated,
            Unanswered::Exhausted(error) => {
                tools.warn(error);
                Refusal::Exhausted
            }
        };
        Some(News { front, input: Input::Refused { conn: id, why } })
    }

    /// The own address of the worker that was tried last, if that worker is still there.
    fn own_of(&mut self, id: ConnId) -> Option<(WorkerId, &mut Own)> {
        let conn = self.all.get(&id)?;
        let worker = conn.worker()?;
        Some((worker, self.workers.own(worker, conn.front())?))
    }

    /// The worker of a connection may have closed its listener.
    fn doubt(&mut self, id: ConnId) {
        if let Some((_, own)) = self.own_of(id) {
            own.doubt();
        }
    }

    /// Another user's process listens on a worker's port. Warned of once for each address.
    fn warn_of_foreign(&mut self, id: ConnId, uid: u32, tools: &Tools) {
        if let Some((worker, own)) = self.own_of(id)
            && own.is_foreign_news()
        {
            tools.tell(ForwarderEvent::Foreign { worker, port: own.value(), uid });
        }
    }

    /// Moves bytes as far as possible, and handles the result.
    pub(super) fn pump(&mut self, id: ConnId, tools: &mut Tools) -> Option<News> {
        let conn = self.all.get_mut(&id).filter(|conn| conn.is_open())?;
        match conn.pump(id, tools) {
            Verdict::Wait => {}
            Verdict::Again => {
                if conn.is_newly_queued() {
                    self.again.push_back(id);
                }
            }
            Verdict::Close => {
                let front = conn.front();
                self.all.remove(&id);
                return Some(News { front, input: Input::Ended { conn: id } });
            }
            // While nothing has been sent, another worker can be tried.
            Verdict::Reset { by: Side::Worker } if conn.is_untouched() => {
                conn.drop_upstream();
                return self.refuse(id, Unanswered::Absent, tools);
            }
            Verdict::Reset { by } => {
                if by == Side::Worker {
                    self.doubt(id);
                }
                return self.reset(id);
            }
            Verdict::Abandon(error) => {
                tools.warn(error);
                return self.reset(id);
            }
        }
        let (front, half_closed) = (conn.front(), conn.is_half_open_news());
        half_closed.then_some(News { front, input: Input::HalfClosed { conn: id } })
    }

    /// Ends a connection so that both sides see a reset.
    fn reset(&mut self, id: ConnId) -> Option<News> {
        let conn = self.all.remove(&id)?;
        let front = conn.front();
        conn.reset();
        Some(News { front, input: Input::Ended { conn: id } })
    }

    /// The number of connections that could continue.
    pub(super) fn again(&self) -> usize {
        self.again.len()
    }

    /// Continues the next connection that could.
    pub(super) fn pump_next(&mut self, tools: &mut Tools) -> Option<News> {
        let id = self.again.pop_front()?;
        self.all.get_mut(&id)?.unqueue();
        self.pump(id, tools)
    }

    /// The connections of a leaving worker on which neither side has sent anything: the worker would close
    /// them unserved. In the order in which they must be refused.
    pub(super) fn unserved(&self, worker: WorkerId) -> Vec<ConnId> {
        let unserved =
            self.all.iter().filter(|(_, conn)| conn.worker() == Some(worker) && conn.is_unserved());
        let mut unserved: Vec<_> = unserved.map(|(id, _)| *id).collect();
        // Newest first, because each one is put at the head of the queue.
        unserved.sort_unstable_by(|a, b| b.cmp(a));
        unserved
    }

    /// Takes a connection away from its worker, for another one.
    pub(super) fn reclaim(&mut self, id: ConnId, tools: &mut Tools) -> Option<News> {
        self.give_up(id);
        self.refuse(id, Unanswered::Absent, tools)
    }

    #[cfg(test)]
    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.all.get(&id)
    }

    #[cfg(test)]
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.all.get_mut(&id)
    }

    #[cfg(test)]
    pub(super) fn ids(&self) -> Vec<ConnId> {
        self.all.keys().copied().collect()
    }
}

/// The client's address, and the address that it connected to.
fn endpoints(client: &OwnedFd) -> Endpoints {
    match (stream::peer_name(client), stream::own_name(client)) {
        (Name::Ip(source), Name::Ip(destination)) => Endpoints::Ip { source, destination },
        (Name::Unix(source), Name::Unix(destination)) => Endpoints::Unix { source, destination },
        _ => Endpoints::Unknown,
    }
}
