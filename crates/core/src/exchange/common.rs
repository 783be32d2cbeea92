//! Channels of one machine and those of all machines, and what other machines have to be heard for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::channels::Channels;
use super::frame::{COMMON, Head, Kind, Outgoing};
use super::outbox::Topic;
use super::{ClientId, ELSEWHERE, Exchange, Nonsense, Process, Scope, Target};

/// What a machine wants to hear of others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// What they post to a channel.
    Channel(Arc<[u8]>),
    /// What they send to those that handle a name.
    Handler(Arc<[u8]>),
}

/// What this machine wants to hear, and what of that has been told.
#[derive(Debug, Default)]
pub(super) struct Interests {
    told: BTreeSet<Interest>,
    /// Those that may have changed since.
    changed: BTreeSet<Interest>,
}

impl Interests {
    /// Whether this is wanted may have changed.
    pub(super) fn on_change(&mut self, interest: Interest) {
        self.changed.insert(interest);
    }
}

impl Exchange {
    /// There is a server by which other machines can be reached, and which tells this one what they send.
    pub fn join_elsewhere(&mut self) {
        self.join(ELSEWHERE, Process::Elsewhere);
        let channels = self.common.names().cloned().map(Interest::Channel);
        let handled = self.clients.values().flat_map(|its| &its.handles).cloned().map(Interest::Handler);
        channels.chain(handled).for_each(|interest| self.interests.on_change(interest));
    }

    /// The link of other machines, if there is one.
    pub(super) fn elsewhere(&self) -> Option<ClientId> {
        self.clients.contains_key(&ELSEWHERE).then_some(ELSEWHERE)
    }

    /// What this machine wants to hear of others from now on (true), or does not (false).
    pub fn take_interests(&mut self) -> Vec<(Interest, bool)> {
        if self.elsewhere().is_none() {
            // They are found when there is one.
            self.interests.changed.clear();
            return Vec::new();
        }
        let mut all = Vec::new();
        for interest in std::mem::take(&mut self.interests.changed) {
            let is_wanted = match &interest {
                Interest::Channel(name) => self.common.listeners(name).is_some(),
                Interest::Handler(name) => self.clients.values().any(|its| its.handles.contains(name)),
            };
            let is_new = if is_wanted {
                self.interests.told.insert(interest.clone())
            } else {
                self.interests.told.remove(&interest)
            };
            if is_new {
                all.push((interest, is_wanted));
            }
        }
        all
    }

    /// Another machine's worker has posted to a channel, or has something for those that handle a name.
    pub fn on_heard(&mut self, interest: &Interest, worker: u32, data: &[u8]) {
        let data: Arc<[u8]> = data.into();
        let (topic, kind, name) = match interest {
            Interest::Channel(name) => (Topic::Channel(Scope::All, Arc::clone(name)), Kind::Message, name),
            Interest::Handler(name) => (Topic::Handler(Arc::clone(name)), Kind::Notice, name),
        };
        let head = Head { flag: COMMON, worker, name, ..Head::new(kind) };
        for client in self.interested(interest) {
            let Some(its) = self.clients.get_mut(&client) else { continue };
            its.outbox.offer_or_drop(ELSEWHERE, &topic, Outgoing::new(&head, &data));
            self.ready.insert(client);
        }
    }

    /// Messages of other machines are lost: so many, or 0 if it is not known how many.
    pub fn on_lost(&mut self, interest: &Interest, count: u64) {
        let topic = match interest {
            Interest::Channel(name) => Topic::Channel(Scope::All, Arc::clone(name)),
            Interest::Handler(name) => Topic::Handler(Arc::clone(name)),
        };
        for client in self.interested(interest) {
            let Some(its) = self.clients.get_mut(&client) else { continue };
            its.outbox.on_dropped(&topic, count);
            self.ready.insert(client);
        }
    }

    /// Who is told of what comes from other machines.
    fn interested(&mut self, interest: &Interest) -> Vec<ClientId> {
        match interest {
            Interest::Channel(name) => {
                let listeners = self.common.listeners(name).map(|(_, listeners)| listeners);
                listeners.into_iter().flatten().copied().collect()
            }
            Interest::Handler(name) => {
                let found = self.find(Target::All, name, &|_, _| None, &|_, _| 0);
                found.into_iter().filter_map(|(_, link)| link.ok()).collect()
            }
        }
    }

    pub(super) fn channels_of(&self, scope: Scope) -> &Channels {
        match scope {
            Scope::Machine => &self.channels,
            Scope::All => &self.common,
        }
    }

    pub(super) fn subscribe(
        &mut self,
        client: ClientId,
        scope: Scope,
        channel: &[u8],
    ) -> Result<(), Nonsense> {
        match scope {
            Scope::Machine => self.channels.subscribe(client, channel),
            Scope::All => {
                self.common.subscribe(client, channel)?;
                self.interests.on_change(Interest::Channel(channel.into()));
                Ok(())
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, client: ClientId, scope: Scope, channel: &[u8]) {
        let channels = match scope {
            Scope::Machine => &mut self.channels,
            Scope::All => &mut self.common,
        };
        let Some(name) = channels.unsubscribe(client, channel) else { return };
        if scope == Scope::All {
            self.interests.on_change(Interest::Channel(Arc::clone(&name)));
        }
        if let Some(its) = self.clients.get_mut(&client) {
            its.outbox.forget(&Topic::Channel(scope, name));
        }
    }

    pub(super) fn leave_channels(&mut self, client: ClientId) {
        self.channels.leave(client);
        for name in self.common.leave(client) {
            self.interests.on_change(Interest::Channel(name));
        }
    }
}
