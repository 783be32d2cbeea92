//! A client's connection inside the dispatcher.

use std::net::SocketAddr;

use rcluster_core::channel::Kept;
use rcluster_core::dispatch::Connection;
use rcluster_core::ids::WorkerId;
use rcluster_core::schedule::{Address, Home};
use rcluster_sys::closer::Descriptor;

/// The descriptor, and the worker or key that it belongs to.
#[derive(Debug)]
pub(super) struct Conn {
    fd: Descriptor,
    home: Option<Home>,
    /// The state known from the worker that has handed it over.
    kept: Option<Kept>,
}

impl Connection for Conn {
    fn home(&self) -> Option<Home> {
        self.home
    }

    fn is_kept(&self) -> bool {
        self.kept.is_some()
    }
}

impl Conn {
    /// A new client, or one that a worker has not received.
    pub(super) fn new(fd: Descriptor, home: Option<Home>) -> Self {
        Self { fd, home, kept: None }
    }

    /// A worker has handed it over, with this state.
    pub(super) fn kept_by_worker(self, kept: Kept) -> Self {
        Self { kept: Some(kept), ..self }
    }

    pub(super) fn into_fd(self) -> Descriptor {
        self.fd
    }

    /// Prepares another call of the hook.
    pub(super) fn into_awaiting(self) -> AwaitingHook {
        AwaitingHook { fd: self.fd, kept: self.kept }
    }

    /// The state that its next worker needs, and the dispatcher if that worker does not receive it.
    pub(super) fn kept(&self) -> Option<Kept> {
        let key = match self.home {
            Some(Home::Client(key)) => Some(key),
            Some(Home::Worker(_)) | None => None,
        };
        self.kept.map(|kept| Kept { key, ..kept })
    }

    /// The worker that the app has chosen for it.
    pub(super) fn chosen(&self) -> Option<WorkerId> {
        match self.home {
            Some(Home::Worker(worker)) => Some(worker),
            Some(Home::Client(_)) | None => None,
        }
    }
}

/// A connection of a listener with a hook that the app has not answered yet.
pub(super) struct AwaitingHook {
    fd: Descriptor,
    /// The state known from the worker that has handed it over.
    kept: Option<Kept>,
}

impl AwaitingHook {
    /// A new client.
    pub(super) fn new(fd: Descriptor) -> Self {
        Self { fd, kept: None }
    }

    pub(super) fn fd(&self) -> &Descriptor {
        &self.fd
    }

    pub(super) fn is_handed_over(&self) -> bool {
        self.kept.is_some()
    }

    /// Applies the app's answer.
    pub(super) fn answered(self, chosen: Option<WorkerId>) -> Conn {
        let Self { fd, kept } = self;
        Conn { fd, home: chosen.map(Home::Worker), kept }
    }
}

pub(super) fn address_of(peer: SocketAddr) -> Address {
    match peer {
        SocketAddr::V4(v4) => Address::V4(v4.ip().octets()),
        SocketAddr::V6(v6) => Address::V6(v6.ip().octets()),
    }
}
