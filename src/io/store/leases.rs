//! Locks of several machines: the request that gets the lock on this machine then requests a lease from the
//! server.

use std::collections::HashMap;

use super::deadlines::Deadlines;
use super::{Command, Hub, identity};
use crate::io::redis::{LeaseServer, LeaseStart};
use rcluster_core::ids::WorkerId;
use rcluster_core::leases::{Input, LeaseId, Want};
use rcluster_core::locks::wire::Terms;
use rcluster_core::locks::{MAX_REQUESTS, Request, RequestId, Space};
use rcluster_core::store::remote::backend::Backend;
use rcluster_sys::error::SysError;

/// Starts the lease server's thread, which sends its decisions to the thread of the stores.
pub(super) fn start_server(backend: Backend, hub: Hub) -> Result<LeaseServer, SysError> {
    let (machine, seed) = identity();
    let start = LeaseStart { backend, machine, seed };
    LeaseServer::start(start, move |outputs| hub.tell(Command::LeaseOutputs(outputs)))
}

/// A request, identified by the token of its process and its own id.
pub(super) type Owner = (u64, RequestId);

/// The largest number of leases of one worker whose requests have ended, and which the server has not released. Beyond it,
/// no more requests of the worker are read. It is as large as the number of requests that end with a link.
const MAX_ENDED: usize = MAX_REQUESTS;

/// A request for a lease that has not ended.
struct Leased {
    worker: Option<WorkerId>,
    want: Want,
    /// See [`Terms::place`].
    place: u32,
    /// Set when the request has the lock on this machine.
    id: Option<LeaseId>,
    /// Set when the lease is granted.
    token: Option<u64>,
}

/// The key of a name on the server.
fn key_of(space: Space, name: &[u8]) -> Option<Vec<u8>> {
    Some([space.leased()?.as_bytes(), b":", name].concat())
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct LeaseRoom {
    server: Option<LeaseServer>,
    /// By the token of the process.
    deadlines: HashMap<u64, Deadlines>,
    requests: HashMap<Owner, Leased>,
    owners: HashMap<LeaseId, Owner>,
    /// Leases whose requests have ended, until they are over. A worker may make and end requests faster than a server
    /// answers, also on one link after the other.
    ended: HashMap<LeaseId, Option<WorkerId>>,
    /// How many of them each process has.
    ended_of: HashMap<Option<WorkerId>, usize>,
    last: u64,
}

impl LeaseRoom {
    /// Sets the server that grants leases.
    pub(super) fn set_server(&mut self, server: LeaseServer) {
        self.server = Some(server);
    }

    pub(super) fn has_server(&self) -> bool {
        self.server.is_some()
    }

    /// A process has opened its link.
    pub(super) fn on_join(&mut self, token: u64, deadlines: Deadlines) {
        self.deadlines.insert(token, deadlines);
    }

    /// A process requests a leased lock. It may have to wait for other processes of this machine.
    pub(super) fn on_request(
        &mut self,
        owner: Owner,
        worker: Option<WorkerId>,
        request: &Request<'_>,
        terms: Terms,
    ) {
        let Some(name) = key_of(request.space, request.name) else { return };
        let want = Want { name, ttl: terms.ttl, otherwise: request.otherwise };
        self.requests.insert(owner, Leased { worker, want, place: terms.place, id: None, token: None });
    }

    /// The request has the lock on this machine. Returns false if it is not a request for a lease.
    pub(super) fn on_turn(&mut self, owner: Owner) -> bool {
        let (Some(leased), Some(server)) = (self.requests.get_mut(&owner), &self.server) else {
            return false;
        };
        self.last += 1;
        let id = LeaseId(self.last);
        leased.id = Some(id);
        self.owners.insert(id, owner);
        server.tell(Input::Want(id, leased.want.clone()));
        true
    }

    /// A request has ended.
    pub(super) fn on_end(&mut self, owner: Owner) {
        let Some(Leased { id: Some(id), worker, .. }) = self.requests.remove(&owner) else { return };
        self.owners.remove(&id);
        self.ended.insert(id, worker);
        *self.ended_of.entry(worker).or_default() += 1;
        if let Some(server) = &self.server {
            server.tell(Input::End(id));
        }
    }

    /// The server keeps nothing for this lease any more.
    pub(super) fn on_over(&mut self, id: LeaseId) {
        let Some(worker) = self.ended.remove(&id) else { return };
        if let Some(count) = self.ended_of.get_mut(&worker) {
            *count -= 1;
            if *count == 0 {
                self.ended_of.remove(&worker);
            }
        }
    }

    /// Whether requests of a process may be read now.
    pub(super) fn has_room_for(&self, worker: Option<WorkerId>) -> bool {
        self.ended_of.get(&worker).is_none_or(|count| *count < MAX_ENDED)
    }

    /// A process has closed its link.
    pub(super) fn on_leave(&mut self, token: u64) {
        self.deadlines.remove(&token);
        let its: Vec<Owner> = self.requests.keys().filter(|(client, _)| *client == token).copied().collect();
        for owner in its {
            self.on_end(owner);
        }
    }

    /// The server has granted the lease.
    pub(super) fn on_granted(&mut self, owner: Owner, token: u64) {
        if let Some(leased) = self.requests.get_mut(&owner) {
            leased.token = Some(token);
        }
    }

    /// Tells the process until when it has the lease, unless its request has ended.
    pub(super) fn set_deadline(&self, id: LeaseId, until: u64) {
        let Some(owner) = self.owners.get(&id) else { return };
        if let (Some(deadlines), Some(leased)) = (self.deadlines.get(&owner.0), self.requests.get(owner)) {
            deadlines.set(leased.place, until);
        }
    }

    /// The fencing token of the lease, if the server has granted it.
    pub(super) fn token(&self, owner: Owner) -> Option<u64> {
        self.requests.get(&owner)?.token
    }

    /// The request that the lease belongs to, unless it has ended.
    pub(super) fn owner(&self, id: LeaseId) -> Option<Owner> {
        self.owners.get(&id).copied()
    }
}
