//! The subscriptions of this machine, and the topics on which it may have missed something.

use std::collections::BTreeSet;

use super::topic::Topic;

/// The largest number of topics in one change.
const CHANGES: usize = 256;

/// A change of the subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) subscribe: Vec<Topic>,
    pub(super) unsubscribe: Vec<Topic>,
}

/// The subscriptions: see the module.
#[derive(Debug)]
pub(super) struct Subscriptions {
    /// Topics that this machine always needs.
    own: [Topic; 2],
    wanted: BTreeSet<Topic>,
    /// The wanted topics that are subscribed to on this connection.
    heard: BTreeSet<Topic>,
    /// Topics that were subscribed to on an earlier connection, and not on this one yet.
    missed: BTreeSet<Topic>,
    /// The change under way.
    changing: Option<Change>,
}

impl Subscriptions {
    pub(super) fn new(own: [Topic; 2]) -> Self {
        Self {
            wanted: own.iter().cloned().collect(),
            own,
            heard: BTreeSet::new(),
            missed: BTreeSet::new(),
            changing: None,
        }
    }

    pub(super) fn want(&mut self, topic: Topic) {
        self.wanted.insert(topic);
    }

    pub(super) fn forget(&mut self, topic: &Topic) {
        self.wanted.remove(topic);
        self.missed.remove(topic);
    }

    pub(super) fn is_wanted(&self, topic: &Topic) -> bool {
        self.wanted.contains(topic)
    }

    /// The topics that processes of this machine have subscribed to.
    pub(super) fn of_processes(&self) -> impl Iterator<Item = Topic> {
        self.wanted.iter().filter(|topic| !self.own.contains(topic)).cloned()
    }

    /// Whether this machine receives what others send to it.
    pub(super) fn is_ready(&self) -> bool {
        self.own.iter().all(|topic| self.heard.contains(topic))
    }

    /// The connection has ended.
    pub(super) fn on_failed(&mut self) {
        self.missed.append(&mut self.heard);
        // It is unknown how much of a change under way took effect.
        self.missed.extend(self.changing.take().into_iter().flat_map(|change| change.subscribe));
        self.missed.retain(|topic| self.wanted.contains(topic));
    }

    /// The change is complete. Returns the topics on which messages may have been missed.
    pub(super) fn on_changed(&mut self) -> Vec<Topic> {
        let Some(Change { subscribe, unsubscribe }) = self.changing.take() else { return Vec::new() };
        for topic in &unsubscribe {
            self.heard.remove(topic);
        }
        let missed = subscribe.iter().filter(|topic| self.missed.remove(topic));
        let missed = missed.filter(|topic| !self.own.contains(topic)).cloned().collect();
        self.heard.extend(subscribe);
        missed
    }

    /// The next change, if one is needed and none is under way.
    pub(super) fn next_change(&mut self) -> Option<Change> {
        if self.changing.is_some() || self.wanted == self.heard {
            return None;
        }
        let change = Change {
            subscribe: self.wanted.difference(&self.heard).take(CHANGES).cloned().collect(),
            unsubscribe: self.heard.difference(&self.wanted).take(CHANGES).cloned().collect(),
        };
        self.changing = Some(change.clone());
        Some(change)
    }

    pub(super) fn check_invariants(&self, is_open: bool) {
        assert!(is_open || self.heard.is_empty() && self.changing.is_none());
        assert!(self.missed.is_subset(&self.wanted), "nobody is told of what nobody hears");
    }
}
