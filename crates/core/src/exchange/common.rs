//! Channels by scope, and the subscriptions of this machine at other machines.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::channels::Channels;
use super::frame::{COMMON, Head, Kind, Outgoing};
use super::outbox::Topic;
use super::{ClientId, Exchange, OTHER_MACHINES, Process, ProtocolViolation, Scope};

/// What a machine receives from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subscription {
    /// The messages of a channel.
    Channel(Arc<[u8]>),
    /// The notices to the handlers of a name.
    Handler(Arc<[u8]>),
}

/// The subscriptions of this machine.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    told: BTreeSet<Subscription>,
    /// Subscriptions that may have changed since the last [`Exchange::take_subscription_changes`].
    changed: BTreeSet<Subscription>,
}

impl Subscriptions {
    /// A subscription may have been added or removed.
    pub(super) fn on_change(&mut self, subscription: Subscription) {
        self.changed.insert(subscription);
    }
}

impl Exchange {
    /// Other machines can be reached from now on.
    pub fn join_other_machines(&mut self) {
        self.join(OTHER_MACHINES, Process::OtherMachines);
        let channels = self.common.names().cloned().map(Subscription::Channel);
        let handled = self.clients.values().flat_map(|its| &its.handles).cloned().map(Subscription::Handler);
        channels.chain(handled).for_each(|subscription| self.subscriptions.on_change(subscription));
    }

    /// The link for other machines, if they can be reached.
    pub(super) fn other_machines(&self) -> Option<ClientId> {
        self.clients.contains_key(&OTHER_MACHINES).then_some(OTHER_MACHINES)
    }

    /// Takes the changes: true for each new subscription, false for each one that has ended.
    pub fn take_subscription_changes(&mut self) -> Vec<(Subscription, bool)> {
        if self.other_machines().is_none() {
            // When other machines can be reached, all of them are collected.
            self.subscriptions.changed.clear();
            return Vec::new();
        }
        let mut all = Vec::new();
        for subscription in std::mem::take(&mut self.subscriptions.changed) {
            let is_wanted = match &subscription {
                Subscription::Channel(name) => self.common.listeners(name).is_some(),
                Subscription::Handler(name) => self.clients.values().any(|its| its.handles.contains(name)),
            };
            let is_new = if is_wanted {
                self.subscriptions.told.insert(subscription.clone())
            } else {
                self.subscriptions.told.remove(&subscription)
            };
            if is_new {
                all.push((subscription, is_wanted));
            }
        }
        all
    }

    /// A worker of another machine has posted a message, or sent a notice.
    pub fn on_remote_message(&mut self, subscription: &Subscription, worker: u32, data: &[u8]) {
        let data: Arc<[u8]> = data.into();
        let (topic, kind, name) = match subscription {
            Subscription::Channel(name) => {
                (Topic::Channel(Scope::All, Arc::clone(name)), Kind::Message, name)
            }
            Subscription::Handler(name) => (Topic::Handler(Arc::clone(name)), Kind::Notice, name),
        };
        let head = Head { flag: COMMON, worker, name, ..Head::new(kind) };
        for client in self.subscribers(subscription) {
            let Some(its) = self.clients.get_mut(&client) else { continue };
            its.outbox.offer_or_drop(OTHER_MACHINES, &topic, Outgoing::new(&head, &data));
            self.ready.insert(client);
        }
    }

    /// Messages of other machines were lost: this many, or 0 if the number is unknown.
    pub fn on_remote_loss(&mut self, subscription: &Subscription, count: u64) {
        let topic = match subscription {
            Subscription::Channel(name) => Topic::Channel(Scope::All, Arc::clone(name)),
            Subscription::Handler(name) => Topic::Handler(Arc::clone(name)),
        };
        for client in self.subscribers(subscription) {
            let Some(its) = self.clients.get_mut(&client) else { continue };
            its.outbox.on_dropped(&topic, count);
            self.ready.insert(client);
        }
    }

    /// The links that receive messages of a subscription.
    fn subscribers(&mut self, subscription: &Subscription) -> Vec<ClientId> {
        match subscription {
            Subscription::Channel(name) => {
                let listeners = self.common.listeners(name).map(|(_, listeners)| listeners);
                listeners.into_iter().flatten().copied().collect()
            }
            Subscription::Handler(name) => {
                let found = self.find_all(name);
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
    ) -> Result<(), ProtocolViolation> {
        match scope {
            Scope::Machine => self.channels.subscribe(client, channel),
            Scope::All => {
                self.common.subscribe(client, channel)?;
                self.subscriptions.on_change(Subscription::Channel(channel.into()));
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
            self.subscriptions.on_change(Subscription::Channel(Arc::clone(&name)));
        }
        if let Some(its) = self.clients.get_mut(&client) {
            its.outbox.forget(&Topic::Channel(scope, name));
        }
    }

    pub(super) fn leave_channels(&mut self, client: ClientId) {
        self.channels.leave(client);
        for name in self.common.leave(client) {
            self.subscriptions.on_change(Subscription::Channel(name));
        }
    }
}
