//! Determines the key of a connection's client, for listeners that need one.

use super::channel::Unreceived;
use super::connection::{Conn, address_of};
use super::listeners::Listeners;
use rcluster_core::channel::Kept;
use rcluster_core::ids::{ListenerId, Slot};
use rcluster_core::schedule::{Address, Home, Key, LIMIT, Plan, Policy, PrereadRule, Verdict};
use rcluster_sys::client::{Peeked, peek, peer};
use rcluster_sys::closer::Descriptor;

/// The rule for finding the key; `None` if the policy does not use one.
fn preread_rule(plan: Option<&Plan>) -> Option<&PrereadRule> {
    plan.filter(|plan| plan.policy == Policy::Sticky).map(|plan| &plan.preread)
}

/// Checks once. With `last`, the result is always a decision.
pub(super) fn look(rule: &PrereadRule, fd: &Descriptor, peer: Option<Address>, last: bool) -> Verdict {
    let mut bytes = [0; LIMIT];
    match peek(fd, &mut bytes) {
        Peeked::Bytes(length) => rule.look(&bytes[..length], peer, last),
        Peeked::End => rule.look(&[], peer, true),
    }
}

/// The key, from what the client has sent so far.
fn key(plan: Option<&Plan>, fd: &Descriptor) -> Option<Key> {
    let rule = preread_rule(plan)?;
    let peer = peer(fd).map(address_of);
    if !rule.is_needed() {
        return peer.map(Key::from);
    }
    match look(rule, fd, peer, true) {
        Verdict::Decided(key) => key,
        Verdict::Undecided => None,
    }
}

pub(super) fn recognized(fd: Descriptor, key: Option<Key>) -> Conn {
    Conn::new(fd, key.map(Home::Client))
}

/// A connection that a worker has returned, or has not received, is only a descriptor: its key is determined
/// again. The hook is not called again.
pub(super) fn returned(plan: Option<&Plan>, fd: Descriptor) -> Conn {
    let key = key(plan, &fd);
    recognized(fd, key)
}

/// For a connection that a worker has served, the key is from the client's last request, as the worker
/// reports. Without one, the key is the address, but with a preference for the slot of that worker, which may
/// have given the client a cookie or similar to be recognized by.
pub(super) fn handed_over(plan: Option<&Plan>, fd: Descriptor, kept: Kept, from: Option<Slot>) -> Conn {
    let by_content = preread_rule(plan).is_some_and(|rule| rule.by.is_content());
    let key = match kept.key.filter(|_| by_content) {
        Some(key) => Some(key),
        None if by_content && kept.served => {
            let address = peer(&fd).map(|peer| Key::from(address_of(peer)));
            address.map(|key| Key { slot: from, ..key })
        }
        None => key(plan, &fd),
    };
    recognized(fd, key).kept_by_worker(kept)
}

/// Connections that a worker has not received; those for which the app's choice is known keep it.
pub(super) fn unreceived(listeners: &Listeners, conns: Vec<Unreceived>) -> Vec<(ListenerId, Conn)> {
    let recognize = |Unreceived { listener, fd, chosen, kept }| {
        let plan = listeners.plan(listener);
        let conn = match (chosen, kept) {
            (Some(worker), None) => Conn::new(fd, Some(Home::Worker(worker))),
            (Some(worker), Some(kept)) => Conn::new(fd, Some(Home::Worker(worker))).kept_by_worker(kept),
            (None, Some(kept)) => handed_over(plan, fd, kept, None),
            (None, None) => returned(plan, fd),
        };
        (listener, conn)
    };
    conns.into_iter().map(recognize).collect()
}
