//! Connections whose clients have not yet said what they are to be recognised by.
//!
//! They wait for a limited time, by a limited number, and without holding up anybody; after that a client goes by
//! its address.

use std::time::Duration;

use rcluster_core::ids::ListenerId;
use rcluster_core::pending::Pending;
use rcluster_core::schedule::{Address, Key, LIMIT, PrereadRule, Verdict};
use rcluster_sys::client::{Peeked, peek};
use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::{Interest, Poller};

/// The most connections that wait for their first bytes. One more ends the wait of the oldest.
const MAX_PENDING: usize = 256;

/// A connection that need not wait any longer, and what its client is recognised by.
pub(super) struct Recognised {
    pub(super) listener: ListenerId,
    pub(super) fd: Descriptor,
    pub(super) key: Option<Key>,
}

struct Client {
    fd: Descriptor,
    peer: Option<Address>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Preread(Pending<Client>);

/// Looks once. With `last` there is an answer in any case.
pub(super) fn recognise(what: &PrereadRule, fd: &Descriptor, peer: Option<Address>, last: bool) -> Verdict {
    let mut bytes = [0; LIMIT];
    match peek(fd, &mut bytes) {
        Peeked::Bytes(length) => what.look(&bytes[..length], peer, last),
        Peeked::End => what.look(&[], peer, true),
    }
}

impl Preread {
    /// Has a client wait until `until`. Returns one that has to go in at once: because there are too many, or because the
    /// poller has no room for this one.
    pub(super) fn enter(
        &mut self,
        listener: ListenerId,
        fd: Descriptor,
        peer: Option<Address>,
        until: Duration,
        poller: &Poller,
        token: impl Fn(u32) -> u64,
    ) -> Option<u32> {
        let number = self.0.enter(listener, Client { fd, peer }, until);
        if let Some((_, Client { fd, .. })) = self.0.get(number)
            && poller.watch(fd, token(number), Interest::News).is_err()
        {
            return Some(number);
        }
        self.0.oldest().filter(|_| self.0.len() > MAX_PENDING)
    }

    /// Looks again at a client that has sent something, or that is to go in with what there is (`last`).
    pub(super) fn look(
        &mut self,
        number: u32,
        what: impl Fn(ListenerId) -> Option<PrereadRule>,
        last: bool,
        poller: &Poller,
    ) -> Option<Recognised> {
        let (listener, Client { fd, peer }) = self.0.get(number)?;
        // A listener that is gone has nothing to wait for.
        let verdict = match what(listener) {
            Some(what) => recognise(&what, fd, *peer, last),
            None => Verdict::Decided(None),
        };
        let Verdict::Decided(key) = verdict else { return None };
        let (listener, Client { fd, .. }) = self.0.take(number)?;
        // One that the poller had no room for is not there, which is all that can go wrong.
        let _ = poller.remove(&fd);
        Some(Recognised { listener, fd, key })
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.0.next_deadline()
    }

    /// One whose time is up.
    pub(super) fn overdue(&self, now: Duration) -> Option<u32> {
        self.0.overdue(now)
    }
}
