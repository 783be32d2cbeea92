//! Stores whose values are on a server: requests are sent to it, and its changes are applied to the memory.

use std::collections::BTreeSet;

use super::identity;
use super::served::{Deliveries, Served};
use super::shared::Shared;
use crate::io::redis::{Server, Start};
use rcluster_core::store::follow::Overflow;
use rcluster_core::store::geometry::{Field, Geometry};
use rcluster_core::store::remote::backend::Backend;
use rcluster_core::store::remote::messages::{Input, Output};
use rcluster_core::store::remote::outage::Outage;
use rcluster_core::store::remote::payload::read_entry;
use rcluster_core::store::remote::unanswered::Unanswered;
use rcluster_sys::clock::since_boot;
use rcluster_sys::error::SysError;

/// The minimum interval between two notices of expiry to the server, in ms.
const EXPIRY: u64 = 50;

/// The server of a store.
pub(super) struct Remote {
    server: Server,
    next_expiry: u64,
    /// Whether the store has been loaded at least once.
    has_loaded: bool,
    /// Set when the memory differs from the server, until it has been reloaded.
    is_broken: bool,
    name: String,
    outage: Outage,
}

impl Remote {
    pub(super) fn start(
        name: &str,
        backend: &Backend,
        geometry: &Geometry,
        size: u64,
        deliveries: Deliveries,
    ) -> Result<Self, SysError> {
        let (writer, seed) = identity();
        let start = Start {
            name: name.to_owned(),
            backend: backend.clone(),
            writer,
            longest: geometry.max_record(),
            limit: geometry.live_limit(),
            size,
            seed,
        };
        let store = name.to_owned();
        let server = Server::start(start, move |outputs| {
            // If the shell has ended, so have its stores.
            let _not_wanted = deliveries.send(Served { store: store.clone(), outputs });
        })?;
        Ok(Self {
            server,
            next_expiry: 0,
            has_loaded: false,
            is_broken: false,
            name: name.to_owned(),
            outage: Outage::default(),
        })
    }

    pub(super) fn ask(&self, token: u64, request: &[u8]) {
        self.server.tell(Input::Request { peer: token, request: request.to_vec() });
    }
}

impl Shared {
    /// Applies the decisions of the link to the server.
    pub(super) fn on_served(&mut self, outputs: Vec<Output>, unanswered: &mut Unanswered) {
        let mut answered = BTreeSet::new();
        for output in outputs {
            if let Output::Answer { peer, .. } = &output {
                // Also if its link has gone.
                unanswered.on_answered(*peer);
                answered.insert(*peer);
            }
            if self.on_output(output) == Err(Overflow)
                && let Some(remote) = &mut self.remote
            {
                remote.is_broken = true;
                remote.server.tell(Input::Overflow);
            }
        }
        for client in self.clients.iter().filter(|client| answered.contains(&client.token)) {
            if client.waits_for_answers() {
                client.wake();
            }
        }
    }

    fn on_output(&mut self, output: Output) -> Result<(), Overflow> {
        let Some(remote) = &mut self.remote else { return Ok(()) };
        match output {
            Output::Apply { payload, ahead } if !remote.is_broken => {
                let (_, groups) = read_entry(&payload).unwrap_or_default();
                groups.iter().try_for_each(|group| self.store.follow(group, ahead))
            }
            Output::Reload { number, loaded, ahead } => {
                let is_first = !remote.has_loaded;
                remote.is_broken = false;
                self.store.reload(loaded.revision, &loaded.values, ahead, is_first)?;
                remote.has_loaded = true;
                remote.server.tell(Input::Reloaded(number));
                Ok(())
            }
            Output::Answer { peer, outcome } => {
                if let Some(client) = self.clients.iter_mut().find(|client| client.token == peer) {
                    client.inbox.answer(outcome);
                }
                Ok(())
            }
            Output::Tell(status) => {
                if let Some(why) = remote.outage.on_status(&status, since_boot()) {
                    super::tell_outage(&remote.name, &status.url, &why);
                }
                let before = self.connection_counts();
                self.store.tell(&status);
                // Processes that wait for changes also check these counters.
                if self.connection_counts() != before {
                    self.told = u64::MAX;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// How often the server has been connected, lost and loaded from.
    fn connection_counts(&self) -> [u64; 3] {
        let view = self.store.view();
        [Field::ServerConnects, Field::ServerDisconnects, Field::ServerLoads].map(|field| view.field(field))
    }

    /// Removes expired entries, or notifies the server so that it removes them.
    pub(super) fn on_expiry(&mut self, now: u64) {
        if self.store.next_expiry().is_none_or(|at| at > now) {
            return;
        }
        match &mut self.remote {
            None => self.store.expire(now),
            // Expired entries are invisible already, so the notices to the server are rate-limited.
            Some(remote) if now >= remote.next_expiry && self.store.has_expired(now) => {
                remote.next_expiry = now + EXPIRY;
                remote.server.tell(Input::Expired);
            }
            Some(_) => {}
        }
    }

    /// When this must next act on expired entries.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        let next = self.store.next_expiry()?;
        Some(self.remote.as_ref().map_or(next, |remote| next.max(remote.next_expiry)))
    }
}
