//! The subscribers of each channel.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{ClientId, MAX_NAMES, ProtocolViolation};

/// The channels: see the module.
#[derive(Debug, Default)]
pub(super) struct Channels {
    listeners: HashMap<Arc<[u8]>, BTreeSet<ClientId>>,
    subscribed: BTreeMap<ClientId, BTreeSet<Arc<[u8]>>>,
}

impl Channels {
    /// Subscribes a client to a channel.
    pub(super) fn subscribe(&mut self, client: ClientId, channel: &[u8]) -> Result<(), ProtocolViolation> {
        let its = self.subscribed.entry(client).or_default();
        if its.len() >= MAX_NAMES {
            return Err(ProtocolViolation);
        }
        let known = self.listeners.get_key_value(channel).map(|(name, _)| Arc::clone(name));
        let name = known.unwrap_or_else(|| channel.into());
        its.insert(Arc::clone(&name));
        self.listeners.entry(name).or_default().insert(client);
        Ok(())
    }

    /// Unsubscribes a client. Returns the name if it was subscribed.
    pub(super) fn unsubscribe(&mut self, client: ClientId, channel: &[u8]) -> Option<Arc<[u8]>> {
        let its = self.subscribed.get_mut(&client)?;
        let name = its.take(channel)?;
        if its.is_empty() {
            self.subscribed.remove(&client);
        }
        self.remove(&name, client);
        Some(name)
    }

    /// A process has left. Returns its channels.
    pub(super) fn leave(&mut self, client: ClientId) -> BTreeSet<Arc<[u8]>> {
        let names = self.subscribed.remove(&client).unwrap_or_default();
        for name in &names {
            self.remove(name, client);
        }
        names
    }

    /// The channels that have subscribers.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.listeners.keys()
    }

    /// The subscribers of a channel, and its name.
    pub(super) fn listeners(&self, channel: &[u8]) -> Option<(&Arc<[u8]>, &BTreeSet<ClientId>)> {
        self.listeners.get_key_value(channel)
    }

    fn remove(&mut self, name: &Arc<[u8]>, client: ClientId) {
        if let Some(listeners) = self.listeners.get_mut(name) {
            listeners.remove(&client);
            if listeners.is_empty() {
                self.listeners.remove(name);
            }
        }
    }

    pub(super) fn check_invariants(&self, is_there: impl Fn(ClientId) -> bool) {
        let heard: usize = self.listeners.values().map(BTreeSet::len).sum();
        let subscribed: usize = self.subscribed.values().map(BTreeSet::len).sum();
        assert_eq!(heard, subscribed, "both sides know it");
        assert!(self.listeners.values().all(|it| !it.is_empty()), "what nobody hears is forgotten");
        for (client, its) in &self.subscribed {
            assert!(is_there(*client), "the dead hear nothing");
            for name in its {
                assert!(self.listeners[name].contains(client), "who has subscribed is told");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_without_subscribers_is_removed() {
        let mut channels = Channels::default();
        let [one, two] = [ClientId(1), ClientId(2)];
        for client in [one, two, one] {
            channels.subscribe(client, b"news").unwrap();
        }
        channels.subscribe(one, b"other").unwrap();
        channels.check_invariants(|_| true);
        assert_eq!(channels.listeners(b"news").unwrap().1.len(), 2);
        assert_eq!(channels.unsubscribe(two, b"other"), None);
        assert!(channels.unsubscribe(two, b"news").is_some());
        channels.check_invariants(|it| it == one);
        channels.leave(one);
        channels.check_invariants(|_| false);
        assert!(channels.listeners(b"news").is_none() && channels.listeners.is_empty());
    }

    #[test]
    fn the_number_of_subscriptions_is_limited() {
        let mut channels = Channels::default();
        for number in 0..MAX_NAMES {
            channels.subscribe(ClientId(1), &number.to_le_bytes()).unwrap();
        }
        assert_eq!(channels.subscribe(ClientId(1), b"one more"), Err(ProtocolViolation));
        assert_eq!(channels.subscribe(ClientId(2), b"one more"), Ok(()));
    }
}
