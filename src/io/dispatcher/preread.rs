//! Connections whose clients have not sent their key yet.
//!
//! They wait for a limited time, in a limited number, without delaying others. After that the client's
//! address is its key.

use std::time::Duration;

use super::recognize::look;
use super::token::Token;
use rcluster_core::ids::ListenerId;
use rcluster_core::pending::Pending;
use rcluster_core::schedule::{Address, Key, PrereadRule, Verdict};
use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::{Interest, Poller};

/// The maximum number of connections that wait for their first bytes. One more ends the wait of the oldest.
const MAX_PENDING: usize = 256;

/// A connection that need not wait any longer, and the key of its client.
pub(super) struct Recognized {
    pub(super) listener: ListenerId,
    pub(super) fd: Descriptor,
    pub(super) key: Option<Key>,
}

struct Client {
    fd: Descriptor,
    peer: Option<Address>,
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct Preread(Pending<Client>);

impl Preread {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes a client wait until `until`. Returns the number of one that must not wait: because there are too
    /// many, or because the poller cannot add this one.
    pub(super) fn enter(
        &mut self,
        listener: ListenerId,
        fd: Descriptor,
        peer: Option<Address>,
        until: Duration,
        poller: &Poller,
    ) -> Option<u32> {
        let number = self.0.enter(listener, Client { fd, peer }, until);
        if let Some((_, Client { fd, .. })) = self.0.get(number)
            && poller.watch(fd, Token::Preread(number).pack(), Interest::ReadableEdge).is_err()
        {
            return Some(number);
        }
        self.0.oldest().filter(|_| self.0.len() > MAX_PENDING)
    }

    /// Checks a client that has sent something, or that must be decided with what is there (`last`).
    pub(super) fn look<'rule>(
        &mut self,
        number: u32,
        rule: impl Fn(ListenerId) -> Option<&'rule PrereadRule>,
        last: bool,
        poller: &Poller,
    ) -> Option<Recognized> {
        let (listener, Client { fd, peer }) = self.0.get(number)?;
        // A listener that has been removed needs no key.
        let verdict = match rule(listener) {
            Some(rule) => look(rule, fd, *peer, last),
            None => Verdict::Decided(None),
        };
        let Verdict::Decided(key) = verdict else { return None };
        let (listener, Client { fd, .. }) = self.0.take(number)?;
        // Fails only if the poller could not add it.
        let _ = poller.remove(&fd);
        Some(Recognized { listener, fd, key })
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.0.next_deadline()
    }

    /// A client whose time is up.
    pub(super) fn overdue(&self, now: Duration) -> Option<u32> {
        self.0.overdue(now)
    }
}
